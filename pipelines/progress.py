"""The lines that a person sees while a pipeline runs: which task, how long, what remains."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import TextIO

from shipway.pipelines.journal import CACHED, RUNNING, TaskState

__all__ = ["Progress"]

_TICK_SECONDS = 1.0
_LOG_TICK_SECONDS = 15.0


class Progress:
    """Prints a line when a task ends, and tells of the one under way: every second on a terminal, else now and then.

    Args:
        task_count: How many tasks the pipeline has; those that a condition skips are among them.
        expected_seconds: What each task took last time, where that is known.
        stream: Where to print.
    """

    def __init__(self, task_count: int, expected_seconds: Mapping[str, float], stream: TextIO = sys.stderr) -> None:
        self._task_count = task_count
        self._expected = dict(expected_seconds)
        self._stream = stream
        self._done = 0
        self._living = stream.isatty()
        self._timer: threading.Timer | None = None

    def changed(self, state: TaskState) -> None:
        """Tells of a task that started, ended or was taken from the cache."""
        self._stop_ticking()
        if state.status == RUNNING:
            self._tick(state, 0)
            return
        self._done += 1
        name, family = state.task.name, state.task.family.name
        self._expected.pop(name, None)
        took = "reused" if state.status == CACHED else f"{state.seconds:.1f} s"
        self._print(f"{self._place(self._done, name, family)} {took:>8}  {state.status}{self._left()}")

    def _place(self, number: int, task: str, family: str) -> str:
        return f"[{number:2d}/{self._task_count}] {task:<24} {family:<11}"

    def _left(self) -> str:
        seconds = sum(self._expected.values())
        return f"   about {seconds:.0f} s left" if seconds >= 1 else ""

    def _tick(self, state: TaskState, seconds: float) -> None:
        line = f"{self._place(self._done + 1, state.task.name, state.task.family.name)} {seconds:6.0f} s …"
        if self._living:
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()
        elif seconds:
            self._print(line)
        interval = _TICK_SECONDS if self._living else _LOG_TICK_SECONDS
        self._timer = threading.Timer(interval, self._tick, (state, seconds + interval))
        self._timer.daemon = True
        self._timer.start()

    def _stop_ticking(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _print(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}\n" if self._living else f"{line}\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the living line."""
        self._stop_ticking()
        if self._living:
            self._stream.write("\r\x1b[K")
