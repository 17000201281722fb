"""How often each value of a column occurs, exactly, as long as there are not too many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Counts", "grouped"]

_LEAST_PENDING = 1 << 15
_MOST_PARTS = 16


class Counts:
    """Distinct values with their numbers, and with the sums of their weights where rows have weights.

    Attributes:
        limit: The greatest number of distinct values that are held.
        limit_bytes: The greatest size of the distinct values in bytes.
    """

    def __init__(self, limit: int, limit_bytes: int = 1 << 26) -> None:
        self.limit = limit
        self.limit_bytes = limit_bytes
        self._parts: list[pa.Table] = []
        self._rows = self._bytes = self._settled = 0

    def add(self, values: pa.Array, weights: np.ndarray | None = None) -> None:
        """Counts values; they hold no nulls."""
        if not len(values):
            return
        if weights is None:
            counted = pc.value_counts(values)
            self._append(pa.table({"value": counted.field(0), "count": counted.field(1)}))
        else:
            ones = np.ones(len(values), np.int64)
            part = pa.table({"value": values, "count": ones, "weight": weights.astype(np.float64)})
            self._append(grouped([part]))

    def merge(self, other: Counts) -> None:
        """Adds what the other has counted."""
        for part in other._parts:
            self._append(part)

    def _append(self, part: pa.Table) -> None:
        self._parts.append(part)
        self._rows += part.num_rows
        self._bytes += part["value"].nbytes
        if self._rows > 2 * self._settled + _LEAST_PENDING or len(self._parts) > _MOST_PARTS:
            self.table()

    def table(self) -> pa.Table | None:
        """Returns columns ``value``, ``count`` and perhaps ``weight``, a row for each value; None without values."""
        if not self._parts:
            return None
        if len(self._parts) > 1:
            self._parts = [grouped(self._parts)]
        whole = self._parts[0]
        self._rows = self._settled = whole.num_rows
        self._bytes = whole["value"].nbytes
        return whole

    def too_many(self) -> bool:
        """Whether a limit is passed; then the values should go to a sketch."""
        if self._over():
            self.table()
        return self._over()

    def _over(self) -> bool:
        return self._rows > self.limit or self._bytes > self.limit_bytes


def grouped(parts: list[pa.Table]) -> pa.Table:
    """Returns the tables' rows with those of one ``value`` added up."""
    sums = [(name, "sum") for name in parts[0].column_names if name != "value"]
    table = pa.concat_tables(parts).group_by("value").aggregate(sums).combine_chunks()
    return pa.table({name: table[name if name == "value" else f"{name}_sum"] for name in parts[0].column_names})
