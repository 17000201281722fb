"""Missing values: left to the model, filled in by what the training split knows, or their rows dropped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import SAMPLE_WEIGHT
from shipway.components.data.preparation.cleaning import is_number, is_vector, lacking
from shipway.components.data.preparation.notes import Notes, Tables, listed

__all__ = ["MISSING_VALUES", "complete_rows", "filled", "indicator", "learn_fills", "treat_missing"]

MISSING_VALUES = ("model", "impute", "drop_rows")

_CONSTANT = "constant:"


def treat_missing(
    tables: Tables,
    label: str,
    missing_values: str,
    notes: Notes,
    *,
    imputation: Mapping[str, str],
    missing_indicators: bool,
) -> tuple[Tables, dict[str, Any], tuple[str, ...]]:
    """Treats missing feature values; what is filled in is learned on the training split. Lists are never filled in.

    Returns:
        The tables, what is filled in by feature, and the features whose missing values a column of their own tells.

    Raises:
        InputError: When ``imputation`` asks for what a column cannot have, or no complete row is left.
    """
    kinds = {field.name: field.type for field in tables["train"].schema if field.name != label}
    usual = {
        name: "usual" if missing_values == "impute" and not is_vector(kind) else "" for name, kind in kinds.items()
    }
    chosen = {name: imputation.get(name, usual[name]) for name in kinds}
    kept = [name for name in kinds if not chosen[name]]
    absent = {name: sum(int(lacking(table[name]).sum()) for table in tables.values()) for name in kinds}
    if not any(absent.values()):
        notes.add("No feature value is missing.")
    left = [f"{name} ({absent[name]:,})" for name in kept if absent[name]]
    if left and missing_values == "drop_rows":
        tables = {name: complete_rows(table, kept, name, notes) for name, table in tables.items()}
    elif left:
        notes.add(f"Missing values are left to the model: {listed(left)}.")
    train = tables["train"]
    fills = learn_fills(train, {name: strategy for name, strategy in chosen.items() if strategy})
    used = [f"{name} = {fill} ({absent[name]:,} values)" for name, fill in fills.items() if absent[name]]
    if used:
        notes.add(f"Filled in: {listed(used)}.")
    flagged = [name for name in fills if missing_indicators and train[name].null_count and name != SAMPLE_WEIGHT]
    if flagged:
        notes.add(f"Columns that tell a missing value: {listed([indicator(name) for name in flagged])}.")
    return {n: filled(t, label, fills, flagged) for n, t in tables.items()}, fills, tuple(flagged)


def indicator(name: str) -> str:
    """Returns the name of the column that tells whether ``name`` was missing."""
    return f"{name}_missing"


def complete_rows(table: pa.Table, names: Iterable[str], split: str, notes: Notes) -> pa.Table:
    """Returns the rows that have a value in each of the columns ``names``.

    Raises:
        InputError: When there are none.
    """
    complete = np.ones(table.num_rows, dtype=bool)
    for name in names:
        complete &= ~lacking(table[name])
    if not complete.any():
        raise InputError(f"no row of the {split} split is complete; choose missing_values=impute or model")
    notes.add(f"{split}: dropped {int((~complete).sum()):,} rows with missing values.")
    return table.filter(pa.array(complete))


def learn_fills(train: pa.Table, strategies: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a missing value is taken as, by feature.

    Args:
        train: The training split.
        strategies: By feature: ``median``, ``mean``, ``most_frequent``, ``constant:<value>``, or ``usual``: the median
            of numbers, else the most frequent value. Of whole numbers, medians and means are rounded; of values
            equally frequent, the first in the order of their texts is taken.

    Raises:
        InputError: When there is no such strategy, or the column's type does not allow it.
    """
    return {name: _learned(train[name], name, strategy) for name, strategy in strategies.items()}


def _learned(column: pa.ChunkedArray, name: str, strategy: str) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_vector(kind):
        raise InputError(
            f"imputation: {name!r} holds lists, which are left to the model; take it out, or drop the rows"
        )
    if column.null_count == len(column):
        raise InputError(f"no training row that is left has a value of {name!r} to learn from; exclude the column")
    if strategy == "usual":
        strategy = "median" if is_number(kind) else "most_frequent"
    if strategy == "most_frequent":
        return _most_frequent(column.drop_null())
    if strategy in ("median", "mean"):
        if not is_number(kind):
            raise InputError(
                f"imputation: {name!r} is of the type {kind}, which has no {strategy}; choose most_frequent or constant"
            )
        value = float(getattr(np, strategy)(column.drop_null().to_numpy()))
        return pa.scalar(round(value) if pa.types.is_integer(kind) else value, kind).as_py()
    if str(strategy).startswith(_CONSTANT):
        return _constant(strategy.removeprefix(_CONSTANT), kind, name)
    raise InputError(
        f"imputation: {strategy!r} for {name!r}: must be one of median, mean, most_frequent, {_CONSTANT}<value>"
    )


def _constant(text: str, kind: pa.DataType, name: str) -> Any:
    try:
        value = pa.array([text], pa.string()).cast(kind)[0].as_py()
    except pa.ArrowInvalid as error:
        raise InputError(f"imputation: {text!r} is no value for {name!r}, which is of the type {kind}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"imputation: {text!r} for {name!r}: a constant must be finite")
    return value


def _most_frequent(known: pa.ChunkedArray) -> Any:
    counts = pc.value_counts(known)
    often = counts.field("counts")
    return min(counts.field("values").filter(pc.equal(often, pc.max(often))).to_pylist(), key=str)


def filled(table: pa.Table, label: str, fills: Mapping[str, Any], flagged: Sequence[str]) -> pa.Table:
    """Returns the table with missing values filled in; the columns that tell them stand behind the features.

    Raises:
        InputError: When such a column's name is taken.
    """
    missing = {indicator(name): table[name].is_null() for name in flagged}
    taken = [name for name in missing if name in table.column_names]
    if taken:
        raise InputError(f"missing_indicators: there is a column {taken[0]!r} already; exclude or rename it")
    for index, name in enumerate(table.column_names):
        column = table[name]
        if name in fills and column.null_count:
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            table = table.set_column(index, name, pc.fill_null(column, pa.scalar(fills[name], kind)))
    place = table.column_names.index(label) if label in table.column_names else table.num_columns
    for offset, (name, column) in enumerate(missing.items()):
        table = table.add_column(place + offset, name, column)
    return table
