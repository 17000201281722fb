"""What a fault is, the list of all, and what their functions share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ALL",
    "FAULTS",
    "FLOAT",
    "NUMBER",
    "SHARES",
    "TEXT",
    "Batch",
    "CannotHappen",
    "Fault",
    "fault",
    "mapped",
    "moments",
    "one_of",
    "put",
    "scaled",
    "some_rows",
]

SHARES = (0.001, 0.01, 0.1, 0.5)
ALL = (1.0,)


class CannotHappen(Exception):
    """This data set has no column that the fault could happen to."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """A clean batch and what is known of it."""

    table: pa.Table
    previous: pa.Table
    label: str
    key_columns: Sequence[str]
    time_column: str
    contradict: Callable[[pa.Table, np.ndarray], pa.Table]
    """Breaks a rule of this data set in the given rows."""

    def names(self, *kinds: Callable[[pa.DataType], bool]) -> list[str]:
        """The columns of these types that are neither label, key nor time; most have several values."""
        special = {self.label, self.time_column, *self.key_columns}
        names = [f.name for f in self.table.schema if f.name not in special and any(kind(f.type) for kind in kinds)]
        names = [name for name in names if pc.count_distinct(self.table[name]).as_py() > 1]
        if not names:
            raise CannotHappen
        return names


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    description: str
    severities: tuple[float, ...]
    inject: Callable[[Batch, float, np.random.Generator], pa.Table]


FAULTS: list[Fault] = []


def fault(severities: tuple[float, ...]) -> Callable[[Callable[..., pa.Table]], Callable[..., pa.Table]]:
    """Registers a function under its name, with the first line of its docstring."""

    def register(inject: Callable[..., pa.Table]) -> Callable[..., pa.Table]:
        description = (inject.__doc__ or "").splitlines()[0].rstrip(".")
        FAULTS.append(Fault(inject.__name__.replace("_", " "), description, severities, inject))
        return inject

    return register


NUMBER = pa.types.is_integer, pa.types.is_floating
FLOAT = (pa.types.is_floating,)
TEXT = (pa.types.is_string,)


def one_of(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Returns one of the names."""
    return str(rng.choice(names))


def some_rows(table: pa.Table, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the rows, at least one."""
    rows = table.num_rows
    chosen = np.zeros(rows, bool)
    chosen[rng.choice(rows, max(1, round(share * rows)), replace=False)] = True
    return chosen


def put(table: pa.Table, name: str, values: Any, rows: np.ndarray | None = None) -> pa.Table:
    """Puts values (a column or one value) into a column, or into some of its rows."""
    column = table[name]
    if not isinstance(values, pa.Array | pa.ChunkedArray | pa.Scalar):
        values = pa.scalar(values, None if values is not None else column.type)
    if rows is not None:
        values = pc.if_else(pa.array(rows), values, column)
    elif isinstance(values, pa.Scalar):
        values = pa.repeat(values, table.num_rows)
    return table.set_column(table.column_names.index(name), name, values)


def mapped(table: pa.Table, name: str, change: Callable[[Any], Any], rows: np.ndarray | None = None) -> pa.Table:
    """Changes the values that are there, one by one; the type stays where it can hold them."""
    chosen = np.ones(table.num_rows, bool) if rows is None else rows
    pairs = zip(table[name].to_pylist(), chosen, strict=True)
    values = [change(value) if hit and value is not None else value for value, hit in pairs]
    return put(table, name, pa.array(values, table.schema.field(name).type))


def scaled(table: pa.Table, name: str, change: Callable[[Any], Any], rows: np.ndarray | None = None) -> pa.Table:
    """Changes numbers all at once; whole ones stay whole."""
    kind = table.schema.field(name).type
    values = change(table[name].cast(pa.float64()))
    values = pc.round(values).cast(kind) if pa.types.is_integer(kind) else values.cast(kind)
    return put(table, name, values, rows)


def moments(table: pa.Table, name: str) -> tuple[float, float]:
    """Returns a column's mean and standard deviation."""
    values = table[name].cast(pa.float64())
    return pc.mean(values).as_py(), pc.stddev(values).as_py()
