"""Training, validation and test rows: by time where there is one, else at random and stratified by the label.

By time, the order is training, validation, test; a boundary belongs to the later split (its start is inclusive,
the end of the split before it exclusive), so rows of one moment are never on both sides.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.data.tables import read_dataset, require_columns, write_dataset

__all__ = ["SPLITS", "split_data"]

SPLITS = ("train", "validation", "test")

_LOG = logging.getLogger(__name__)


def split_data(
    dataset: str | Path,
    outputs: dict[str, str | Path],
    *,
    label: str = "",
    time_column: str = "",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    validation_from: str = "",
    test_from: str = "",
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Writes three Datasets; every row keeps its place in the order of the input.

    Args:
        dataset: The Dataset.
        outputs: Where to write ``train``, ``validation`` and ``test``.
        label: The label's column; the random split keeps the classes' shares equal.
        time_column: A timestamp, date or number to split by; rows without one are left out and counted.
        validation_fraction: Share of the rows, above 0 and below 1.
        test_fraction: Share of the rows, above 0 and below 1; both together below 1.
        validation_from: Start of the validation rows instead of a fraction: an ISO date or time (UTC where it
            names no zone), or a number where ``time_column`` holds numbers.
        test_from: Start of the test rows, likewise.
        seed: Of the random split.

    Returns:
        By split: ``rows``, ``columns``, ``digest``, ``split``, and, by time, ``from`` (its first moment).

    Raises:
        InputError: When a column is missing, a split would be empty, or the training rows have one class only.
    """
    _check_fractions(validation_fraction, test_fraction)
    if (validation_from or test_from) and not time_column:
        raise InputError("validation_from and test_from need a time_column")
    table = read_dataset(dataset)
    require_columns([name for name in (label,) if name], table.column_names, "label")
    require_columns([name for name in (time_column,) if name], table.column_names, "time_column")
    extra: dict[str, dict[str, Any]] = {name: {} for name in SPLITS}
    if time_column:
        parts, starts, untimed = _by_time(
            table[time_column], time_column, validation_fraction, test_fraction, validation_from, test_from
        )
        for name, start in zip(SPLITS, starts, strict=True):
            extra[name] = {"from": start}
        if untimed:
            _LOG.warning("left out %s rows without %s", f"{untimed:,}", time_column)
            extra["train"]["rows_without_time"] = untimed
    else:
        codes = _codes(table[label]) if label else np.zeros(table.num_rows, dtype=np.int64)
        parts = _at_random(codes, validation_fraction, test_fraction, seed)
    _check_parts(parts, table, label, time_column)
    return {
        name: write_dataset(table.take(pa.array(rows)), outputs[name], split=name, **extra[name])
        for name, rows in zip(SPLITS, parts, strict=True)
    }


def _check_fractions(validation: float, test: float) -> None:
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"validation_fraction={validation} and test_fraction={test}: each must be above 0, and their sum below 1"
        )


def _check_parts(parts: list[np.ndarray], table: pa.Table, label: str, time_column: str) -> None:
    for name, rows in zip(SPLITS, parts, strict=True):
        if not len(rows):
            remedy = "change validation_from, test_from or the fractions" if time_column else "give more rows"
            raise InputError(f"the {name} split is empty ({table.num_rows:,} rows in all); {remedy}")
    if label:
        classes = pc.unique(table[label].take(pa.array(parts[0])).drop_null())
        if len(classes) < 2:
            only = f"the one value {classes[0].as_py()!r}" if len(classes) else "no value"
            raise InputError(
                f"the label {label!r} has {only} in the training split; a model needs two classes to learn from"
            )


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Returns a number per class; missing labels are a class of their own."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _at_random(codes: np.ndarray, validation_fraction: float, test_fraction: float, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(codes), dtype=np.int8)
    for code in np.unique(codes):
        rows = generator.permutation(np.flatnonzero(codes == code))
        test = round(len(rows) * test_fraction)
        validation = round(len(rows) * (test_fraction + validation_fraction)) - test
        chosen[rows[:test]] = 2
        chosen[rows[test : test + validation]] = 1
    return [np.flatnonzero(chosen == part) for part in range(len(SPLITS))]


def _by_time(
    column: pa.ChunkedArray,
    name: str,
    validation_fraction: float,
    test_fraction: float,
    validation_from: str,
    test_from: str,
) -> tuple[list[np.ndarray], list[str], int]:
    moments, known = _moments(column, name)
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


def _nearest(order: np.ndarray, share: float) -> Any:
    """Returns the moment that divides the sorted moments most nearly at ``share``, with rows on both sides."""
    place = min(max(round(len(order) * share), 0), len(order) - 1)
    moment = order[place]
    first, behind = np.searchsorted(order, moment, "left"), np.searchsorted(order, moment, "right")
    if behind < len(order) and (first == 0 or behind - place < place - first):
        return order[behind]
    return moment


def _moments(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the column as numbers that grow with time, and which of its rows have one."""
    if _is_time(column.type):
        column = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None))).cast(pa.int64())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise InputError(
            f"time_column {name!r} is of the type {column.type}; cast it to TIMESTAMP or DATE in transform_data's SQL"
        )
    known = np.asarray(column.is_valid().to_numpy(), dtype=bool)
    return np.asarray(column.fill_null(0).to_numpy()), known


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
