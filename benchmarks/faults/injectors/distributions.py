"""Faults that change how numbers and categories are distributed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.faults.injectors.registry import (
    FLOAT,
    NUMBER,
    SHARES,
    TEXT,
    Batch,
    fault,
    moments,
    one_of,
    put,
    scaled,
    some_rows,
)

__all__: list[str] = []


@fault((1.609, 60, 1000))
def unit_change(batch: Batch, factor: float, rng: np.random.Generator) -> pa.Table:
    """A column is in another unit: every value times 1.609, 60 or 1000."""
    return scaled(batch.table, one_of(rng, batch.names(*NUMBER)), lambda v: pc.multiply(v, factor))


@fault(SHARES)
def mixed_units(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some rows have a column in another unit: times 1000."""
    name, rows = one_of(rng, batch.names(*NUMBER)), some_rows(batch.table, share, rng)
    return scaled(batch.table, name, lambda v: pc.multiply(v, 1000.0), rows)


@fault((0.1, 0.5, 1, 3))
def offset(batch: Batch, deviations: float, rng: np.random.Generator) -> pa.Table:
    """Every value of a column is larger by 0.1 to 3 standard deviations."""
    name = one_of(rng, batch.names(*FLOAT))
    return scaled(batch.table, name, lambda v: pc.add(v, deviations * moments(batch.table, name)[1]))


@fault((1.1, 1.5, 2, 4))
def wider_spread(batch: Batch, factor: float, rng: np.random.Generator) -> pa.Table:
    """A column's distances from its mean grew by a factor of 1.1 to 4."""
    name = one_of(rng, batch.names(*FLOAT))
    mean, _ = moments(batch.table, name)
    return scaled(batch.table, name, lambda v: pc.add(pc.multiply(pc.subtract(v, mean), factor), mean))


@fault((1, 2, 3))
def lost_precision(batch: Batch, digits: float, rng: np.random.Generator) -> pa.Table:
    """A column was rounded: one, two or three digits fewer than its standard deviation has."""
    name = one_of(rng, batch.names(*FLOAT))
    step = 10 ** (np.floor(np.log10(moments(batch.table, name)[1])) + digits - 2)
    return scaled(batch.table, name, lambda v: pc.multiply(pc.round(pc.divide(v, step)), step))


@fault(SHARES)
def stuck_sensor(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """From some row on a column repeats one value."""
    name = one_of(rng, batch.names(*NUMBER))
    rows = batch.table.num_rows
    start = int(rng.integers(0, rows - max(1, round(share * rows)) + 1))
    stuck = (np.arange(rows) >= start) & (np.arange(rows) < start + max(1, round(share * rows)))
    return put(batch.table, name, pa.repeat(batch.table[name].drop_null()[0], rows), stuck)


@fault((0.01, 0.1, 0.3, 0.6))
def category_shift(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """1 to 60 % of the rows moved to a category that is there already."""
    name = one_of(rng, batch.names(*TEXT))
    to = batch.table[name].drop_null()[0]
    return put(batch.table, name, pa.repeat(to, batch.table.num_rows), some_rows(batch.table, share, rng))
