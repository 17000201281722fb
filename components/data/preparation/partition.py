"""Which rows belong to which split: at random, by whole groups, by time."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError

__all__ = ["at_random", "by_group", "by_time", "class_codes", "group_codes", "is_moment", "moments_of"]

Array = np.ndarray[Any, Any]


def class_codes(column: pa.ChunkedArray) -> Array:
    """Returns a number per class; missing labels are a class of their own."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def at_random(codes: Array, validation_fraction: float, test_fraction: float, seed: int) -> list[Array]:
    """Returns the rows of each split, drawn within each class."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(codes), dtype=np.int8)
    for code in np.unique(codes):
        rows = generator.permutation(np.flatnonzero(codes == code))
        test = round(len(rows) * test_fraction)
        validation = round(len(rows) * (test_fraction + validation_fraction)) - test
        chosen[rows[:test]] = 2
        chosen[rows[test : test + validation]] = 1
    return [np.flatnonzero(chosen == part) for part in range(3)]


def by_group(groups: Array, codes: Array, validation_fraction: float, test_fraction: float, seed: int) -> list[Array]:
    """Returns the rows of each split, with whole groups dealt in random order.

    Each group goes to the split that lags most behind its share of the group's classes; a class's rows weigh the more,
    the fewer they are.

    Args:
        groups: A number from 0 per row.
        codes: The class of each row, a number from -1.
        validation_fraction: Share of the rows.
        test_fraction: Share of the rows.
        seed: Of the order.
    """
    codes = codes - codes.min(initial=0)
    classes = int(codes.max(initial=0)) + 1
    pairs, counts = np.unique(groups * classes + codes, return_counts=True)
    owners, kinds = np.divmod(pairs, classes)
    weights = counts / np.bincount(codes, minlength=classes)[kinds]
    starts = np.searchsorted(owners, np.arange(int(groups.max(initial=-1)) + 2)).tolist()
    dealt, kinds, weights = np.zeros(len(starts) - 1, dtype=np.int8), kinds.tolist(), weights.tolist()
    shares = (1 - validation_fraction - test_fraction, validation_fraction, test_fraction)
    lag = [[0.0] * classes for _ in shares]
    for group in np.random.default_rng(seed).permutation(len(dealt)).tolist():
        own = range(starts[group], starts[group + 1])
        scores = []
        for share, behind in zip(shares, lag, strict=True):
            score = 0.0
            for place in own:
                behind[kinds[place]] += share * weights[place]
                score += behind[kinds[place]] * weights[place]
            scores.append(score)
        chosen = scores.index(max(scores))
        dealt[group] = chosen
        for place in own:
            lag[chosen][kinds[place]] -= weights[place]
    return [np.flatnonzero(dealt[groups] == part) for part in range(3)]


def group_codes(column: pa.ChunkedArray, name: str) -> Array:
    """Returns a number from 0 per group; rows without a group are one.

    Raises:
        InputError: When the column holds lists or structures.
    """
    if pa.types.is_nested(column.type):
        raise InputError(f"group_column {name!r} is of the type {column.type}; choose a column of plain values")
    return class_codes(column) + 1


def by_time(
    column: pa.ChunkedArray,
    name: str,
    validation_fraction: float,
    test_fraction: float,
    validation_from: str,
    test_from: str,
) -> tuple[list[Array], list[str], int]:
    """Returns the rows of each split, the splits' first moments, and how many rows have no time.

    Raises:
        InputError: When the column holds no times, or a boundary cannot be read or lies behind the next.
    """
    moments, known = moments_of(column, name)
    order = np.sort(moments[known])
    if not len(order):
        raise InputError(f"time_column {name!r} holds no values; choose another")
    test_start = _boundary(test_from, "test_from", column.type) if test_from else _nearest(order, 1 - test_fraction)
    if validation_from:
        validation_start = _boundary(validation_from, "validation_from", column.type)
    else:
        before = order[order < test_start]
        share = 1 - validation_fraction * len(order) / max(len(before), 1)
        validation_start = _nearest(before, share) if len(before) else test_start
    if validation_start > test_start:
        raise InputError(f"validation_from={validation_from!r} lies behind the start of the test rows; swap them")
    parts = [
        np.flatnonzero(known & (moments < validation_start)),
        np.flatnonzero(known & (moments >= validation_start) & (moments < test_start)),
        np.flatnonzero(known & (moments >= test_start)),
    ]
    starts = [_shown(start, column.type) for start in (order[0], validation_start, test_start)]
    return parts, starts, int(len(known) - known.sum())


def _nearest(order: Array, share: float) -> Any:
    """Returns the moment that divides the sorted moments most nearly at ``share``, with rows on both sides."""
    place = min(max(round(len(order) * share), 0), len(order) - 1)
    moment = order[place]
    first, behind = np.searchsorted(order, moment, "left"), np.searchsorted(order, moment, "right")
    if behind < len(order) and (first == 0 or behind - place < place - first):
        return order[behind]
    return moment


def moments_of(column: pa.ChunkedArray, name: str) -> tuple[Array, Array]:
    """Returns the column as numbers that grow with time, and which of its rows have one.

    Raises:
        InputError: When the column's type is neither time, date nor number.
    """
    if _is_time(column.type):
        column = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    elif not is_moment(column.type):
        raise InputError(
            f"time_column {name!r} is of the type {column.type}; cast it to TIMESTAMP or DATE in transform_data's SQL"
        )
    elif pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    known = np.asarray(column.is_valid().to_numpy(), dtype=bool)
    return np.asarray(column.fill_null(0).to_numpy()), known


def is_moment(kind: pa.DataType) -> bool:
    """Tells whether values of this type can be split by as times."""
    return _is_time(kind) or bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _boundary(text: str, parameter: str, kind: pa.DataType) -> Any:
    try:
        if not _is_time(kind):
            return float(text)
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        example = "2013-11-01 or 2013-11-01T12:00:00" if _is_time(kind) else "a number"
        raise InputError(f"{parameter}={text!r} cannot be read: {error}; write {example}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _shown(moment: Any, kind: pa.DataType) -> str:
    if not _is_time(kind):
        return str(moment)
    return (_EPOCH + datetime.timedelta(microseconds=int(moment))).isoformat()
