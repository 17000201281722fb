"""Being stopped from outside between two steps: SIGTERM and SIGINT ask, and the training answers when it has saved."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from shipway.components.common.errors import Preempted

__all__ = ["Stop", "interruptions"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_current: Stop | None = None


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self._signal = 0
        self._process = os.getpid()

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return bool(self._signal)

    def preempted(self, where: str) -> Preempted:
        """Returns the error to raise when the work is saved.

        Args:
            where: Up to which step the work is saved and where, such as ``step 1200 is saved in s3://…``.
        """
        by = f" by {signal.Signals(self._signal).name}" if self._signal else ""
        return Preempted(f"stopped{by}: {where}; run again to resume")

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._process:
            self._signal = number
        else:  # a forked child, which may be ended
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextlib.contextmanager
def interruptions() -> Iterator[Stop]:
    """Yields what SIGTERM and SIGINT set, instead of ending the process, until the block ends.

    Blocks within it, in any thread, are given the same. A signal that came when the block ends well all the same is
    delivered again, to whoever handled it before. Outside the main thread, where Python sets no handlers, nothing else
    ever comes.
    """
    global _current
    if _current or threading.current_thread() is not threading.main_thread():
        yield _current or Stop()
        return
    stop = _current = Stop()
    before = {number: signal.signal(number, stop._ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        _current = None
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if stop.requested:
        signal.raise_signal(stop._signal)
