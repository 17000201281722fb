"""From Arrow columns to raw tensors: what a client sends, what an exported model takes.

A numeric feature is a float32 tensor with NaN for a missing value, a string feature an object tensor with ``""``
for a missing value. Both have one axis: the rows.
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
    "feature_kind",
    "feature_kinds",
    "feature_tensors",
    "instance_tensors",
    "label_strings",
]

FeatureKind = Literal["numeric", "string"]
Tensors = dict[str, "np.ndarray[Any, Any]"]

NOT_FEATURES = frozenset({"sample_weight"})


def feature_kind(name: str, datatype: pa.DataType) -> FeatureKind:
    """Returns how a column of this Arrow type is used as a feature.

    Raises:
        InputError: When the type is neither number, boolean nor string.
    """
    values = datatype.value_type if pa.types.is_dictionary(datatype) else datatype
    if pa.types.is_string(values) or pa.types.is_large_string(values):
        return "string"
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    if any(test(values) for test in numeric):
        return "numeric"
    raise InputError(
        f"column {name!r} has type {datatype}, which is no feature: only numbers, booleans and strings are;"
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
        InputError: When a column is missing or of another kind.
    """
    missing = [name for name in kinds if name not in table.schema.names]
    if missing:
        raise InputError(f"the Dataset lacks the columns {', '.join(missing)}, which are features of the model")
    for name, kind in kinds.items():
        found = feature_kind(name, table.schema.field(name).type)
        if found != kind:
            raise InputError(f"column {name!r} must be {kind}, it is {found} ({table.schema.field(name).type})")
    return {name: _tensor(table.column(name), kind) for name, kind in kinds.items()}


def instance_tensors(instances: Sequence[Mapping[str, Any]], kinds: Mapping[str, FeatureKind]) -> Tensors:
    """Returns one tensor per feature from rows as a client sends them: a value or None by feature."""
    return {
        name: np.asarray([row.get(name) or "" for row in instances], object)
        if kind == "string"
        else np.asarray([np.nan if row.get(name) is None else row[name] for row in instances], np.float32)
        for name, kind in kinds.items()
    }


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


def _tensor(column: pa.ChunkedArray, kind: FeatureKind) -> np.ndarray[Any, Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind == "string":
        filled = pc.fill_null(column.cast(pa.string()), "")
        return np.asarray(filled, dtype=object)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    # Unsafe: a whole number beyond 2**53 is rounded, as float32 rounds it anyway.
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float32)
