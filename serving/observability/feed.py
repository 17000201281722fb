"""A bounded queue and the thread that empties it: whoever offers never waits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, TypeVar

__all__ = ["Feed"]

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


class Feed(Generic[Item]):
    """Takes items from one thread and hands them, some at a time, to a function in a thread of its own.

    Attributes:
        dropped: How many items found the queue full, or met an error that nobody expected.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[list[Item]], None],
        *,
        most_items: int,
        most_bytes: int = 1 << 62,
        most_at_once: int = 32,
        interval_seconds: float = 0.1,
    ) -> None:
        """Starts the thread.

        Args:
            name: Of the thread.
            take: Called with what waits.
            most_items: How many may wait.
            most_bytes: How much may wait, by the sizes that are offered with the items.
            most_at_once: How many ``take`` gets, which should let other threads on after those: no answer waits longer.
            interval_seconds: How often it is looked whether something waits.
        """
        self._take, self._most_items, self._most_bytes = take, most_items, most_bytes
        self._most_at_once, self._interval_seconds = most_at_once, interval_seconds
        self._items: deque[tuple[Item, int]] = deque()
        # Each is written by one thread only, so that neither needs a lock.
        self._offered_bytes = self._taken_bytes = 0
        self._full = self._failed = 0
        self._closing = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many items were not handed on."""
        return self._full + self._failed

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._items)

    def offer(self, item: Item, size: int = 0) -> None:
        """Queues an item, or drops it where too much waits.

        Args:
            item: What.
            size: Its bytes.
        """
        waiting_bytes = self._offered_bytes - self._taken_bytes
        if len(self._items) >= self._most_items or waiting_bytes + size > self._most_bytes:
            self._full += 1
            return
        self._offered_bytes += size
        self._items.append((item, size))

    def close(self, timeout_seconds: float) -> bool:
        """Ends the thread when all is handed on; returns whether that was in time."""
        self._closing.set()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._interval_seconds)
            while batch := self._taken():
                try:
                    self._take(batch)
                except Exception:
                    logger.exception("%d of what waits for %s are lost", len(batch), self._thread.name)
                    self._failed += len(batch)

    def _taken(self) -> list[Item]:
        batch: list[Item] = []
        while self._items and len(batch) < self._most_at_once:
            item, size = self._items.popleft()
            self._taken_bytes += size
            batch.append(item)
        return batch
