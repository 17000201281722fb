"""Where batches come from: Parquet files, arrays in memory, or the usual loaders; and how fast an epoch of them goes.

Only the trainer's loop over an epoch's batches is timed, its first window included; judging and saving are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shipway.components.common.training import Batch, TrainingData

__all__ = ["Epochs", "Source", "Turn", "in_memory", "parquet", "usual"]

# From rows of a step, seed and number of the epoch: what begins it when the clock runs.
Source = Callable[[int, int, int], Callable[[], Iterator[Batch]]]

_READ_ROWS = 1 << 16


@dataclass(frozen=True)
class Turn:
    """One epoch to measure.

    Attributes:
        source: The name of where its batches come from.
        steps: How many at most; 0 for all.
    """

    source: str
    steps: int = 0


@dataclass
class Epochs:
    """A training split whose epochs come from one source after another.

    Attributes:
        rows: Of the split.
        sources: By name.
        turns: What each epoch is.
        speeds: Rows per second of the epochs that are done.
    """

    rows: int
    sources: Mapping[str, Source]
    turns: Sequence[Turn]
    speeds: list[float] = field(default_factory=list)

    def batches(
        self, rows_per_step: int, seed: int, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Returns an epoch, which begins when its first batch is asked for."""
        if first_step or shard != (0, 1):
            raise ValueError("a measured training is one process and is not resumed")
        if epoch >= len(self.turns):
            return (batch for batch in ())  # a generator, which can be closed
        turn = self.turns[epoch]
        return _Timed(self.sources[turn.source](rows_per_step, seed, epoch), turn, self.speeds.append)


class _Timed(Iterator[Batch]):
    def __init__(self, begin: Callable[[], Iterator[Batch]], turn: Turn, tell: Callable[[float], None]) -> None:
        self._begin, self._turn, self._tell = begin, turn, tell
        self._batches: Iterator[Batch] | None = None
        self._taken = self._rows = 0
        self._started = 0.0

    def __next__(self) -> Batch:
        if self._batches is None:
            _wait_for_checkpoint()
            self._started = time.perf_counter()
            self._batches = self._begin()
        batch = None if self._taken == self._turn.steps > 0 else next(self._batches, None)
        if batch is None:
            self._tell(self._rows / (time.perf_counter() - self._started))
            raise StopIteration
        self._taken += 1
        self._rows += batch.rows
        return batch

    def close(self) -> None:
        """Ends what makes the batches."""
        close = getattr(self._batches, "close", None)
        if close:
            close()


def _wait_for_checkpoint() -> None:
    """The last epoch's, which goes on beside the next one's first steps."""
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()


def parquet(data: TrainingData) -> Source:
    """Batches as the trainer takes them."""
    return lambda rows_per_step, seed, epoch: lambda: data.train.batches(rows_per_step, seed, epoch)


def in_memory(data: TrainingData) -> Source:
    """Batches gathered from arrays of the whole split, by a permutation that is there when the clock starts."""
    every, at = Batch.empty(data.train.rows, data.encoders), 0
    for part in data.train.in_order(_READ_ROWS):
        for whole, array in zip(every.arrays, part.arrays, strict=True):
            whole[at : at + part.rows] = array
        at += part.rows

    def source(rows_per_step: int, seed: int, epoch: int) -> Callable[[], Iterator[Batch]]:
        order = np.random.default_rng((seed, epoch)).permutation(every.rows)
        starts = range(0, every.rows, rows_per_step)
        return lambda: (every.take(order[start : start + rows_per_step]) for start in starts)

    return source


def usual(framework: str, data: TrainingData, rows: int, workers: int) -> Source:
    """Batches as tutorials make them: a table of pandas, taken row by row.

    The words are places in vocabularies already, so that rows are numbers and nothing is looked up.

    Args:
        framework: ``pytorch`` or ``tensorflow``.
        data: The training data.
        rows: Of the table, taken from the start of the split; how fast a row is taken does not depend on it.
        workers: Processes of PyTorch's ``DataLoader``; 0 for none.
    """
    frame, numbers, words = _frame(data, rows)
    if framework == "pytorch":
        from benchmarks.training.usual_pytorch import source as rows_of_pytorch

        return rows_of_pytorch(frame, numbers, words, workers)
    from benchmarks.training.usual_tensorflow import source as rows_of_tensorflow

    return rows_of_tensorflow(frame, numbers, words)


def _frame(data: TrainingData, rows: int) -> tuple[Any, list[str], list[str]]:
    import pandas as pd

    batch = next(iter(data.train.in_order(rows)))
    numbers = [encoder.name for encoder in data.encoders.numeric]
    words = [encoder.name for encoder in data.encoders.strings]
    columns: dict[str, Any] = {name: batch.raw[:, position] for position, name in enumerate(numbers)}
    columns |= {name: batch.categorical[:, position] for position, name in enumerate(words)}
    return pd.DataFrame({**columns, "label": batch.labels, "weight": batch.weights}), numbers, words
