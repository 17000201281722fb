"""Plain columns: the few Arrow types that everything behind a source has to know, and the way to them.

Whole numbers become ``int64`` (``uint64`` stays), floats ``float32`` or ``float64``, decimals ``float64``, text
``string``, bytes ``binary``, dates and timestamps ``timestamp[us]`` (with their time zone), times of day and
durations seconds as ``float64``, dictionaries their values, and lists of any of these ``large_list``. Booleans and
columns without a value stay. Structs, maps, unions and lists of lists have no place in a table of features.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["plain_array", "plain_type", "wider_type"]

_NUMBERS = (pa.int64(), pa.uint64(), pa.float32(), pa.float64())


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Returns the plain type for a type; None when there is none."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        value = plain_type(kind.value_type)
        return pa.large_list(value) if value is not None and not types.is_nested(value) else None
    if types.is_null(kind) or types.is_boolean(kind) or kind in (pa.uint64(), pa.float64()):
        return kind
    if types.is_date(kind) or types.is_timestamp(kind):
        return pa.timestamp("us", getattr(kind, "tz", None))
    rules = (
        (types.is_integer, pa.int64()),
        (types.is_floating, pa.float32()),
        (lambda text: str(text) in ("string", "large_string", "string_view"), pa.string()),
        (lambda content: str(content) in ("binary", "large_binary", "binary_view"), pa.binary()),
        (types.is_fixed_size_binary, pa.binary()),
        (types.is_decimal, pa.float64()),
        (types.is_time, pa.float64()),
        (types.is_duration, pa.float64()),
    )
    return next((plain for test, plain in rules if test(kind)), None)


def plain_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Returns a column's values as a plain type, which is :func:`plain_type` of its own or wider.

    Raises:
        ArrowInvalid, ArrowNotImplementedError: When a value does not fit, as a year beyond 290,000.
    """
    types = pa.types
    if array.type == kind:
        return array
    if types.is_dictionary(array.type):
        return plain_array(array.dictionary_decode(), kind)
    if types.is_time(array.type):
        micros = array.cast(pa.time64("us"), safe=False).cast(pa.int64())
        return pc.divide(micros.cast(pa.float64()), 1e6)
    if types.is_duration(array.type):
        return pc.divide(array.cast(pa.duration("us"), safe=False).cast(pa.int64()).cast(pa.float64()), 1e6)
    if types.is_timestamp(array.type) and array.type.unit == "ns":
        return array.cast(kind, safe=False)
    if types.is_large_list(kind) and not types.is_null(array.type):
        return _plain_lists(array, kind)
    return array.cast(kind, safe=not types.is_floating(kind))


def wider_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the plain type that holds the values of both; None when there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if one in _NUMBERS and other in _NUMBERS:
        return pa.float64()
    if pa.types.is_large_list(one) and pa.types.is_large_list(other):
        value = wider_type(one.value_type, other.value_type)
        return None if value is None else pa.large_list(value)
    return None


def _plain_lists(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts the values below the lists, whose lengths and missing lists stay as they are."""
    fixed = pa.types.is_fixed_size_list(array.type)
    lengths = pa.scalar(array.type.list_size) if fixed else pc.list_value_length(array)
    lengths = pc.if_else(array.is_valid(), lengths, 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    missing = pa.concat_arrays([array.is_null(), pa.array([False])])
    values = plain_array(array.drop_null().flatten(), kind.value_type)
    return pa.LargeListArray.from_arrays(pc.if_else(missing, pa.scalar(None, pa.int64()), offsets), values)
