"""Runs a command and measures it: seconds of the whole process, what it says of its inside, CPU and memory."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Measurement", "measured"]

_PAUSE_SECONDS = 0.02
_SAMPLER_SHARE = 0.1
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        seconds: From start to end of the process, start of the interpreter and imports included.
        cpu_seconds: User and system time of it and of its children.
        peak_mib: The most memory that the tree of processes held at one time: the sum of their proportional set
            sizes, which counts a page that several processes share once, sampled every 20 ms or more; or the kernel's
            high-water mark of the largest single process, where that is more.
        said: The JSON object on the last line of its output: seconds of its steps, by name.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    said: dict[str, float]

    @property
    def importing(self) -> float:
        """Seconds to import what it uses."""
        return self.said["import"]

    @property
    def reading(self) -> float:
        """Seconds to read the file into memory, where that is a step of its own."""
        return self.said.get("read", 0.0)

    @property
    def inside(self) -> float:
        """Seconds from the file to the result, imports left out."""
        return self.reading + self.said["statistics"]


def measured(command: Sequence[str | Path], log: Path) -> Measurement:
    """Runs a command that prints a JSON object as its last line.

    Python may write bytecode while it runs, whatever this process was told, so that a second run finds it.

    Args:
        command: The program and its arguments.
        log: Where its standard error goes.

    Raises:
        subprocess.CalledProcessError: When the command fails; its last words are in ``log``.
    """
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    parts = [str(part) for part in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(parts, stdout=subprocess.PIPE, stderr=errors, env=variables)
        sampler = _Sampler(process.pid)
        sampler.start()
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, parts, output)
    peak = max(sampler.peak, usage.ru_maxrss * 1024) / _MIB
    return Measurement(seconds, usage.ru_utime + usage.ru_stime, peak, json.loads(output.splitlines()[-1]))


class _Sampler(threading.Thread):
    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._root = root
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stopped.wait(pause):
            started = time.perf_counter()
            self.peak = max(self.peak, sum(_proportional_set_size(pid) for pid in _tree(self._root)))
            # Reading the sizes of large processes takes a while, in which they may have to wait.
            pause = max(_PAUSE_SECONDS, (time.perf_counter() - started) / _SAMPLER_SHARE)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _proportional_set_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
