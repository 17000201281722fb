"""What is known of a column of strings, gathered part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.sketches import KmvSketch, MisraGriesSketch

from shipway.components.data.statistics.counting import Counts, grouped
from shipway.components.data.statistics.numbers import fill_presence
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["LARGE_STRING", "Strings", "Top"]

LARGE_STRING = 1024

_MISRA_GRIES_BUCKETS = 1024
_KMV_BUCKETS = 16384


@dataclass(frozen=True)
class Top:
    """The most frequent strings.

    Attributes:
        distinct: How many there are, those not listed among them.
        counts: String and count, most frequent first.
        weights: String and sum of weights; None without weights.
        exact: Whether all were counted; else numbers are from TFDV's sketch, whose counts are too large.
    """

    distinct: int
    counts: list[tuple[str | bytes, float]]
    weights: list[tuple[str | bytes, float]] | None
    exact: bool


class Strings:
    """Strings of one column: counted one by one while few are distinct, in TFDV's sketches otherwise.

    Attributes:
        total: How many values there are.
    """

    def __init__(self, limit: int, buckets: int) -> None:
        self.total = 0
        self.counts: Counts | None = Counts(limit)
        self._buckets = max(buckets, _MISRA_GRIES_BUCKETS)
        self._sketches: tuple[Any, Any, Any] | None = None
        self._bytes = 0
        self._not_utf8 = 0

    def add(self, values: pa.Array, weights: np.ndarray | None = None) -> None:
        """Takes in values; they hold no nulls. Either all calls have weights or none has."""
        self.total += len(values)
        target = self.counts or Counts(len(values))
        target.add(values, weights)
        if self.counts is None:
            self._sketch(target)
        elif self.counts.too_many():
            self._spill()

    def merge(self, other: Strings) -> None:
        """Adds what the other has taken in, which is used up."""
        self.total += other.total
        if self.counts is not None and other.counts is not None:
            self.counts.merge(other.counts)
            if self.counts.too_many():
                self._spill()
            return
        self._spill()
        other._spill()
        self._bytes += other._bytes
        self._not_utf8 += other._not_utf8
        if self._sketches is None:
            self._sketches = other._sketches
        elif other._sketches is not None:
            for mine, theirs in zip(self._sketches, other._sketches, strict=True):
                mine.Merge(theirs)

    def compact(self) -> None:
        """Makes itself small for a journey between processes."""
        if self.counts is not None:
            self.counts.table()

    def top(self, number: int) -> Top | None:
        """Returns the most frequent strings; None without values."""
        if not self.total:
            return None
        table = self.counts.table() if self.counts is not None else None
        if table is not None:
            shown = _without_large(table)
            weights = _most(shown, "weight", number) if "weight" in table.column_names else None
            return Top(table.num_rows, _most(shown, "count", number), weights, exact=True)
        if self._sketches is None:
            return None
        distinct, counts, weights = self._sketches
        return Top(distinct.Estimate(), _estimated(counts, number), _estimated(weights, number) or None, exact=False)

    def fill(self, partial: Any) -> None:
        """Writes itself into the accumulator of TFDV's basic statistics of the column."""
        fill_presence(partial.common_stats.presence_and_valency_stats[0], self.total)
        table = self.counts.table() if self.counts is not None else None
        length, not_utf8 = _measured(table) if table is not None else (0, 0)
        partial.string_stats.total_bytes_length = self._bytes + length
        partial.string_stats.invalid_utf8_count = self._not_utf8 + not_utf8

    def _spill(self) -> None:
        """Goes over to the sketches."""
        counts, self.counts = self.counts, None
        if counts is not None:
            self._sketch(counts)

    def _sketch(self, counts: Counts) -> None:
        table = counts.table()
        if table is None:
            return
        length, not_utf8 = _measured(table)
        self._bytes += length
        self._not_utf8 += not_utf8
        if self._sketches is None:
            self._sketches = KmvSketch(_KMV_BUCKETS), self._misra_gries(), self._misra_gries()
        distinct, unweighted, weighted = self._sketches
        values = table["value"].chunk(0)
        distinct.AddValues(values)
        unweighted.AddValues(values, table["count"].chunk(0).cast(pa.float32()))
        if "weight" in table.column_names:
            weighted.AddValues(values, table["weight"].chunk(0).cast(pa.float32()))

    def _misra_gries(self) -> Any:
        return MisraGriesSketch(
            num_buckets=self._buckets,
            invalid_utf8_placeholder=tfdv.constants.NON_UTF8_PLACEHOLDER,
            large_string_threshold=LARGE_STRING,
            large_string_placeholder=tfdv.constants.LARGE_BYTES_PLACEHOLDER,
        )


def _measured(table: pa.Table) -> tuple[int, int]:
    """Bytes of all strings, and how many are no UTF-8."""
    values, counts = table["value"].chunk(0), np.asarray(table["count"].chunk(0))
    length = int(np.dot(np.asarray(pc.binary_length(values)).astype(np.int64), counts))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return length, 0
    bad = [not _is_utf8(value) for value in values.to_pylist()]
    return length, int(counts[np.array(bad, bool)].sum())


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_large(table: pa.Table) -> pa.Table:
    """Takes all strings too large to be shown as one, as TFDV's sketch does."""
    values = table["value"].chunk(0)
    large = pc.greater(pc.binary_length(values), LARGE_STRING)
    if not pc.any(large).as_py():
        return table
    placeholder = pa.scalar(tfdv.constants.LARGE_BYTES_PLACEHOLDER).cast(values.type)
    return grouped([table.set_column(0, "value", pc.if_else(large, placeholder, values))])


def _most(table: pa.Table, column: str, number: int) -> list[tuple[str | bytes, float]]:
    """The most frequent; those of one frequency in falling order, as TFDV has them."""
    order = pc.sort_indices(table, sort_keys=[(column, "descending"), ("value", "descending")])
    rows = table.take(order[:number])
    return list(zip(rows["value"].to_pylist(), rows[column].to_pylist(), strict=True))


def _estimated(sketch: Any, number: int) -> list[tuple[str | bytes, float]]:
    pairs = [(row["values"], row["counts"]) for row in sketch.Estimate().to_pylist()]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]), reverse=True)[:number]
