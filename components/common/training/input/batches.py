"""Batches of a split: shuffled and prefetched for learning, in order for judging."""

from __future__ import annotations

import contextlib
import queue
import threading
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from shipway.components.common.training.input.windows import Batch, Window, WindowReader

__all__ = ["Batch", "Examples", "Prefetched"]

_BATCHES_AHEAD = 4
_ROWS_IN_ORDER = 1 << 16

Array = np.ndarray[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Examples:
    """A split, encoded as it is read.

    Attributes:
        reader: Reads its windows.
        sampling: float64, one per class: the relative odds that a row of a class is drawn, with replacement; None
            takes every row once.
    """

    reader: WindowReader
    sampling: Array | None = None

    @property
    def rows(self) -> int:
        """How many rows it has, and an epoch takes."""
        return self.reader.source.rows

    def batches(
        self, rows_per_step: int, seed: int, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Prefetched[Batch]:
        """Returns an epoch in shuffled batches, made ahead in threads from now on; close it to end them early.

        Args:
            rows_per_step: Rows of a batch; the last one may have fewer.
            seed: Of the order.
            epoch: Which epoch, counted from 0; each has an order of its own.
            first_step: Batches to leave out, as they were taken before.
            shard: Which part of each batch, of how many: every n-th row of it.
        """
        order = np.random.default_rng((seed, epoch)).permutation(len(self.reader.source.groups)).tolist()
        windows = self.reader.plan(order)
        skipped, first = first_step * rows_per_step, 0
        while first < len(windows) and windows[first].rows <= skipped:
            skipped -= windows[first].rows
            first += 1
        mixed = self._mixed(windows, first, (seed, epoch), skipped, rows_per_step)
        return Prefetched(_dealt(mixed, rows_per_step, shard), _BATCHES_AHEAD)

    def in_order(self, rows: int) -> Iterator[Batch]:
        """Yields all rows in the files' order, in batches of at most so many rows."""
        windows = self.reader.plan(range(len(self.reader.source.groups)), _ROWS_IN_ORDER, streams=1)
        with contextlib.closing(Prefetched(self.reader.read(windows), 1)) as read:
            for window in read:
                for start in range(0, window.rows, rows):
                    yield window.take(slice(start, start + rows))

    def spread(self, rows: int) -> Batch:
        """Returns evenly spaced rows, at most so many."""
        stride, start, parts = -(-self.rows // rows), 0, []
        for batch in self.in_order(self.rows):
            parts.append(batch.take(np.arange(-start % stride, batch.rows, stride)))
            start += batch.rows
        return Batch.joined(parts)

    def _mixed(
        self, windows: Sequence[Window], first: int, seed: tuple[int, int], skipped: int, rows: int
    ) -> Iterator[Batch]:
        """Yields the windows' rows, each window's in an order of its own, so many at a time."""
        with contextlib.closing(Prefetched(self.reader.read(windows, first), 1)) as read:
            for number, window in enumerate(read, first):
                order = self._order(window, (*seed, number))
                for start in range(skipped, window.rows, rows):
                    yield window.take(order[start : start + rows])
                skipped = 0

    def _order(self, window: Batch, seed: tuple[int, ...]) -> Array:
        generator = np.random.default_rng(seed)
        if self.sampling is None:
            return generator.permutation(window.rows)
        odds = self.sampling[window.labels]
        return generator.choice(window.rows, window.rows, p=odds / odds.sum())


def _dealt(parts: Iterator[Batch], rows_per_step: int, shard: tuple[int, int]) -> Iterator[Batch]:
    """Yields batches of a stream of smaller ones."""
    rest: list[Batch] = []
    own = slice(shard[0], None, shard[1])
    for part in parts:
        missing = rows_per_step - sum(batch.rows for batch in rest)
        rest.append(part.take(slice(0, missing)))
        if part.rows >= missing:
            yield _shard(Batch.joined(rest), own)
            rest = [part.take(slice(missing, None))] if part.rows > missing else []
    if rest:
        yield _shard(Batch.joined(rest), own)


def _shard(batch: Batch, part: slice) -> Batch:
    """Returns a part of a batch; of a batch with fewer rows than parts, one row that weighs nothing."""
    own = batch.take(part)
    if own.rows:
        return own
    first = batch.take(slice(0, 1))
    return Batch(first.raw, first.categorical, first.labels, np.zeros_like(first.weights))


class Prefetched(Iterator[T]):
    """What another iterator yields, made ahead in a thread that starts at once.

    Args:
        items: What is made; it is closed in its thread.
        ahead: How many items may be made, or in the making, before they are asked for.
    """

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._items = items
        self._made: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._room = threading.Semaphore(ahead)
        self._closed = False
        self._thread = threading.Thread(target=self._make, name="input", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        what, item = self._made.get()
        self._room.release()
        if what == "item":
            return typing.cast(T, item)
        self.close()
        if what == "error":
            raise item
        raise StopIteration

    def close(self) -> None:
        """Ends the thread; nothing more is yielded."""
        self._closed = True
        self._room.release()
        self._thread.join()

    def _make(self) -> None:
        try:
            while self._room.acquire() and not self._closed:
                self._made.put(("item", next(self._items)))
        except StopIteration:
            self._made.put(("end", None))
        except Exception as error:  # noqa: BLE001 - raised again where the items are used
            self._made.put(("error", error))
        finally:
            close = getattr(self._items, "close", None)
            if close:
                close()
