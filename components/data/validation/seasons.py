"""Columns that later data cannot repeat: those that run on, and those that follow the time.

The weather of July differs from that of the months before it, and nothing is wrong. Within July already it differs
from day to day, whereas the distances that flights cover do not: the share of a column's variation that lies between
stretches of time tells the two apart from one dataset alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shipway.components.common.errors import InputError
from shipway.components.data.validation.context import Context

__all__ = ["clock", "follow_time", "runs_on", "time_shares"]

#: In the demo's months, columns that stay as they are lie below 0.19, and the weather's that change lie above 0.22.
TIME_SHARE = 0.2

_STRETCHES = 32
# The flights' numbers, which do not run on, reach 0.41, a growth to ten times as many rows per time 0.3.
_UNEVEN = 0.35
_LEAST_ROWS = 4 * _STRETCHES
_SAMPLED_ROWS = 1 << 16
_BATCH_ROWS = 1 << 16


def follow_time(context: Context, columns: Sequence[str]) -> set[str]:
    """Returns those columns of which at least :data:`TIME_SHARE` of the variation lies between stretches of time.

    Without rows or a column that :func:`clock` finds nothing is known, and none is returned.

    Raises:
        InputError: When a file cannot be read.
    """
    times = clock(context) if columns else ""
    if not context.dataset or not times:
        return set()
    shares = time_shares(context.dataset, times, [name for name in columns if name != times])
    return {name for name, share in shares.items() if share >= TIME_SHARE}


def clock(context: Context) -> str:
    """Returns the time column or, without one, the first column of timestamps or dates that runs on; "" without rows.

    Raises:
        InputError: When a file cannot be read.
    """
    if not context.dataset:
        return ""
    schema = _schema(context.dataset[0])
    if context.time_column:
        return context.time_column if context.time_column in schema.names else ""
    sides = [(side or {"columns": {}})["columns"] for side in (context.previous_distributions, context.distributions)]
    for field in schema:
        both = all(field.name in side for side in sides)
        if pa.types.is_temporal(field.type) and both and runs_on(*(side[field.name] for side in sides)):
            return str(field.name)
    return ""


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file} is no readable Parquet file: {error}; write the Dataset again") from error


def runs_on(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Says whether one side's numbers all lie past the other's and begin near where those end.

    So do times, counters and the number of a month, but hardly a column whose unit changed: the space between the two
    sides may be no wider than the narrower side, or than a step between neighbouring quantiles. And numbers that run
    on are spread about evenly over their range, unless they are one.
    """
    if not before["quantiles"] or not after["quantiles"]:
        return False
    low, high = sorted([np.array(side["quantiles"]) for side in (before, after)], key=lambda side: (side[0], side[-1]))
    steps = [np.diff(side).max() for side in (low, high)]
    whole = all(float(edge).is_integer() for edge in (low[0], low[-1], high[0], high[-1]))
    allowed = max(min(np.ptp(low), np.ptp(high)), *steps, 1.0 if whole else 0.0)
    return bool(low[-1] < high[0] <= low[-1] + allowed) and all(
        _even(side, 0.5 if whole else 0.0) for side in (low, high)
    )


def _even(quantiles: np.ndarray, half: float) -> bool:
    """Says whether quantiles are about evenly spaced, or all equal; whole numbers stand for a ``half`` either way."""
    spread = np.ptp(quantiles)
    if not spread:
        return True
    places = (quantiles - quantiles[0] + half) / (spread + 2 * half)
    return bool(np.abs(places - np.linspace(0, 1, len(quantiles))).max() <= _UNEVEN)


def time_shares(files: Sequence[Path], time_column: str, columns: Sequence[str]) -> dict[str, float]:
    """Returns the share of each column's variation, up to 1, that lies between 32 equally full stretches of time.

    That is the adjusted R squared of the stretch: on ranks for numbers, on the Gini index for other columns. It is
    measured on at most 65,536 evenly spaced rows. Data of too few rows, and columns that do not vary, have none.

    Args:
        files: The Dataset's files.
        time_column: Holds each row's time: of any type that sorts in time.
        columns: Which columns.

    Raises:
        InputError: When a file cannot be read.
    """
    table = _sample(files, list(dict.fromkeys([time_column, *columns])))
    table = table.filter(pc.is_valid(table[time_column]))
    if table.num_rows < _LEAST_ROWS:
        return {}
    times = _codes(table[time_column])
    stretches = np.searchsorted(np.sort(times), times) * _STRETCHES // len(times)
    shares = {name: _explained(table[name], stretches) for name in columns}
    return {name: share for name, share in shares.items() if share is not None}


def _sample(files: Sequence[Path], columns: list[str]) -> pa.Table:
    try:
        sources = [pq.ParquetFile(file) for file in files]
        step = -(-max(1, sum(source.metadata.num_rows for source in sources)) // _SAMPLED_ROWS)
        kept, start = [], 0
        for source in sources:
            for batch in source.iter_batches(_BATCH_ROWS, columns=columns):
                picked = np.arange(-start % step, batch.num_rows, step)
                kept.append(pa.Table.from_batches([batch]).take(pa.array(picked)))
                start += batch.num_rows
        return pa.concat_tables(kept) if kept else sources[0].schema_arrow.empty_table().select(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{files[0].parent} is no readable Dataset: {error}; write it again") from error


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Returns a number for every row that sorts as the column's values do: equal values, and missing ones, share it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    encoded = pa.chunked_array([column.combine_chunks()]).dictionary_encode(null_encoding="encode").chunk(0)
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    codes: np.ndarray = places[encoded.indices.to_numpy()]
    return codes


def _ranks(codes: np.ndarray) -> np.ndarray:
    """Returns each row's rank, that of equal rows in their middle."""
    counts = np.bincount(codes)
    ranks: np.ndarray = (np.cumsum(counts) - counts / 2)[codes]
    return ranks


def _explained(column: pa.ChunkedArray, stretches: np.ndarray) -> float | None:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return None
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        present = column.is_valid().to_numpy()
        if not present.any():
            return None
        ranks, groups = _ranks(_codes(column.drop_null())), stretches[present]
        total, within = _variation(ranks, np.zeros(len(ranks), np.int64)), _variation(ranks, groups)
    else:
        codes, groups = _codes(column), stretches
        total, within = _gini(codes, np.zeros(len(codes), np.int64)), _gini(codes, groups)
    rows, used = len(groups), len(np.unique(groups))
    if total <= 0 or rows <= used:
        return None
    return float(1 - within / total * (rows - 1) / (rows - used))


def _variation(values: np.ndarray, groups: np.ndarray) -> float:
    """Returns the sum of squared distances of values from their group's mean."""
    counts = np.maximum(np.bincount(groups), 1)
    means = np.bincount(groups, values) / counts
    return float(((values - means[groups]) ** 2).sum()) if len(values) else 0.0


def _gini(codes: np.ndarray, groups: np.ndarray) -> float:
    """Returns the sum over groups of their size times the chance that two of their values differ."""
    if not len(codes):
        return 0.0
    cells = np.unique(np.stack([groups, codes]), axis=1, return_counts=True)
    squares = np.bincount(cells[0][0], cells[1].astype(float) ** 2)
    sizes = np.bincount(groups).astype(float)
    return float((sizes - squares / np.maximum(sizes, 1)).sum())
