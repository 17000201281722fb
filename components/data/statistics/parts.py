"""The statistics of one part of a source: of all its sampled rows, and of each slice of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import statistics_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.reading import Unit
from shipway.components.data.statistics.columns import plain_batch
from shipway.components.data.statistics.engine import Gathered, Plan
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["MOST_SLICES", "Part", "Selection", "gather", "slices"]

MOST_SLICES = 1000

_BATCH_ROWS = 1 << 15


@dataclass(frozen=True)
class Selection:
    """Which rows count, and where.

    Attributes:
        slice_columns: Each value of each of these columns makes a slice.
        fraction: The share of rows that is taken; each row is drawn by itself.
        seed: Says which rows.
    """

    slice_columns: tuple[str, ...] = ()
    fraction: float = 1.0
    seed: int = 0

    def batches(self, index: int, unit: Unit) -> Iterator[pa.RecordBatch]:
        """Yields the drawn rows of a unit as :func:`plain_batch` makes them.

        Args:
            index: The unit's place in its source.
            unit: The unit.
        """
        draw = np.random.default_rng([self.seed, index])
        for batch in unit.batches(batch_rows=_BATCH_ROWS):
            if self.fraction < 1:
                batch = batch.take(pa.array(np.flatnonzero(draw.random(batch.num_rows) < self.fraction)))
            yield plain_batch(batch)
            del batch


@dataclass
class Part:
    """Statistics of all rows, and of the rows of each slice by the slice's name."""

    plan: Plan
    whole: Gathered
    slices: dict[str, Gathered]

    @classmethod
    def empty(cls, plan: Plan) -> Part:
        """Returns the statistics of no rows."""
        return cls(plan, Gathered(plan), {})

    def add(self, batch: pa.RecordBatch, slice_columns: Sequence[str]) -> None:
        """Takes in rows as :func:`plain_batch` makes them."""
        self.whole.add(batch)
        for name, rows in slices(batch, slice_columns):
            self._slice(name).add(rows)

    def merge(self, other: Part) -> None:
        """Adds what the other part knows, which is used up."""
        self.whole.merge(other.whole)
        for name, gathered in other.slices.items():
            self._slice(name).merge(gathered)

    def compact(self) -> None:
        """Makes itself small for a journey between processes."""
        for gathered in (self.whole, *self.slices.values()):
            gathered.compact()

    def proto(self) -> statistics_pb2.DatasetFeatureStatisticsList:
        """Returns everything as TFDV writes it, after which nothing more can be added."""
        if not self.slices:
            return statistics_pb2.DatasetFeatureStatisticsList(datasets=[self.whole.proto()])
        named = {tfdv.constants.DEFAULT_SLICE_KEY: self.whole, **dict(sorted(self.slices.items()))}
        return statistics_pb2.DatasetFeatureStatisticsList(datasets=[g.proto(name) for name, g in named.items()])

    def _slice(self, name: str) -> Gathered:
        if name not in self.slices:
            if len(self.slices) >= MOST_SLICES:
                raise InputError(f"more than {MOST_SLICES} slices, {name!r} among them; slice by columns of few values")
            self.slices[name] = Gathered(self.plan)
        return self.slices[name]


def gather(index: int, unit: Unit, *, plan: Plan, selection: Selection) -> Part:
    """Reads a unit of a source and returns its statistics."""
    part = Part.empty(plan)
    for batch in selection.batches(index, unit):
        part.add(batch, selection.slice_columns)
        del batch
    part.compact()
    return part


def slices(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yields the rows that hold each value of each column, named as TFDV names slices; lists hold several values."""
    for column in columns:
        yield from _slices(batch, column)


def _slices(batch: pa.RecordBatch, column: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    values, rows = _elements(batch.column(batch.schema.get_field_index(column)))
    encoded = values.dictionary_encode()
    codes = np.asarray(encoded.indices)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    for index, value in enumerate(encoded.dictionary.to_numpy(zero_copy_only=False)):
        picked = np.unique(rows[order[bounds[index] : bounds[index + 1]]])
        yield f"{column}_{_text(value)}", batch.take(pa.array(picked))


def _elements(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The values of a column without nulls, and the row of each."""
    rows = np.arange(len(column))
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        rows = rows[np.asarray(pc.list_parent_indices(column))]
        column = column.flatten()
    return column.drop_null(), rows[np.asarray(column.is_valid())]


def _text(value: Any) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise InputError(f"{value!r} is no UTF-8, so it cannot name a slice; slice by another column") from None
