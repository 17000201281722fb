"""From Arrow columns to raw tensors: what a client sends, what an exported model takes.

A numeric feature is a float32 tensor ``[rows]`` with NaN for a missing value, a string feature an object tensor
``[rows]`` with ``""`` for a missing value. A vector feature (lists of numbers, all of one length: the pixels of an
image, an embedding) is a float32 tensor ``[rows, length]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError

__all__ = [
    "FeatureKind",
    "Tensors",
    "column_tensor",
    "feature_kind",
    "feature_kinds",
    "feature_tensors",
    "instance_tensors",
    "label_strings",
]

FeatureKind = Literal["numeric", "string", "vector"]
Tensors = dict[str, "np.ndarray[Any, Any]"]

NOT_FEATURES = frozenset({"sample_weight"})


def feature_kind(name: str, datatype: pa.DataType) -> FeatureKind:
    """Returns how a column of this Arrow type is used as a feature.

    Raises:
        InputError: When the type is neither number, boolean, string nor list of numbers.
    """
    values = datatype.value_type if pa.types.is_dictionary(datatype) else datatype
    if pa.types.is_string(values) or pa.types.is_large_string(values):
        return "string"
    if _is_number(values):
        return "numeric"
    if _is_list(values) and _is_number(values.value_type):
        return "vector"
    raise InputError(
        f"column {name!r} has type {datatype}, which is no feature: only numbers, booleans, strings and lists of"
        " numbers are;"
        " drop it with prepare_data's exclude_columns or convert it in the transformation's SQL"
    )


def feature_kinds(schema: pa.Schema, label: str) -> dict[str, FeatureKind]:
    """Returns the kind of every feature in a Dataset's schema, in column order.

    Every column but the label and ``sample_weight`` is a feature.

    Raises:
        InputError: When the label is not there, no feature is left or a column's type is no feature's.
    """
    if label not in schema.names:
        raise InputError(f"the Dataset has no column {label!r} for the label; it has: {', '.join(schema.names)}")
    kinds = {
        field.name: feature_kind(field.name, field.type)
        for field in schema
        if field.name != label and field.name not in NOT_FEATURES
    }
    if not kinds:
        raise InputError(f"the Dataset has no column besides the label {label!r}: there is nothing to learn from")
    return kinds


def feature_tensors(table: pa.Table, kinds: Mapping[str, FeatureKind]) -> Tensors:
    """Returns one tensor per feature: float32 with NaN, or object (str) with ``""``, where a value is missing.

    Raises:
        InputError: When a column is missing or of another kind, or lists differ in length.
    """
    missing = [name for name in kinds if name not in table.schema.names]
    if missing:
        raise InputError(f"the Dataset lacks the columns {', '.join(missing)}, which are features of the model")
    for name, kind in kinds.items():
        found = feature_kind(name, table.schema.field(name).type)
        if found != kind:
            raise InputError(f"column {name!r} must be {kind}, it is {found} ({table.schema.field(name).type})")
    return {name: column_tensor(table.column(name), kind, name) for name, kind in kinds.items()}


def instance_tensors(instances: Sequence[Mapping[str, Any]], kinds: Mapping[str, FeatureKind]) -> Tensors:
    """Returns one tensor per feature from rows as a client sends them: a value, a list of values or None by feature."""
    return {name: _instance_tensor([row.get(name) for row in instances], kind) for name, kind in kinds.items()}


def _instance_tensor(values: Sequence[Any], kind: FeatureKind) -> np.ndarray[Any, Any]:
    if kind == "string":
        return np.asarray([value or "" for value in values], object)
    if kind == "numeric":
        return np.asarray([np.nan if value is None else value for value in values], np.float32)
    missing = [np.nan] * next((len(value) for value in values if value is not None), 0)
    rows = [missing if value is None else [np.nan if v is None else v for v in value] for value in values]
    return np.asarray(rows, np.float32)


def label_strings(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Returns a label column as strings: ``true``/``false`` for booleans, no ``.0`` behind whole numbers.

    Raises:
        InputError: When a label is missing or NaN.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        missing = int(np.isnan(values).sum())
        if not missing and np.all(values == np.round(values)):
            column = column.cast(pa.int64())
    else:
        missing = column.null_count
    if missing:
        raise InputError(f"{missing} of {len(column)} rows have no label; prepare_data drops such rows: run it first")
    return np.asarray(column.cast(pa.string()), dtype=object)


def column_tensor(column: pa.Array | pa.ChunkedArray, kind: FeatureKind, name: str = "") -> np.ndarray[Any, Any]:
    """Returns one column as a tensor.

    Raises:
        InputError: When lists differ in length.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind == "string":
        filled = pc.fill_null(column.cast(pa.string()), "")
        return np.asarray(filled, dtype=object)
    if kind == "vector":
        return _matrix(column, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    # Unsafe: a whole number beyond 2**53 is rounded, as float32 rounds it anyway.
    floats = column.cast(pa.float64(), safe=False)
    return np.asarray(floats.to_numpy(**_may_copy(floats)), dtype=np.float32)


def _matrix(column: pa.Array | pa.ChunkedArray, name: str) -> np.ndarray[Any, Any]:
    """Returns lists of numbers as rows; a missing list is a row of NaN."""
    sizes = pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist()
    if len(sizes) > 1:
        raise InputError(
            f"the lists of column {name!r} have {min(sizes)} to {max(sizes)} values; a feature's lists all have one"
            " length"
        )
    size = sizes[0] if sizes else 0
    values = column_tensor(pc.list_flatten(column), "numeric")
    present = np.asarray(pc.is_valid(column))
    rows = np.full((len(column), size), np.nan, np.float32)
    rows[present] = values.reshape(-1, size) if size else 0.0
    return rows


def _may_copy(column: pa.Array | pa.ChunkedArray) -> dict[str, bool]:
    return {"zero_copy_only": False} if isinstance(column, pa.Array) else {}


def _is_number(datatype: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(datatype) for test in tests)


def _is_list(datatype: pa.DataType) -> bool:
    return any(test(datatype) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
