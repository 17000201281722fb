"""How much effort one operation may take: workers, tries, time, bandwidth; and who is told of its progress."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import tenacity

from shipway.components.common.errors import InputError, IntegrityError, StorageError, StorageUnavailable

__all__ = ["Effort", "Options"]

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 20.0
_MIB = 1 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """How an operation goes about its work.

    Attributes:
        workers: Requests at a time; 8 keep a network of 10 Gbit/s busy and two cores not much more than that.
        part_mib: Size of the parts of large objects, in MiB; S3 wants at least 5. An operation holds at most one part
            per worker in memory. S3 takes at most 10,000 parts, so larger objects get larger ones.
        retry_seconds: How long one request is tried again while the store is busy or breaks off.
        deadline_seconds: How long the whole operation may take; 0 for ever.
        limit_mib_per_second: Bandwidth of all workers together, in MiB/s; 0 for all there is.
        progress: Takes the bytes done and the bytes in all, again and again, from any thread.
    """

    workers: int = 8
    part_mib: int = 16
    retry_seconds: float = 120.0
    deadline_seconds: float = 0.0
    limit_mib_per_second: float = 0.0
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.part_mib < 1:
            raise InputError(f"workers={self.workers}, part_mib={self.part_mib}: both must be at least 1")
        if not all(n >= 0 for n in (self.retry_seconds, self.deadline_seconds, self.limit_mib_per_second)):
            raise InputError("retry_seconds, deadline_seconds and limit_mib_per_second cannot be negative")

    @property
    def part_bytes(self) -> int:
        """Size of the parts in bytes."""
        return self.part_mib * _MIB


_WORKER = threading.local()
"""``stop``: set when another worker of the same :meth:`Effort.each` has failed."""


def _stop() -> threading.Event:
    return getattr(_WORKER, "stop", None) or threading.Event()


class Effort:
    """One operation's running account, shared by its threads."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        seconds = self.options.deadline_seconds
        self._deadline = time.monotonic() + seconds if seconds else math.inf
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._done = 0
        self.total_bytes = 0
        self.moved_bytes = 0

    def persistently(self, uri: str, attempt: Callable[[], Result]) -> Result:
        """Returns what ``attempt`` returns, trying again, after pauses with full jitter, while a store is unavailable.

        Raises:
            StorageError: What the last try raised.
        """
        until = math.inf  # the first try may take as long as it takes
        stop = _stop()

        def told(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            _LOG.warning("%s; trying again in %.1f s", error, state.upcoming_sleep)

        def over(state: tenacity.RetryCallState) -> bool:
            nonlocal until
            until = min(until, time.monotonic() + self.options.retry_seconds, self._deadline)
            return stop.is_set() or time.monotonic() + state.upcoming_sleep >= until

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StorageUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
            stop=over,
            sleep=lambda seconds: stop.wait(seconds) and None,
            before_sleep=told,
            reraise=True,
        )
        self.check(uri)
        result: Result = retrying(attempt)
        return result

    def check(self, uri: str) -> None:
        """Raises StorageUnavailable when the operation's time is over, StorageError when it has failed elsewhere."""
        if _stop().is_set():
            raise StorageError(f"{uri}: stopped, as another part of the work failed", uri)
        if time.monotonic() >= self._deadline:
            raise StorageUnavailable(
                f"{uri}: not done after {self.options.deadline_seconds:g} s (deadline_seconds); what is done is kept:"
                " run it again to go on, with more time",
                uri,
            )

    def moved(self, count: int, uri: str) -> None:
        """Counts bytes that crossed the network, and waits where the bandwidth's limit asks for it."""
        limit = self.options.limit_mib_per_second * _MIB
        with self._lock:
            self.moved_bytes += count
            pause = 0.0
            if limit:
                now = time.monotonic()
                self._free_at = max(self._free_at, now) + count / limit
                pause = self._free_at - now
        if pause > 0:
            _stop().wait(pause)
        self.check(uri)

    def advance(self, count: int) -> None:
        """Counts bytes that are done, or with a negative number undone, and tells the caller."""
        with self._lock:
            self._done += count
            done = self._done
        if self.options.progress:
            self.options.progress(done, self.total_bytes)

    def each(self, function: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Calls ``function`` for every item, in the operation's workers; the first error ends it.

        Each worker takes the next item when it is free, so that a long listing is never held whole.
        """
        iterator, lock, stop = iter(items), threading.Lock(), threading.Event()
        failures: list[BaseException] = []

        def taken() -> Iterator[Item]:
            while not stop.is_set():
                with lock:
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item

        def work() -> None:
            _WORKER.stop = stop
            try:
                for item in taken():
                    function(item)
            except BaseException as error:
                failures.append(error)
                stop.set()
                raise

        with ThreadPoolExecutor(self.options.workers, thread_name_prefix="shipway-storage") as pool:
            try:
                wait([pool.submit(work) for _ in range(self.options.workers)])
            finally:
                stop.set()
        if failures:
            raise failures[0]

    def each_by_size(
        self, function: Callable[[Item], object], items: Iterable[Item], size: Callable[[Item], int]
    ) -> None:
        """Calls ``function`` for small items side by side, then for each large one, whose parts go side by side."""
        todo = list(items)
        self.each(function, [item for item in todo if size(item) <= self.options.part_bytes])
        for item in todo:
            if size(item) > self.options.part_bytes:
                function(item)

    def twice(self, attempt: Callable[[], Result]) -> Result:
        """Returns what ``attempt`` returns; when the bytes came out wrong it is done once more from the start."""
        try:
            return attempt()
        except IntegrityError as error:
            _LOG.warning("%s; reading it once more", error)
            return attempt()
