"""Faults of rows, labels, times and rules."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.faults.injectors.registry import (
    ALL,
    NUMBER,
    SHARES,
    Batch,
    CannotHappen,
    fault,
    mapped,
    one_of,
    put,
    some_rows,
)

__all__: list[str] = []


_DAY = 86_400 * 1_000_000


@fault(SHARES)
def duplicated_rows(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some rows came twice."""
    return pa.concat_tables([batch.table, batch.table.filter(pa.array(some_rows(batch.table, share, rng)))])


@fault(SHARES)
def duplicated_keys(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some rows have the key of another row."""
    if not batch.key_columns:
        raise CannotHappen
    table, rows = batch.table, np.arange(batch.table.num_rows)
    hit = some_rows(table, share, rng)
    rows[hit] = rng.choice(np.flatnonzero(~hit), hit.sum())
    for name in batch.key_columns:
        table = put(table, name, batch.table[name].take(pa.array(rows)))
    return table


@fault((0.1, 0.5, 0.9, 0.99))
def lost_rows(batch: Batch, share: float, _: np.random.Generator) -> pa.Table:
    """10 to 99 % of the rows are gone from the end."""
    return batch.table.slice(0, max(1, round((1 - share) * batch.table.num_rows)))


@fault(ALL)
def empty_table(batch: Batch, _: float, __: np.random.Generator) -> pa.Table:
    """There are no rows."""
    return batch.table.slice(0, 0)


@fault((0.1, 0.5, 1))
def stale_batch(batch: Batch, share: float, _: np.random.Generator) -> pa.Table:
    """10 % to all of the rows are those of the batch before."""
    rows = round(share * batch.table.num_rows)
    return pa.concat_tables([batch.previous.slice(0, rows), batch.table.slice(rows)])


@fault(ALL)
def label_of_one_class(batch: Batch, _: float, __: np.random.Generator) -> pa.Table:
    """Every row has the same label."""
    return put(batch.table, batch.label, pa.repeat(batch.table[batch.label].drop_null()[0], batch.table.num_rows))


@fault(SHARES)
def flipped_labels(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some rows have another label."""
    values = pc.unique(batch.table[batch.label].drop_null()).to_pylist()
    following = dict(zip(values, values[1:] + values[:1], strict=True))
    return mapped(batch.table, batch.label, following.__getitem__, some_rows(batch.table, share, rng))


@fault((0.1, 0.5, 0.9))
def fewer_of_a_class(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """10 to 90 % of the rows of one class are gone."""
    value = batch.table[batch.label].drop_null()[0]
    of_class = pc.equal(batch.table[batch.label], value).fill_null(False).to_numpy(zero_copy_only=False)
    return batch.table.filter(pa.array(~(of_class & (rng.random(len(of_class)) < share))))


@fault((0, 0.01, 0.1))
def leaked_label(batch: Batch, noise: float, rng: np.random.Generator) -> pa.Table:
    """A column of numbers tells the label, in all rows or but for 1 or 10 %."""
    labels = batch.table[batch.label]
    codes = pc.index_in(labels, pc.unique(labels)).cast(pa.float64())
    values = pc.if_else(
        pa.array(rng.random(len(labels)) < noise), codes.take(pa.array(rng.permutation(len(labels)))), codes
    )
    name = one_of(rng, batch.names(*NUMBER))
    return put(batch.table, name, values.cast(batch.table.schema.field(name).type))


@fault(SHARES)
def future_dates(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some times lie a hundred years ahead."""
    return _moved(batch, 36_525 * _DAY, some_rows(batch.table, share, rng))


@fault(SHARES)
def dates_of_1970(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Some times are the beginning of 1970, as where a zero was taken for a time."""
    _needs_time(batch)
    zero = pa.repeat(
        pa.scalar(0, pa.int64()).cast(batch.table.schema.field(batch.time_column).type), batch.table.num_rows
    )
    return put(batch.table, batch.time_column, zero, some_rows(batch.table, share, rng))


@fault((1, 5, 12))
def other_time_zone(batch: Batch, hours: float, _: np.random.Generator) -> pa.Table:
    """All times are off by 1, 5 or 12 hours."""
    return _moved(batch, int(hours) * _DAY // 24, None)


def _needs_time(batch: Batch) -> None:
    if not batch.time_column:
        raise CannotHappen


def _moved(batch: Batch, microseconds: int, rows: np.ndarray | None) -> pa.Table:
    _needs_time(batch)
    column = batch.table[batch.time_column]
    moved = pc.add(column.cast(pa.int64()), microseconds).cast(column.type)
    return put(batch.table, batch.time_column, moved, rows)


@fault(SHARES)
def contradiction(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Two columns of a row contradict each other; each value alone is possible."""
    return batch.contradict(batch.table, some_rows(batch.table, share, rng))
