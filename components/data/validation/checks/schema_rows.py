"""The rows behind an anomaly that TFDV found in the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.data.database import literal
from shipway.components.data.validation.checks.data import Column, Data
from shipway.components.data.validation.context import Context

__all__ = ["schema_rows"]


def schema_rows(context: Context, anomalies: Iterable[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Returns the numbers of the rows that make each anomaly, sorted, where it lies in single rows.

    Args:
        context: With the Dataset and the schema; without a Dataset nothing is found.
        anomalies: Pairs of the column's name and the kind, the name of an ``AnomalyInfo.Type``.

    Returns:
        Rows by pair: a text outside the domain, a number outside its range, a missing value in a column that must be
        filled, NaN and infinity where they are not allowed. Pairs of other kinds, such as a new column, are left out.
    """
    wanted = [(name, kind) for name, kind in anomalies if kind in _CONDITIONS]
    if context.dataset is None or not wanted:
        return {}
    features = {feature.name: feature for feature in context.schema.feature}
    found = {}
    with Data(context.dataset) as data:
        for name, kind in wanted:
            column, feature = data.column(name), features.get(name)
            condition = column and feature and _CONDITIONS[kind](context.schema, feature, column)
            if condition:
                found[name, kind] = data.row_numbers(condition)
    return {pair: rows for pair, rows in found.items() if len(rows)}


def _outside_texts(schema: schema_pb2.Schema, feature: schema_pb2.Feature, column: Column) -> str:
    listed = {domain.name: domain for domain in schema.string_domain}
    domain = listed.get(feature.domain) if feature.HasField("domain") else feature.string_domain
    if feature.WhichOneof("domain_info") == "bool_domain":
        values = [feature.bool_domain.true_value, feature.bool_domain.false_value]
    elif domain is None:
        return ""
    else:
        values = list(domain.value)
    return f"CAST({column.sql} AS VARCHAR) NOT IN ({', '.join(map(literal, values)) or 'NULL'})"


def _below(_: schema_pb2.Schema, feature: schema_pb2.Feature, column: Column) -> str:
    return _compared(feature, column, "<", "min")


def _above(_: schema_pb2.Schema, feature: schema_pb2.Feature, column: Column) -> str:
    return _compared(feature, column, ">", "max")


def _compared(feature: schema_pb2.Feature, column: Column, sign: str, field: str) -> str:
    kind = feature.WhichOneof("domain_info")
    if kind == "bool_domain":
        return f"TRY_CAST({column.sql} AS DOUBLE) {sign} {0 if field == 'min' else 1}"
    if kind not in ("int_domain", "float_domain"):
        return ""
    number = f"epoch({column.sql})" if column.kind == "time" else f"TRY_CAST({column.sql} AS DOUBLE)"
    # DuckDB takes NaN for the largest number; TFDV does not.
    return f"NOT isnan({number}) AND {number} {sign} {getattr(getattr(feature, kind), field)!r}"


def _missing(_: schema_pb2.Schema, __: schema_pb2.Feature, column: Column) -> str:
    return f"{column.sql} IS NULL"


def _nan(_: schema_pb2.Schema, __: schema_pb2.Feature, column: Column) -> str:
    return f"isnan(TRY_CAST({column.sql} AS DOUBLE))"


def _infinite(_: schema_pb2.Schema, __: schema_pb2.Feature, column: Column) -> str:
    return f"isinf(TRY_CAST({column.sql} AS DOUBLE))"


_CONDITIONS: dict[str, Callable[[schema_pb2.Schema, schema_pb2.Feature, Column], str]] = {
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": _outside_texts,
    "BOOL_TYPE_UNEXPECTED_STRING": _outside_texts,
    "BOOL_TYPE_SMALL_INT": _below,
    "BOOL_TYPE_BIG_INT": _above,
    "INT_TYPE_SMALL_INT": _below,
    "INT_TYPE_BIG_INT": _above,
    "FLOAT_TYPE_SMALL_FLOAT": _below,
    "FLOAT_TYPE_BIG_FLOAT": _above,
    "FLOAT_TYPE_HAS_NAN": _nan,
    "FLOAT_TYPE_HAS_INF": _infinite,
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": _missing,
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": _missing,
}
