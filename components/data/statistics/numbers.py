"""What is known of a column of numbers, gathered part by part and handed to TFDV's own accumulator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.sketches import QuantilesSketch

from shipway.components.data.statistics.counting import Counts

__all__ = ["MOST_NUMBERS", "Numbers"]

MOST_NUMBERS = 1 << 14

_SAMPLE = 4096
_SKETCH_ROWS = 1 << 32


class Numbers:
    """Numbers of one column: counted one by one while few are distinct, in TFDV's quantile sketch otherwise.

    Attributes:
        total: How many values there are, NaN among them.
    """

    def __init__(self, epsilon: float, limit: int = MOST_NUMBERS) -> None:
        self.total = 0
        self.nan = 0
        self.counts: Counts | None = Counts(limit)
        self._epsilon = epsilon
        self._sketch: Any = None
        self._moments = (0, 0.0, 0.0)
        self._zeros = 0
        self._infinite = (0, 0)
        self._range = (math.inf, -math.inf)

    def add(self, values: pa.Array) -> None:
        """Takes in values; they hold no nulls."""
        self.total += len(values)
        if pa.types.is_floating(values.type):
            numbers = values.filter(pc.invert(pc.is_nan(values)))
            self.nan += len(values) - len(numbers)
            values = numbers
        if self.counts is not None and len(values) >= _SAMPLE and _mostly_distinct(values, self.counts.limit):
            self._spill()
        if self.counts is None:
            self._measure(np.asarray(values), None)
            return
        self.counts.add(values)
        if self.counts.too_many():
            self._spill()

    def merge(self, other: Numbers) -> None:
        """Adds what the other has taken in, which is used up."""
        self.total += other.total
        self.nan += other.nan
        if self.counts is not None and other.counts is not None:
            self.counts.merge(other.counts)
            if self.counts.too_many():
                self._spill()
            return
        self._spill()
        other._spill()
        if other._sketch is None:
            return
        if self._sketch is None:
            self._sketch = other._sketch
        else:
            self._sketch.Merge(other._sketch)
        self._join(other._moments, other._zeros, other._infinite, other._range)

    def compact(self) -> None:
        """Makes itself small for a journey between processes."""
        if self.counts is not None:
            self.counts.table()
        if self._sketch is not None:
            self._sketch.Compact()

    def values(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns the distinct values in order and their numbers; None when they are not known exactly."""
        if self.counts is None:
            return None
        table = self.counts.table()
        if table is None:
            return np.array([]), np.array([], np.int64)
        values, counts = np.asarray(table["value"].chunk(0)), np.asarray(table["count"].chunk(0))
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]

    def quantiles(self, number: int) -> list[float] | None:
        """Returns ``number + 1`` quantiles of the finite values from the least to the greatest; None without any."""
        known = self.values()
        if known is not None:
            values, counts = known
            finite = np.isfinite(values)
            values, weights = values[finite], np.cumsum(counts[finite])
            if not len(values):
                return None
            ranks = np.arange(number + 1) / number * (weights[-1] - 1)
            return [float(value) for value in values[np.searchsorted(weights, ranks, side="right")]]
        below, above = self._infinite
        if self._sketch is None or not math.isfinite(self._range[0]):
            return None
        fine = np.asarray(self._sketch.GetQuantiles(100 * number).flatten())
        rows = self._moments[0]
        shares = (below + np.arange(number + 1) / number * (rows - below - above)) / rows
        picked = fine[np.rint(shares * (len(fine) - 1)).astype(int)]
        return [float(value) for value in np.clip(picked, *self._range)]

    def fill(self, partial: Any) -> None:
        """Writes itself, used up, into the accumulator of TFDV's basic statistics of the column."""
        presence = partial.common_stats.presence_and_valency_stats[0]
        fill_presence(presence, self.total)
        numeric = partial.numeric_stats
        numeric.num_nan = self.nan
        if self.total == self.nan:
            return
        self._spill()
        below, above = self._infinite
        numeric.quantiles_summary = self._sketch
        numeric.finite_min, numeric.finite_max = self._range
        numeric.min = -math.inf if below else self._range[0]
        numeric.max = math.inf if above else self._range[1]
        numeric.num_zeros, numeric.pos_inf_count = self._zeros, float(above)
        moments = numeric.mean_var_accumulator
        moments.count, moments.mean, moments.variance = self._moments
        if below or above:
            moments.mean = moments.variance = math.nan

    def _spill(self) -> None:
        """Goes over to the sketch."""
        known = self.values()
        self.counts = None
        if known is not None and len(known[0]):
            self._measure(*known)

    def _measure(self, values: np.ndarray, counts: np.ndarray | None) -> None:
        if not len(values):
            return
        if self._sketch is None:
            self._sketch = QuantilesSketch(self._epsilon, _SKETCH_ROWS, 1)
        if counts is None:
            self._sketch.AddValues(pa.array(values))
        else:
            self._sketch.AddValues(pa.array(values), pa.array(counts))
        each = np.ones(len(values), np.int64) if counts is None else counts
        infinite = int(each[np.isneginf(values)].sum()), int(each[np.isposinf(values)].sum())
        if any(infinite):
            finite = np.isfinite(values)
            values, each, counts = values[finite], each[finite], each[finite]
        zeros = int(each[values == 0].sum())
        span = (values.min(), values.max()) if len(values) else (math.inf, -math.inf)
        self._join(_moments(values, counts), zeros, infinite, span)

    def _join(
        self, moments: tuple[int, float, float], zeros: int, infinite: tuple[int, int], span: tuple[float, float]
    ) -> None:
        self._moments = _combined(self._moments, moments)
        self._zeros += zeros
        self._infinite = self._infinite[0] + infinite[0], self._infinite[1] + infinite[1]
        self._range = min(self._range[0], span[0]), max(self._range[1], span[1])


def fill_presence(presence: Any, total: int) -> None:
    """Writes into TFDV's accumulator that ``total`` rows have one value each."""
    if total:
        presence.num_non_missing = presence.total_num_values = total
        presence.min_num_values = presence.max_num_values = 1
        presence.num_values_summary.AddValues(pa.array([1]), pa.array([total]))


def _mostly_distinct(values: pa.Array, limit: int) -> bool:
    if len(values) <= limit:
        return False
    sample = np.asarray(values.slice(0, _SAMPLE))
    return len(np.unique(sample)) > 3 * _SAMPLE // 4


def _moments(values: np.ndarray, counts: np.ndarray | None) -> tuple[int, float, float]:
    """Count, mean and variance."""
    if not len(values):
        return 0, 0.0, 0.0
    numbers = values.astype(np.float64)
    if counts is None:
        return len(numbers), float(numbers.mean()), float(numbers.var())
    mean = float(np.average(numbers, weights=counts))
    return int(counts.sum()), mean, float(np.average((numbers - mean) ** 2, weights=counts))


def _combined(one: tuple[int, float, float], other: tuple[int, float, float]) -> tuple[int, float, float]:
    if one[0] < other[0]:
        one, other = other, one
    count = one[0] + other[0]
    if not count:
        return one
    ratio = other[0] / count
    mean = one[1] + ratio * (other[1] - one[1])
    variance = one[2] + ratio * (other[2] - one[2] + (other[1] - mean) * (other[1] - one[1]))
    return count, mean, variance
