"""Faults of columns and their types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.faults.injectors.registry import (
    ALL,
    FLOAT,
    NUMBER,
    SHARES,
    TEXT,
    Batch,
    CannotHappen,
    fault,
    one_of,
    put,
    some_rows,
)

__all__: list[str] = []


@fault(ALL)
def missing_column(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column is gone."""
    return batch.table.drop([one_of(rng, batch.names(*NUMBER, *TEXT))])


@fault(ALL)
def extra_column(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column nobody asked for."""
    return batch.table.append_column("extra", pa.array(rng.normal(size=batch.table.num_rows)))


@fault(ALL)
def renamed_column(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column has another name."""
    name = one_of(rng, batch.names(*NUMBER, *TEXT))
    return batch.table.rename_columns([f"{n}_new" if n == name else n for n in batch.table.column_names])


@fault(ALL)
def numbers_as_text(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column of numbers came as text."""
    name = one_of(rng, batch.names(*NUMBER))
    return put(batch.table, name, batch.table[name].cast(pa.string()))


@fault(SHARES)
def decimal_commas(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some numbers have a decimal comma, so that the column came as text."""
    name = one_of(rng, batch.names(*FLOAT))
    texts = batch.table[name].cast(pa.string())
    comma = pc.replace_substring(texts, ".", ",")
    return put(batch.table, name, pc.if_else(pa.array(some_rows(batch.table, share, rng)), comma, texts))


@fault(ALL)
def swapped_columns(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """Two columns of numbers have each other's values."""
    one, other = _two_alike(batch, rng)
    return put(put(batch.table, one, batch.table[other]), other, batch.table[one])


@fault(SHARES)
def swapped_in_some_rows(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Two columns of numbers have each other's values in some rows."""
    one, other = _two_alike(batch, rng)
    rows = some_rows(batch.table, share, rng)
    return put(put(batch.table, one, batch.table[other], rows), other, batch.table[one], rows)


def _two_alike(batch: Batch, rng: np.random.Generator) -> tuple[str, str]:
    one = one_of(rng, batch.names(*NUMBER))
    kind = batch.table.schema.field(one).type
    others = [name for name in batch.names(*NUMBER) if name != one and batch.table.schema.field(name).type == kind]
    if not others:
        raise CannotHappen
    return one, one_of(rng, others)


@fault(SHARES)
def shuffled_column(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """A column's values are in other rows than they belong to, as after sorting one file of two."""
    name = one_of(rng, batch.names(*NUMBER, *TEXT))
    places = np.arange(batch.table.num_rows)
    moved = np.flatnonzero(some_rows(batch.table, share, rng))
    places[moved] = rng.permutation(moved)
    return put(batch.table, name, batch.table[name].take(pa.array(places)))


@fault(ALL)
def constant_column(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column has one value only."""
    name = one_of(rng, batch.names(*NUMBER, *TEXT))
    counts = pc.value_counts(batch.table[name].drop_null())
    return put(batch.table, name, counts.field(0)[int(np.argmax(counts.field(1)))])


@fault(ALL)
def identical_columns(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """A column holds a copy of another."""
    one, other = _two_alike(batch, rng)
    return put(batch.table, one, batch.table[other])
