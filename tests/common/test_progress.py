"""What progress looks like: lines, and a bar on a terminal."""

import contextlib
import io
import os
import pty
import sys
import termios

import pytest

from shipway.components.common import progress as module
from shipway.components.common.progress import bytes_progress, progress

MIB = 1 << 20


def test_as_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("describing") as tell:
        tell(0.1)
        assert sys.stderr.getvalue() == ""
        monkeypatch.setattr(module, "_LINE_SECONDS", 0)
        tell(0.25)
        assert sys.stderr.getvalue() == "describing: 25%\n"


def test_of_bytes_as_lines(monkeypatch):
    clock = iter([100.0, 104.0, 116.0, 116.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bytes_progress("downloading") as tell:
        tell(MIB, 4096 * MIB)
        tell(1024 * MIB, 4096 * MIB)
    assert sys.stderr.getvalue() == "downloading: 1,024 of 4,096 MiB (25%), 64.0 MiB/s\n"


@pytest.mark.parametrize(
    ("shown", "calls", "words"),
    [
        (progress, [(0.9,), (1.5,)], [b"describing", b"100 %"]),
        (bytes_progress, [(MIB, 4 * MIB), (MIB // 2, 4 * MIB), (4 * MIB, 4 * MIB)], [b"describing", b"4.00M of 4.00M"]),
        (bytes_progress, [(0, 0)], [b"describing"]),
    ],
)
def test_on_a_terminal(monkeypatch, shown, calls, words):
    pytest.importorskip("tqdm")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with shown("describing") as tell:
            for call in calls:
                tell(*call)
    seen = b""
    with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as screen:  # the error is its end
        while piece := screen.read(1 << 16):
            seen += piece
    assert [word for word in words if word not in seen] == []
