"""Outliers of numeric features: bounds learned on the training split, and what is done to values beyond them.

A feature's bounds come from its known training values, by one of these rules:

- ``iqr:k``: ``Q1 - k * (Q3 - Q1)`` and ``Q3 + k * (Q3 - Q1)``, with Q1 and Q3 the quartiles. ``iqr:3``, the default,
  leaves 2 in a million values of a normal distribution outside.
- ``quantile:q``: the quantiles ``q`` and ``1 - q``, with q above 0 and below 0.5; for skewed features.
- ``robust_z:z``: ``median ± z * 1.4826 * MAD``, with MAD the median distance from the median; the factor makes it the
  standard deviation of a normal distribution.

A feature whose bounds coincide (more than half its values are the same, say) has none: nothing of it is an outlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import SAMPLE_WEIGHT
from shipway.components.data.preparation.cleaning import is_number
from shipway.components.data.preparation.notes import Notes, Tables, listed

__all__ = ["OUTLIERS", "Bounds", "bounded", "learn_bounds", "treat_outliers"]

OUTLIERS = ("keep", "clip", "drop", "missing")

Bounds = dict[str, tuple[float, float]]

_MAD_TO_DEVIATION = 1.4826


def treat_outliers(
    tables: Tables, label: str, outliers: str, outlier_bounds: str, notes: Notes
) -> tuple[Tables, Bounds]:
    """Returns the splits with outliers treated as ``outliers`` says, and the bounds; ``drop`` drops training rows only.

    Raises:
        InputError: When ``outlier_bounds`` is no rule, or no training row is left.
    """
    rule = _parsed(outlier_bounds)
    if outliers == "keep":
        return tables, {}
    bounds = learn_bounds(tables["train"], label, *rule)
    beyond = {
        name: sum(pc.sum(_beyond(table[name], limits)).as_py() or 0 for table in tables.values())
        for name, limits in bounds.items()
    }
    shown = [f"{n} beyond {low:g} to {high:g} ({beyond[n]:,})" for n, (low, high) in bounds.items() if beyond[n]]
    notes.add(f"Outliers by {outlier_bounds}: {listed(shown)}." if shown else f"No outliers by {outlier_bounds}.")
    if outliers == "drop":
        train = _without_outliers(tables["train"], bounds)
        notes.add(f"train: dropped {tables['train'].num_rows - train.num_rows:,} rows with outliers.")
        return {**tables, "train": train}, bounds
    if shown:
        notes.add("Outliers count as missing." if outliers == "missing" else "Outliers are set to the nearest bound.")
    return {name: bounded(table, bounds, outliers) for name, table in tables.items()}, bounds


def _parsed(text: str) -> tuple[str, float]:
    rule, _, number = text.partition(":")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    ceiling = {"iqr": math.inf, "quantile": 0.5, "robust_z": math.inf}.get(rule, 0.0)
    if not 0 < limit < ceiling:
        raise InputError(
            f"outlier_bounds={text!r}: write iqr:<k> or robust_z:<z> with a number above 0, "
            "or quantile:<q> with one between 0 and 0.5"
        )
    return rule, limit


def learn_bounds(train: pa.Table, label: str, rule: str, limit: float) -> Bounds:
    """Returns the lowest and highest value of each numeric feature that is no outlier, in the column's own type."""
    bounds: Bounds = {}
    for name in train.column_names:
        column = train[name]
        if name in (label, SAMPLE_WEIGHT) or not is_number(column.type):
            continue
        values = np.asarray(column.drop_null().to_numpy(), dtype=np.float64)
        with np.errstate(over="ignore"):
            low, high = _in_type(*_limits(values, rule, limit), column.type)
        if low < high:
            bounds[name] = (low, high)
    return bounds


def _limits(values: np.ndarray[Any, Any], rule: str, limit: float) -> tuple[float, float]:
    if rule == "robust_z":
        middle = np.median(values)
        reach = limit * _MAD_TO_DEVIATION * np.median(np.abs(values - middle))
        return float(middle - reach), float(middle + reach)
    if rule == "quantile":
        low, high = np.quantile(values, [limit, 1 - limit])
        return float(low), float(high)
    first, third = np.quantile(values, [0.25, 0.75])
    reach = limit * (third - first)
    return float(first - reach), float(third + reach)


def _in_type(low: float, high: float, kind: pa.DataType) -> tuple[float, float]:
    numpy_type = np.dtype(kind.to_pandas_dtype())
    extremes = np.iinfo(numpy_type) if pa.types.is_integer(kind) else np.finfo(numpy_type)
    low, high = max(low, float(extremes.min)), min(high, float(extremes.max))
    if pa.types.is_integer(kind):
        return max(math.ceil(low), int(extremes.min)), min(math.floor(high), int(extremes.max))
    return float(numpy_type.type(low)), float(numpy_type.type(high))


def bounded(table: pa.Table, bounds: Mapping[str, tuple[float, float]], outliers: str) -> pa.Table:
    """Returns the table with values beyond their bounds clipped (``outliers=clip``) or missing (``missing``)."""
    for name, limits in bounds.items():
        column = table[name]
        if outliers == "missing":
            column = pc.if_else(_beyond(column, limits), pa.scalar(None, column.type), column)
        else:
            low, high = (pa.scalar(value, column.type) for value in limits)
            column = pc.min_element_wise(pc.max_element_wise(column, low, skip_nulls=False), high, skip_nulls=False)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _beyond(column: pa.ChunkedArray, limits: tuple[float, float]) -> pa.ChunkedArray:
    low, high = (pa.scalar(value, column.type) for value in limits)
    return pc.fill_null(pc.or_(pc.less(column, low), pc.greater(column, high)), False)


def _without_outliers(train: pa.Table, bounds: Bounds) -> pa.Table:
    good = np.ones(train.num_rows, dtype=bool)
    for name, limits in bounds.items():
        good &= ~_beyond(train[name], limits).to_numpy()
    if not good.any():
        raise InputError("outliers=drop leaves no training row; choose clip or missing, or wider outlier_bounds")
    return train.filter(pa.array(good))
