"""One window of load, and what is measured in it."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Memory", "Sample", "Window", "memory_of"]

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB_OF_MIB = 1 << 10


class Memory(NamedTuple):
    """What processes hold, in MiB.

    Attributes:
        resident: With all that they share with others.
        proportional: With their part of what they share.
        anonymous: Without files: what a leak would fill.
    """

    resident: float
    proportional: float
    anonymous: float


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one window of load showed.

    Attributes:
        requests: Answered in it, and right.
        seconds: How long it was.
        cpu_seconds: User and system time of the server's processes.
        client_cpu_seconds: The client's own.
        p50_milliseconds: The middle of the latencies.
        p99_milliseconds: What one in a hundred took longer than.
        memory_mib: Proportional set size of the server's processes after it.
        failed: Requests in it that were not answered with success, by what was said instead.
    """

    requests: int
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    memory_mib: float
    failed: dict[str, int]

    @property
    def cpu_microseconds(self) -> float:
        """Of one request."""
        return self.cpu_seconds / max(self.requests, 1) * 1e6

    @property
    def requests_per_second(self) -> float:
        """Right answers."""
        return self.requests / self.seconds


class Window:
    """Counts from :meth:`begin` to :meth:`end`.

    Attributes:
        latencies: Seconds of every request that was answered; whoever loads appends to it.
        failed: As in :class:`Sample`.
    """

    def __init__(self, server: int) -> None:
        """Takes the process that was started as the server."""
        self.latencies: list[float] = []
        self.failed: dict[str, int] = {}
        self._server = server

    @property
    def answered(self) -> int:
        """Requests with whatever answer."""
        return len(self.latencies) + sum(self.failed.values())

    def begin(self) -> None:
        """Forgets what was before."""
        self.latencies.clear()
        self.failed.clear()
        self._ticks, self._own, self._started = _cpu_ticks(self._server), time.process_time(), time.perf_counter()

    def fail(self, reason: str) -> None:
        """Counts a request without success."""
        self.failed[reason] = self.failed.get(reason, 0) + 1

    def end(self) -> Sample:
        """Returns what was measured."""
        seconds = time.perf_counter() - self._started
        ticks, own = _cpu_ticks(self._server), time.process_time() - self._own
        cpu = sum(spent - self._ticks.get(pid, 0) for pid, spent in ticks.items()) / _TICKS
        latencies = sorted(self.latencies)
        memory = memory_of(self._server).proportional
        at = [latencies[int(len(latencies) * part)] * 1000 if latencies else 0.0 for part in (0.5, 0.99)]
        return Sample(len(latencies), seconds, cpu, own, *at, memory, dict(self.failed))


def memory_of(root: int) -> Memory:
    """Returns what a process and all below it hold."""
    sums = dict.fromkeys(("Rss", "Pss", "Anonymous"), 0.0)
    for pid in _cpu_ticks(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        sizes = dict(line.split(":") for line in lines)
        for name in sums:
            sums[name] += int(sizes[name].split()[0]) / _KIB_OF_MIB
    return Memory(*sums.values())


def _cpu_ticks(root: int) -> dict[int, int]:
    """Returns user and system time of a process and of each below it, in the kernel's ticks.

    The kernel's own lists of children may lack some while threads come and go; parents are always told.
    """
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(file.parent.name)
        ticks[pid] = int(fields[11]) + int(fields[12])
        children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return {pid: ticks[pid] for pid in found if pid in ticks}
