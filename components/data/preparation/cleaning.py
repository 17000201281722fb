"""Labels, features and missing values of the three splits, with notes of what was done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError

__all__ = [
    "MISSING_VALUES",
    "Notes",
    "check_classes",
    "drop_unseen_classes",
    "labelled",
    "select_features",
    "treat_missing",
]

MISSING_VALUES = ("model", "impute", "drop_rows")
MAX_CLASSES = 1000

Tables = dict[str, pa.Table]


class Notes:
    """What was done to the splits, in order, for the summary."""

    def __init__(self, rows: dict[str, int]):
        self._rows = rows
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Adds one sentence in Markdown."""
        self._lines.append(line)

    def markdown(self, tables: Tables, label: str) -> str:
        """Returns the summary: rows and classes of each split before and after, and the sentences."""
        classes = sorted(set(pc.unique(tables["train"][label]).to_pylist()), key=str)
        shown = classes[:10]
        head = ["split", "rows in", "rows out", *(_escaped(f"{label} = {value}") for value in shown)]
        lines = ["# Prepared data", "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
        for name, table in tables.items():
            counts = {c["values"]: c["counts"] for c in pc.value_counts(table[label]).to_pylist()}
            shares = [f"{counts.get(value, 0):,} ({counts.get(value, 0) / table.num_rows:.1%})" for value in shown]
            lines.append(_row([name, f"{self._rows[name]:,}", f"{table.num_rows:,}", *shares]))
        if len(classes) > len(shown):
            lines += ["", f"The first {len(shown)} of {len(classes)} classes are shown."]
        lines += ["", *(f"- {line}" for line in self._lines)]
        return "\n".join(lines) + "\n"


def labelled(table: pa.Table, label: str, split: str, notes: Notes) -> pa.Table:
    """Returns the rows that have a label, with boolean and integral labels as integers."""
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
    """Leaves out validation and test rows of classes that the training split does not have."""
    classes = pc.unique(tables["train"][label])
    kept = {}
    for name, table in tables.items():
        known = pc.is_in(table[label], value_set=classes)
        kept[name] = table.filter(known)
        dropped = table.num_rows - kept[name].num_rows
        if dropped:
            unseen = sorted(set(pc.unique(table[label].filter(pc.invert(known))).to_pylist()), key=str)
            notes.add(
                f"{name}: dropped {dropped:,} rows of classes that the training split does not have "
                f"({_listed([str(value) for value in unseen])})."
            )
        if not kept[name].num_rows:
            raise InputError(f"no class of the {name} split occurs in the training split; split differently")
    return kept


def select_features(tables: Tables, label: str, excluded: Sequence[str], notes: Notes) -> Tables:
    """Leaves out what cannot be a feature; decided on the training split, the same in all.

    Raises:
        InputError: When no feature is left.
    """
    tables = {name: _finite(table, label, name, notes) for name, table in tables.items()}
    train = tables["train"]
    reasons: dict[str, list[str]] = {}
    for name in train.column_names:
        reason = "excluded" if name in excluded else _unfit(train[name])
        if reason and name != label:
            reasons.setdefault(reason, []).append(name)
    gone = {name for names in reasons.values() for name in names}
    for reason, names in reasons.items():
        notes.add(f"Left out, {reason}: {_listed(names)}.")
    features = [name for name in train.column_names if name not in gone and name != label]
    if not features:
        raise InputError("no feature is left: " + "; ".join(f"{r}: {', '.join(n)}" for r, n in reasons.items()))
    return {name: table.select([*features, label]) for name, table in tables.items()}


def _unfit(column: pa.ChunkedArray) -> str:
    kind = column.type
    if pa.types.is_temporal(kind):
        return "times are no features"
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return f"the type {kind} is no feature"
    if column.null_count == len(column):
        return "empty in the training split"
    return "constant in the training split" if len(pc.unique(column)) == 1 else ""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _finite(table: pa.Table, label: str, split: str, notes: Notes) -> pa.Table:
    for index, name in enumerate(table.column_names):
        column = table[name]
        if name == label or not pa.types.is_floating(column.type):
            continue
        finite = pc.if_else(pc.is_finite(column), column, None)
        if pc.any(pc.is_inf(column)).as_py():
            count = pc.sum(pc.is_inf(column)).as_py()
            notes.add(f"{split}: {count:,} infinite values of {_escaped(name)} count as missing.")
        table = table.set_column(index, name, finite)
    return table


def treat_missing(tables: Tables, label: str, missing_values: str, notes: Notes) -> Tables:
    """Treats missing feature values as ``missing_values`` says; what is filled in is learned on the training split."""
    train = tables["train"]
    features = [name for name in train.column_names if name != label]
    lacking = {name: sum(t[name].null_count for t in tables.values()) for name in features}
    lacking = {name: count for name, count in lacking.items() if count}
    if not lacking:
        notes.add("No feature value is missing.")
        return tables
    if missing_values == "model":
        notes.add(f"Missing values are left to the model: {_listed([f'{n} ({c:,})' for n, c in lacking.items()])}.")
        return tables
    if missing_values == "drop_rows":
        return {name: _complete_rows(table, name, notes) for name, table in tables.items()}
    fills = {name: _usual(train[name]) for name in lacking}
    notes.add(f"Filled in: {_listed([f'{n} = {f.as_py()} ({lacking[n]:,} values)' for n, f in fills.items()])}.")
    return {name: _filled(table, fills) for name, table in tables.items()}


def _complete_rows(table: pa.Table, split: str, notes: Notes) -> pa.Table:
    complete = np.ones(table.num_rows, dtype=bool)
    for column in table.columns:
        complete &= column.is_valid().to_numpy()
    if not complete.any():
        raise InputError(f"no row of the {split} split is complete; choose missing_values=impute or model")
    notes.add(f"{split}: dropped {int((~complete).sum()):,} rows with missing values.")
    return table.filter(pa.array(complete))


def _usual(column: pa.ChunkedArray) -> pa.Scalar:
    known = column.drop_null()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        median = float(np.median(known.to_numpy()))
        return pa.scalar(round(median) if pa.types.is_integer(column.type) else median, type=column.type)
    counts = pc.value_counts(known).to_pylist()
    value = min(counts, key=lambda entry: (-entry["counts"], str(entry["values"])))["values"]
    return pa.scalar(value, type=column.type)


def _filled(table: pa.Table, fills: dict[str, pa.Scalar]) -> pa.Table:
    for name, fill in fills.items():
        table = table.set_column(table.column_names.index(name), name, pc.fill_null(table[name], fill))
    return table


def _listed(names: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(_escaped(name) for name in names[:limit]) + more


def _escaped(text: str) -> str:
    for character in "\\`*_{}[]<>|":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
