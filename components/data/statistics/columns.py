"""Columns as TFDV takes them: numbers, strings and lists of them."""

from __future__ import annotations

import pyarrow as pa
from tfx_bsl.arrow import array_util

__all__ = ["empty_batch", "is_number", "is_text", "listed_batch", "plain_batch"]


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Returns no rows of these columns."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def is_number(kind: pa.DataType) -> bool:
    """Whether a plain column holds one number a row."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a plain column holds one string a row."""
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in text)


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch with every column of a type that TFDV knows.

    Booleans become 0 and 1, timestamps and dates whole seconds since 1970-01-01 UTC, times and durations the number of
    their own unit, decimals the nearest 64-bit float, dictionaries their values. Lists are treated by their elements.
    """
    return pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], batch.schema.names)


def listed_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a plain batch in TFDV's form: each value as a list of one, each missing value as a missing list."""
    columns = [
        column if pa.types.is_nested(column.type) else array_util.ToSingletonListArray(column)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _plain(column: pa.Array) -> pa.Array:
    for kind in _steps(column.type):
        column = column.cast(kind, safe=False)
    return column


def _steps(kind: pa.DataType) -> list[pa.DataType]:
    """The types to cast to, one after another."""
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        return [pa.list_(step) for step in _steps(kind.value_type)]
    if types.is_dictionary(kind):
        return [kind.value_type, *_steps(kind.value_type)]
    if types.is_date(kind):
        return [pa.timestamp("ms"), *_steps(pa.timestamp("ms"))] if types.is_date64(kind) else _steps_of_day()
    if types.is_timestamp(kind):
        return [pa.timestamp("s", tz=kind.tz), pa.int64()]
    if types.is_boolean(kind) or types.is_time64(kind) or types.is_duration(kind):
        return [pa.int64()]
    if types.is_time32(kind):
        return [pa.int32(), pa.int64()]
    if types.is_decimal(kind):
        return [pa.float64()]
    if types.is_float16(kind):
        return [pa.float32()]
    return [pa.string()] if types.is_null(kind) else []


def _steps_of_day() -> list[pa.DataType]:
    return [pa.timestamp("s"), pa.int64()]
