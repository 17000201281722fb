"""Strings as numbers, for models that take numbers only; Shipway's own models encode inside themselves.

What is learned comes from the training split: a feature's categories, in the order of their texts, and for
``target`` the classes' shares among each category's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import SAMPLE_WEIGHT
from shipway.components.data.preparation.cleaning import is_text
from shipway.components.data.preparation.notes import Notes, Tables, listed

__all__ = ["ENCODINGS", "CategoryEncoder", "encode", "encoded"]

ENCODINGS = ("none", "onehot", "ordinal", "target")

_MOST_COLUMNS = 1000
_FOLDS = 5
_SMOOTHING_ROWS = 20.0

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CategoryEncoder:
    """How one string feature is written as numbers.

    Attributes:
        kind: ``onehot`` (one column a category, true or false; unseen and missing values are false in all),
            ``ordinal`` (the category's place from 0; unseen ones are -1, missing ones stay missing) or ``target``
            (a class's share among the category's rows, drawn towards its share in all rows; unseen values get the
            latter, missing ones stay missing).
        categories: What training rows hold, sorted.
        columns: The names of the columns that stand for the feature.
        shares: With ``target``: for each column the class's share by category.
        overall: With ``target``: for each column the class's share in all rows.
    """

    kind: str
    categories: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...] = ()
    overall: tuple[float, ...] = ()


def encode(
    tables: Tables, label: str, encoding: str, seed: int, notes: Notes
) -> tuple[Tables, dict[str, CategoryEncoder]]:
    """Returns the splits with string features as numbers, and the encoders by feature.

    With ``target``, training rows get shares learned on the other four fifths of them, lest they know their own label.

    Raises:
        InputError: When ``onehot`` would make more than 1,000 columns of a feature, or a column's name is taken.
    """
    train = tables["train"]
    names = [n for n in train.column_names if n not in (label, SAMPLE_WEIGHT) and is_text(train.schema.field(n).type)]
    if encoding == "none" or not names:
        return tables, {}
    targets = _targets(train[label]) if encoding == "target" else {}
    encoders = {name: _learn(train[name], name, encoding, targets) for name in names}
    _check_names(train.column_names, encoders)
    notes.add(f"Strings are numbers now ({encoding}): {listed(names)}.")
    written = {split: encoded(table, encoders) for split, table in tables.items()}
    if encoding == "target":
        written["train"] = _out_of_fold(train, written["train"], encoders, targets, seed)
    return written, encoders


def _learn(column: pa.ChunkedArray, name: str, encoding: str, targets: dict[str, Array]) -> CategoryEncoder:
    values = column.cast(pa.string())
    categories = pa.array(sorted(pc.unique(values.drop_null()).to_pylist()), pa.string())
    if encoding == "ordinal":
        return CategoryEncoder(encoding, tuple(categories.to_pylist()), (name,))
    if encoding == "onehot":
        if len(categories) > _MOST_COLUMNS:
            raise InputError(
                f"encoding=onehot would make {len(categories):,} columns of {name!r} (at most {_MOST_COLUMNS:,}); "
                "choose ordinal or target, or exclude the column"
            )
        words = tuple(categories.to_pylist())
        return CategoryEncoder(encoding, words, tuple(f"{name}={word}" for word in words))
    places = _places(values, categories)
    known = places >= 0
    shares = [_shares(places[known], hits[known], len(categories), hits.mean()) for hits in targets.values()]
    return CategoryEncoder(
        encoding,
        tuple(categories.to_pylist()),
        tuple(f"{name}{suffix}" for suffix in targets),
        tuple(tuple(share.tolist()) for share in shares),
        tuple(float(hits.mean()) for hits in targets.values()),
    )


def _targets(labels: pa.ChunkedArray) -> dict[str, Array]:
    """Returns by column suffix which rows are of a class: of two classes the second, of more each."""
    classes = sorted(pc.unique(labels).to_pylist())
    chosen = {"": classes[1]} if len(classes) == 2 else {f"={value}": value for value in classes}
    return {
        suffix: np.asarray(pc.equal(labels, pa.scalar(value, labels.type)).to_numpy(), dtype=np.float64)
        for suffix, value in chosen.items()
    }


def _shares(places: Array, hits: Array, categories: int, overall: float) -> Array:
    rows = np.bincount(places, minlength=categories)
    return (np.bincount(places, hits, categories) + _SMOOTHING_ROWS * overall) / (rows + _SMOOTHING_ROWS)


def _out_of_fold(
    train: pa.Table, written: pa.Table, encoders: dict[str, CategoryEncoder], targets: dict[str, Array], seed: int
) -> pa.Table:
    folds = np.random.default_rng(seed).permutation(train.num_rows) % _FOLDS
    for name, encoder in encoders.items():
        categories = pa.array(encoder.categories, pa.string())
        places = _places(train[name].cast(pa.string()), categories)
        for column, hits in zip(encoder.columns, targets.values(), strict=True):
            values = np.full(train.num_rows, np.nan)
            for fold in range(_FOLDS):
                inside, others = (folds == fold) & (places >= 0), (folds != fold) & (places >= 0)
                overall = hits[folds != fold].mean()
                values[inside] = _shares(places[others], hits[others], len(categories), overall)[places[inside]]
            index = written.column_names.index(column)
            written = written.set_column(index, column, pa.array(values, mask=places < 0))
    return written


def _check_names(names: list[str], encoders: dict[str, CategoryEncoder]) -> None:
    taken = set(names) - set(encoders)
    for name, encoder in encoders.items():
        for column in encoder.columns:
            if column in taken:
                raise InputError(f"encoding: {name!r} would make a second column {column!r}; rename or exclude one")
            taken.add(column)


def encoded(table: pa.Table, encoders: dict[str, CategoryEncoder]) -> pa.Table:
    """Returns the table with each encoder's columns in its feature's place."""
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name not in encoders:
            fields.append(field)
            columns.append(column)
            continue
        for name, values in _columns(column, encoders[field.name]).items():
            fields.append(pa.field(name, values.type))
            columns.append(values)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _columns(column: pa.ChunkedArray, encoder: CategoryEncoder) -> dict[str, pa.Array]:
    values = column.cast(pa.string())
    places = _places(values, pa.array(encoder.categories, pa.string()))
    if encoder.kind == "onehot":
        return {name: pa.array(places == place) for place, name in enumerate(encoder.columns)}
    missing = values.is_null().to_numpy()
    if encoder.kind == "ordinal":
        return {encoder.columns[0]: pa.array(places, mask=missing)}
    return {
        name: pa.array(np.append(shares, overall)[places], mask=missing)
        for name, shares, overall in zip(encoder.columns, encoder.shares, encoder.overall, strict=True)
    }


def _places(values: pa.ChunkedArray, categories: pa.Array) -> Array:
    """Returns each value's place among the categories; -1 for unseen and missing ones."""
    places = pc.index_in(values, value_set=categories).fill_null(-1)
    return np.asarray(places.to_numpy(), dtype=np.int64)
