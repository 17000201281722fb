"""Rows with a label of a known class, and the columns that can be features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import column_tensor
from shipway.components.data.preparation.notes import Notes, Tables, escaped, listed

__all__ = [
    "check_classes",
    "drop_unseen_classes",
    "finite",
    "is_number",
    "is_text",
    "is_vector",
    "labelled",
    "lacking",
    "of_known_classes",
    "select_features",
]

MAX_CLASSES = 1000


def labelled(table: pa.Table, label: str, split: str, notes: Notes) -> pa.Table:
    """Returns the rows that have a label, with boolean and integral labels as integers.

    Raises:
        InputError: When no row has a label, or its type is none of a class.
    """
    column = table[label]
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_floating(kind):
        column = _integral(column.cast(pa.float64()))
    elif not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"the label {label!r} is of the type {kind}; derive a class in transform_data's SQL")
    known = column.is_valid()
    if pa.types.is_string(column.type):
        known = pc.and_(known, pc.not_equal(column, ""))
    known = pc.fill_null(known, False)
    dropped = table.num_rows - pc.sum(known).as_py()
    if dropped:
        notes.add(f"{split}: dropped {dropped:,} rows without a label.")
    table = table.set_column(table.column_names.index(label), label, column).filter(known)
    if not table.num_rows:
        raise InputError(f"the label {label!r} is missing in every row of the {split} split; choose another label")
    return table


def _integral(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), None, column)
    whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
    return column.cast(pa.int64()) if whole else column


def check_classes(train: pa.Table, label: str) -> None:
    """Checks that the training split's label has classes to learn.

    Raises:
        InputError: When there is one class only, or there are more than :data:`MAX_CLASSES`.
    """
    classes = pc.unique(train[label])
    if len(classes) == 1:
        raise InputError(
            f"the label {label!r} has the one class {classes[0].as_py()!r} in the training split; "
            "a model needs two to learn from"
        )
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"the label {label!r} has {len(classes):,} different values; a class label has at most {MAX_CLASSES:,}: "
            "derive classes in transform_data's SQL"
        )


def drop_unseen_classes(tables: Tables, label: str, notes: Notes) -> Tables:
    """Leaves out validation and test rows of classes that the training split does not have.

    Raises:
        InputError: When nothing is left of a split.
    """
    classes = pc.unique(tables["train"][label])
    return {name: of_known_classes(table, label, classes, name, notes) for name, table in tables.items()}


def of_known_classes(table: pa.Table, label: str, classes: pa.Array, split: str, notes: Notes) -> pa.Table:
    """Returns the rows whose label is one of ``classes``, with labels of their type.

    Raises:
        InputError: When nothing is left.
    """
    column, known_classes = table[label], classes
    try:
        if column.type != classes.type:  # whole numbers on one side, fractions on the other
            column, known_classes = column.cast(pa.float64()), classes.cast(pa.float64())
        known = pc.is_in(column, value_set=known_classes)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"the label {label!r} is {table[label].type} in the {split} split and {classes.type} in the training split"
        ) from error
    kept = table.filter(known)
    dropped = table.num_rows - kept.num_rows
    if dropped:
        unseen = sorted(set(pc.unique(column.filter(pc.invert(known))).to_pylist()), key=str)
        notes.add(
            f"{split}: dropped {dropped:,} rows of classes that the training split does not have "
            f"({listed([str(value) for value in unseen])})."
        )
    if not kept.num_rows:
        raise InputError(f"no class of the {split} split occurs in the training split; split differently")
    if kept[label].type != classes.type:
        kept = kept.set_column(kept.column_names.index(label), label, kept[label].cast(classes.type))
    return kept


def select_features(tables: Tables, label: str, excluded: Sequence[str], notes: Notes) -> Tables:
    """Leaves out what cannot be a feature; decided on the training split, the same in all.

    Raises:
        InputError: When no feature is left, or one's lists have several lengths.
    """
    tables = {name: finite(table, label, name, notes) for name, table in tables.items()}
    train = tables["train"]
    reasons: dict[str, list[str]] = {}
    for name in train.column_names:
        reason = "excluded" if name in excluded else _unfit(train[name])
        if reason and name != label:
            reasons.setdefault(reason, []).append(name)
    gone = {name for names in reasons.values() for name in names}
    for reason, names in reasons.items():
        notes.add(f"Left out, {reason}: {listed(names)}.")
    features = [name for name in train.column_names if name not in gone and name != label]
    if not features:
        raise InputError("no feature is left: " + "; ".join(f"{r}: {', '.join(n)}" for r, n in reasons.items()))
    for name in features:
        if is_vector(train[name].type):
            _check_lengths(tables, name)
    return {name: table.select([*features, label]) for name, table in tables.items()}


def _check_lengths(tables: Tables, name: str) -> None:
    lengths = {split: pc.unique(pc.list_value_length(t[name]).drop_null()).to_pylist() for split, t in tables.items()}
    every = {length for found in lengths.values() for length in found}
    if len(every) > 1:
        found = "; ".join(f"{split}: {', '.join(map(str, sorted(each)))}" for split, each in lengths.items())
        raise InputError(
            f"the lists of {name!r} have several lengths ({found}), and those of a feature have one; choose rows by "
            f"len({name}) in transform_data's SQL, or exclude the column"
        )


def _unfit(column: pa.ChunkedArray) -> str:
    kind = column.type
    if pa.types.is_temporal(kind):
        return "times are no features"
    if not (is_text(kind) or is_number(kind) or pa.types.is_boolean(kind) or is_vector(kind)):
        return f"the type {kind} is no feature"
    if column.null_count == len(column):
        return "empty in the training split"
    if is_vector(kind):
        return _unfit_vector(column)
    return "constant in the training split" if len(pc.unique(column)) == 1 else ""


def _unfit_vector(column: pa.ChunkedArray) -> str:
    if len(pc.unique(pc.list_value_length(column).drop_null())) > 1:
        return ""  # said with the other splits' lengths
    rows = column_tensor(column, "vector")
    if np.isnan(rows).all():
        return "empty in the training split"
    constant = np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), equal_nan=True)
    return "constant in the training split" if constant else ""


def is_text(kind: pa.DataType) -> bool:
    """Tells whether a column of this type holds strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def is_number(kind: pa.DataType) -> bool:
    """Tells whether a column of this type holds numbers; booleans are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_vector(kind: pa.DataType) -> bool:
    """Tells whether a column of this type holds lists of numbers or booleans."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and (is_number(kind.value_type) or pa.types.is_boolean(kind.value_type))


def lacking(column: pa.ChunkedArray) -> np.ndarray:
    """Returns in which rows a value is missing, also one in a list of numbers."""
    missing = np.asarray(column.is_null())
    return missing | np.isnan(column_tensor(column, "vector")).any(axis=1) if is_vector(column.type) else missing


def finite(table: pa.Table, label: str, split: str, notes: Notes) -> pa.Table:
    """Returns the table with infinite and NaN values as missing ones, but for the label's."""
    for index, name in enumerate(table.column_names):
        column = table[name]
        if name == label or not pa.types.is_floating(column.type):
            continue
        known = pc.if_else(pc.is_finite(column), column, None)
        if pc.any(pc.is_inf(column)).as_py():
            count = pc.sum(pc.is_inf(column)).as_py()
            notes.add(f"{split}: {count:,} infinite values of {escaped(name)} count as missing.")
        table = table.set_column(index, name, known)
    return table
