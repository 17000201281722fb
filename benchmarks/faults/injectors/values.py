"""Faults of single values: missing ones and impossible ones."""

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
    mapped,
    moments,
    one_of,
    put,
    scaled,
    some_rows,
)

__all__: list[str] = []


@fault(SHARES)
def missing_values(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """More values of a column are missing."""
    return put(batch.table, one_of(rng, batch.names(*NUMBER, *TEXT)), None, some_rows(batch.table, share, rng))


@fault(ALL)
def column_of_nulls(batch: Batch, _: float, rng: np.random.Generator) -> pa.Table:
    """Every value of a column is missing."""
    return put(batch.table, one_of(rng, batch.names(*NUMBER, *TEXT)), None)


@fault(SHARES)
def broken_join(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Three columns are all missing in the same rows, as if a key found no partner."""
    rows, table = some_rows(batch.table, share, rng), batch.table
    for name in rng.choice(batch.names(*NUMBER, *TEXT), 3, replace=False):
        table = put(table, str(name), None, rows)
    return table


@fault(SHARES)
def empty_strings(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Empty strings stand for missing values."""
    return put(batch.table, one_of(rng, batch.names(*TEXT)), "", some_rows(batch.table, share, rng))


@fault(SHARES)
def placeholder_text(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """The text N/A stands for missing values."""
    return put(batch.table, one_of(rng, batch.names(*TEXT)), "N/A", some_rows(batch.table, share, rng))


@fault(SHARES)
def nan(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Numbers became NaN."""
    return put(batch.table, one_of(rng, batch.names(*FLOAT)), float("nan"), some_rows(batch.table, share, rng))


@fault(SHARES)
def infinity(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Numbers became infinite, as after a division by zero."""
    return put(batch.table, one_of(rng, batch.names(*FLOAT)), float("inf"), some_rows(batch.table, share, rng))


@fault(SHARES)
def sentinel_number(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """The number -999 stands for missing values."""
    name = one_of(rng, batch.names(*NUMBER))
    value = pa.scalar(-999, batch.table.schema.field(name).type)
    return put(batch.table, name, pa.repeat(value, batch.table.num_rows), some_rows(batch.table, share, rng))


@fault(SHARES)
def zeros_for_missing(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """The number 0 stands for missing values."""
    name = one_of(rng, batch.names(*NUMBER))
    value = pa.scalar(0, batch.table.schema.field(name).type)
    return put(batch.table, name, pa.repeat(value, batch.table.num_rows), some_rows(batch.table, share, rng))


@fault(SHARES)
def out_of_range(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Numbers lie as far again beyond the largest as the range is wide."""
    name, rows = one_of(rng, batch.names(*NUMBER)), some_rows(batch.table, share, rng)
    ends = pc.min_max(batch.table[name].cast(pa.float64())).as_py()
    return scaled(batch.table, name, lambda v: pc.add(v, 2 * (ends["max"] - ends["min"])), rows)


@fault(SHARES)
def negative_values(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Numbers lost or got a minus sign."""
    name, rows = one_of(rng, batch.names(*NUMBER)), some_rows(batch.table, share, rng)
    return scaled(batch.table, name, pc.negate, rows)


@fault(SHARES)
def outlier_spikes(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Numbers jump by 10 to 30 standard deviations, up or down."""
    name, rows = one_of(rng, batch.names(*NUMBER)), some_rows(batch.table, share, rng)
    _, deviation = moments(batch.table, name)
    jumps = rng.uniform(10, 30, len(rows)) * rng.choice((-1, 1), len(rows)) * deviation
    return scaled(batch.table, name, lambda v: pc.add(v, pa.array(jumps)), rows)


@fault((16, 8))
def integer_overflow(batch: Batch, bits: float, rng: np.random.Generator) -> pa.Table:
    """Whole numbers were kept in too few bits (16 or 8) and wrapped around."""
    half = 2 ** (int(bits) - 1)
    able = [name for name in batch.names(pa.types.is_integer) if pc.max(batch.table[name]).as_py() >= half]
    if not able:
        raise CannotHappen
    return mapped(batch.table, one_of(rng, able), lambda v: (v + half) % (2 * half) - half)
