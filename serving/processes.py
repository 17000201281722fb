"""Processes that outlive the one that started them: recognised by pid and start time, ended gracefully."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

__all__ = ["ServerProcess"]

_POLL_SECONDS = 0.02
_STATE, _THREADS, _START_TICKS = 0, 17, 19  # of /proc/<pid>/stat, counted after the command's name


@dataclasses.dataclass(frozen=True)
class ServerProcess:
    """A process, told from a later one with the same pid by its start time.

    Attributes:
        pid: The process id.
        started: Clock ticks from the machine's start to the process's.
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ServerProcess:
        """Returns the running process with this pid; ``started`` is 0 when there is none."""
        fields = _stat(pid)
        return cls(pid, int(fields[_START_TICKS]) if fields else 0)

    @property
    def running(self) -> bool:
        """Whether it still runs; a zombie does not, unless threads of it still hold its sockets."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        fields = _stat(self.pid)
        if not fields or int(fields[_START_TICKS]) != self.started:
            return False
        return fields[_STATE] not in "ZX" or int(fields[_THREADS]) > 1

    def end(self, grace_seconds: float = 15.0) -> None:
        """Asks it to end and waits; kills it when it has not ended after ``grace_seconds``."""
        deadline = time.monotonic() + grace_seconds
        self._signal(signal.SIGTERM)
        while self.running and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._signal(signal.SIGKILL)
        while self.running:
            time.sleep(_POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
