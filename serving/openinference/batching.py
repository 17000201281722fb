"""Dynamic batching: what waits is answered together, and nothing waits for more to come."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from shipway.serving.engines.engine import Answer, Tensors

__all__ = ["Batcher", "Busy", "TooLate"]

# A forward pass that takes longer runs in a thread, so that meanwhile the event loop gathers the next batch; handing
# over costs some 0.05 ms.
_SECONDS_INLINE = 0.0005
_WEIGHT_OF_LATEST = 0.1


class Busy(Exception):
    """More waits than may wait.

    Attributes:
        retry_after_seconds: When what waits now will be done, rounded up.
    """

    def __init__(self, waiting_rows: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting_rows} rows wait already; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class TooLate(Exception):
    """The request's time was over before the model was free for it."""


@dataclass(slots=True)
class _Request:
    tensors: Tensors
    rows: int
    answer: asyncio.Future[Answer]
    until: float


class Batcher:
    """Hands requests of one model to its engine, those that wait at the same moment as one batch.

    With no request under way the next one runs as soon as the event loop has seen what else came with it.
    """

    def __init__(
        self,
        run: Callable[[Tensors], Answer],
        most_rows: int = 1024,
        most_waiting_rows: int = 8192,
        delay_seconds: float = 0.0,
        observe: Callable[[int, float], None] | None = None,
        waits_for_others: bool = False,
    ) -> None:
        """Prepares it.

        Args:
            run: The engine: scores and labels of a batch; called by one thread at a time.
            most_rows: Rows of a batch; a larger request is a batch of its own. 1 makes every request one.
            most_waiting_rows: Rows that may wait before requests are refused.
            delay_seconds: How long a request that finds the engine free waits for others to come.
            observe: Told the rows of each batch and how long it ran.
            waits_for_others: Whether the engine asks another process; it then never runs in the event loop.
        """
        self._run, self._observe, self._waits_for_others = run, observe, waits_for_others
        self._most_rows, self._most_waiting_rows, self._delay_seconds = most_rows, most_waiting_rows, delay_seconds
        self._waiting: deque[_Request] = deque()
        self._busy = False
        self._delayed: asyncio.Handle | None = None
        self._seconds = 0.0
        self._seconds_of_row = 0.0
        self._thread: ThreadPoolExecutor | None = None
        self.waiting_rows = 0

    @property
    def is_quick(self) -> bool:
        """Whether a batch is done so soon that it runs in the event loop."""
        return not self._waits_for_others and self._seconds <= _SECONDS_INLINE

    def submit(self, tensors: Tensors, rows: int, until: float = math.inf) -> asyncio.Future[Answer]:
        """Returns the answer to come; cancelled before its batch runs, the request is left out.

        The answer is :class:`TooLate` when its batch would run after its time.

        Args:
            tensors: By feature, as the engine takes them.
            rows: How many rows they have.
            until: The time of ``time.perf_counter`` until which the answer is wanted.

        Raises:
            Busy: When too many rows wait.
        """
        if self.waiting_rows and self.waiting_rows + rows > self._most_waiting_rows:
            raise Busy(self.waiting_rows, max(1, math.ceil(self.waiting_rows * self._seconds_of_row)))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Request(tensors, rows, answer, until))
        self.waiting_rows += rows
        if self._delayed and self.waiting_rows >= self._most_rows:
            self._delayed.cancel()
            self._delayed = loop.call_soon(self._next)
        elif not self._busy:
            self._busy = True
            if self._delay_seconds and rows < self._most_rows:
                self._delayed = loop.call_later(self._delay_seconds, self._next)
            else:
                loop.call_soon(self._next)
        return answer

    def _next(self) -> None:
        """Runs what waits."""
        self._delayed = None
        batch = self._taken()
        if not batch:
            self._busy = False
        elif self.is_quick:
            self._answer(batch, _outcome(self._answers, batch))
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)
            else:
                self._busy = False
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, "forward")
            loop = asyncio.get_running_loop()
            done = loop.run_in_executor(self._thread, _outcome, self._answers, batch)
            done.add_done_callback(lambda future: self._done(batch, future))

    def _done(self, batch: list[_Request], outcome: asyncio.Future[list[Answer] | Exception]) -> None:
        self._answer(batch, outcome.result())
        self._next()

    def _taken(self) -> list[_Request]:
        batch: list[_Request] = []
        rows, now = 0, time.perf_counter()
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._most_rows):
            request = self._waiting.popleft()
            self.waiting_rows -= request.rows
            if request.answer.done():
                continue
            if request.until < now:
                request.answer.set_exception(TooLate("the model was not free in time; try again later"))
                continue
            batch.append(request)
            rows += request.rows
        return batch

    def _answers(self, batch: list[_Request]) -> list[Answer]:
        tensors = batch[0].tensors
        if len(batch) > 1:
            tensors = {name: np.concatenate([request.tensors[name] for request in batch]) for name in tensors}
        rows = sum(request.rows for request in batch)
        started = time.perf_counter()
        scores, labels = self._run(tensors)
        seconds = time.perf_counter() - started
        if self._observe:
            self._observe(rows, seconds)
        self._seconds = self._seconds or seconds
        # One that the operating system held up says little of the next.
        self._seconds += _WEIGHT_OF_LATEST * (min(seconds, 4 * self._seconds + 1e-4) - self._seconds)
        self._seconds_of_row += _WEIGHT_OF_LATEST * (seconds / rows - self._seconds_of_row)
        if len(batch) == 1:
            return [(scores, labels)]
        answers, start = [], 0
        for request in batch:
            answers.append((scores[start : start + request.rows], labels[start : start + request.rows]))
            start += request.rows
        return answers

    def _answer(self, batch: list[_Request], outcome: list[Answer] | Exception) -> None:
        if isinstance(outcome, Exception) and len(batch) > 1:  # whose fault it is shows when each runs alone
            for request in batch:
                self._answer([request], _outcome(self._answers, [request]))
            return
        for position, request in enumerate(batch):
            if request.answer.done():
                continue
            if isinstance(outcome, Exception):
                request.answer.set_exception(outcome)
            else:
                request.answer.set_result(outcome[position])


def _outcome(answers: Callable[[list[_Request]], list[Answer]], batch: list[_Request]) -> list[Answer] | Exception:
    try:
        return answers(batch)
    except Exception as error:  # noqa: BLE001 - the engine's, which its request is told
        return error
