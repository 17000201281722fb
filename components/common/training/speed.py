"""How fast training goes, told while it goes."""

from __future__ import annotations

import logging
import time

__all__ = ["Speed"]

_TOLD_EVERY_SECONDS = 15.0

logger = logging.getLogger(__name__)


class Speed:
    """Counts rows and the seconds in which they are learned from, judging and saving left out.

    Args:
        steps: Steps of an epoch.
    """

    def __init__(self, steps: int) -> None:
        self.rows, self.seconds = 0, 0.0
        self._steps = steps
        self._since = self._told = time.monotonic()

    @property
    def rows_per_second(self) -> float:
        """Over all that was counted; 0 before anything was."""
        return self.rows / self.seconds if self.seconds else 0.0

    def resume(self) -> None:
        """Counts from now on."""
        self._since = time.monotonic()

    def pause(self) -> None:
        """Stops counting."""
        self.seconds += time.monotonic() - self._since

    def add(self, rows: int, epoch: int, step: int) -> None:
        """Counts a step, and now and then tells where training is."""
        self.rows += rows
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_SECONDS:
            self._told = now
            speed = self.rows / max(self.seconds + now - self._since, 1e-9)
            logger.info("epoch %d, step %d of %d, %s rows/s", epoch, step, self._steps, f"{speed:,.0f}")
