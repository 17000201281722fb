"""Windows: as many rows as fit a fixed amount of memory, read from several row groups at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shipway.components.common.preprocessing import Encoders, column_tensor, word_indices
from shipway.components.common.preprocessing.vectors import sized
from shipway.components.common.training.input.files import ParquetRows, RowGroup

__all__ = ["Batch", "Window", "WindowReader"]

_STREAMS = 8
_PIECES = 16
_READ_ROWS = 1 << 14
_OPEN_BYTES = 256 << 20
_WINDOW_BYTES = 64 << 20
_WINDOW_ROWS = 1 << 19
_FEWEST_ROWS = 1 << 12

Array = np.ndarray[Any, Any]
# Gives the classes' positions and the weights of a batch of rows.
Targets = Callable[[pa.RecordBatch], tuple[Array, Array]]


@dataclass(frozen=True)
class Batch:
    """Rows as a network's training takes them.

    Attributes:
        raw: float32 ``[rows, encoders.raw_width]``: numbers as they are, NaN where missing.
        categorical: int64 ``[rows, string features]``: places in the vocabularies.
        labels: int64 ``[rows]``: positions in the names of the classes.
        weights: float32 ``[rows]``, mean 1 over the split.
    """

    raw: Array
    categorical: Array
    labels: Array
    weights: Array

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.labels)

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """The four tensors."""
        return self.raw, self.categorical, self.labels, self.weights

    def take(self, rows: Array | slice) -> Batch:
        """Returns these rows."""
        if isinstance(rows, slice):
            return Batch(*(array[rows] for array in self.arrays))
        return Batch(*(array.take(rows, axis=0) for array in self.arrays))

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Returns the rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate(arrays) for arrays in zip(*(part.arrays for part in parts), strict=True)))

    @classmethod
    def empty(cls, rows: int, encoders: Encoders) -> Batch:
        """Returns room for so many rows."""
        return cls(
            np.empty((rows, encoders.raw_width), np.float32),
            np.empty((rows, len(encoders.strings)), np.int64),
            np.empty(rows, np.int64),
            np.empty(rows, np.float32),
        )


@dataclass(frozen=True)
class Window:
    """What a window is made of: so many of the next rows of a row group, one after the other."""

    pieces: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(rows for _, rows in self.pieces)


class WindowReader:
    """Reads the windows of a split.

    Args:
        source: The split.
        encoders: What its features are encoded with.
        columns: What ``targets`` reads.
        targets: Gives classes and weights.
    """

    def __init__(self, source: ParquetRows, encoders: Encoders, columns: Sequence[str], targets: Targets) -> None:
        self.source, self.encoders = source, encoders
        self._columns = [*encoders.names, *columns]
        self._targets = targets
        row_bytes = 4 * encoders.raw_width + 8 * len(encoders.strings) + 12
        self.window_rows = max(_FEWEST_ROWS, min(_WINDOW_ROWS, _WINDOW_BYTES // row_bytes))

    def plan(self, order: Sequence[int], most_rows: int = _WINDOW_ROWS, streams: int = _STREAMS) -> list[Window]:
        """Returns the windows of an epoch that takes the row groups in this order, several at a time.

        So few are open at a time that they stay below 256 MiB together.
        """
        window_rows = min(self.window_rows, most_rows)
        largest = max(group.size_bytes for group in self.source.groups)
        streams = max(1, min(streams, _OPEN_BYTES // max(largest, 1)))
        most = max(1, window_rows // _PIECES)
        waiting = list(reversed(order))
        open_groups: list[list[int]] = []
        windows: list[Window] = []
        pieces: list[tuple[int, int]] = []
        rows = 0
        while waiting or open_groups:
            while waiting and len(open_groups) < streams:
                group = waiting.pop()
                open_groups.append([group, self.source.groups[group].rows])
            for stream in list(open_groups):
                taken = min(most, stream[1])
                pieces.append((stream[0], taken))
                stream[1] -= taken
                rows += taken
                if not stream[1]:
                    open_groups.remove(stream)
                if rows >= window_rows:
                    windows.append(Window(tuple(pieces)))
                    pieces, rows = [], 0
        return [*windows, Window(tuple(pieces))] if pieces else windows

    def read(self, windows: Sequence[Window], first: int = 0) -> Iterator[Batch]:
        """Yields the windows from the first wanted one on.

        Raises:
            InputError: When a file is damaged.
        """
        passed: dict[int, int] = {}
        for window in windows[:first]:
            for group, rows in window.pieces:
                passed[group] = passed.get(group, 0) + rows
        streams: dict[int, _Stream] = {}
        for window in windows[first:]:
            room, at = Batch.empty(window.rows, self.encoders), 0
            for group, rows in window.pieces:
                if group not in streams:
                    streams[group] = _Stream(self.source, self.source.groups[group], self._columns)
                    streams[group].skip(passed.get(group, 0))
                for part in streams[group].take(rows):
                    self._fill(room.take(slice(at, at + part.num_rows)), part)
                    at += part.num_rows
                if streams[group].done:
                    del streams[group]
            yield room

    def _fill(self, room: Batch, part: pa.RecordBatch) -> None:
        for position, encoder in enumerate(self.encoders.numeric):
            room.raw[:, position] = column_tensor(part.column(encoder.name), "numeric")
        start = len(self.encoders.numeric)
        for vector in self.encoders.vectors:
            values = column_tensor(part.column(vector.name), "vector", vector.name)
            room.raw[:, start : start + vector.size] = sized(values, vector.size, vector.name)
            start += vector.size
        for position, strings in enumerate(self.encoders.strings):
            room.categorical[:, position] = _places(part.column(strings.name), strings.vocabulary)
        room.labels[:], room.weights[:] = self._targets(part)


class _Stream:
    """One row group that is being read."""

    def __init__(self, source: ParquetRows, group: RowGroup, columns: Sequence[str]) -> None:
        self._batches = source.read(group, columns, _READ_ROWS)
        self._left = group.rows
        self._rest: pa.RecordBatch | None = None

    @property
    def done(self) -> bool:
        """Whether every row was taken."""
        return not self._left

    def take(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yields the next rows, in one batch or several."""
        self._left -= rows
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches)
            part = batch.slice(0, rows)
            self._rest = batch.slice(part.num_rows) if part.num_rows < batch.num_rows else None
            rows -= part.num_rows
            if part.num_rows:
                yield part

    def skip(self, rows: int) -> None:
        """Passes over rows."""
        for _ in self.take(rows):
            pass


def _places(column: pa.Array, vocabulary: tuple[str, ...]) -> Array:
    """Returns the places of words in a vocabulary; of a dictionary, each word is looked up once."""
    if not pa.types.is_dictionary(column.type):
        return word_indices(column.cast(pa.string()).fill_null(""), vocabulary)
    words = column.dictionary.cast(pa.string())
    places = np.append(word_indices(words.fill_null(""), vocabulary), word_indices(pa.array([""]), vocabulary))
    return np.asarray(places[column.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)])
