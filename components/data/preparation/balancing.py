"""Classes of unequal size: weights, synthetic rows or fewer rows; always in the training split alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.notes import Notes, Tables

__all__ = ["IMBALANCE", "SAMPLE_WEIGHT", "balance"]

IMBALANCE = ("none", "weights", "smote", "undersample")
SAMPLE_WEIGHT = "sample_weight"

_NEIGHBOURS = 5
_MOST_SMOTE_ROWS = 100_000
_MOST_SMOTE_BYTES = 4 << 30
# Measured with imbalanced-learn 0.14: it holds every synthetic row's strings one-hot, several times over.
_BYTES_PER_ROW_AND_STRING = 60
_BYTES_PER_PAIR_OF_STRINGS = 16


def balance(tables: Tables, label: str, imbalance: str, seed: int, notes: Notes) -> Tables:
    """Returns the splits with the training split balanced in the way that ``imbalance`` names.

    Raises:
        InputError: When SMOTE cannot work: values are missing or lists, a class has one row, or the table is too large.
    """
    if imbalance == "none":
        notes.add("The classes are left as they are.")
        return tables
    train = tables["train"]
    codes = train[label].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes)
    if imbalance == "weights":
        weights = (len(codes) / (len(counts) * counts))[codes]
        notes.add(f"Weights balance the classes of the training split ({weights.min():.3g} to {weights.max():.3g}).")
        return {name: _weighted(table, weights if name == "train" else None) for name, table in tables.items()}
    if imbalance == "undersample":
        balanced = train.take(pa.array(_undersampled(codes, int(counts.min()), seed)))
        notes.add(f"train: kept {counts.min():,} rows of each class, drawn at random.")
    else:
        balanced = _oversampled(train, label, codes, int(counts.min()), seed)
        notes.add(f"train: added {balanced.num_rows - train.num_rows:,} synthetic rows (SMOTE) to the smaller classes.")
    return {**tables, "train": balanced}


def _weighted(table: pa.Table, weights: np.ndarray | None) -> pa.Table:
    return table.append_column(SAMPLE_WEIGHT, pa.array(np.ones(table.num_rows) if weights is None else weights))


def _undersampled(codes: np.ndarray, size: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(np.flatnonzero(codes == code))[:size] for code in np.unique(codes)]
    return np.sort(np.concatenate(drawn))


def _oversampled(train: pa.Table, label: str, codes: np.ndarray, smallest: int, seed: int) -> pa.Table:
    features = train.drop([label])
    lists = [field.name for field in features.schema if pa.types.is_nested(field.type)]
    if lists:
        raise InputError(
            f"imbalance=smote draws between numbers, and {', '.join(lists)} holds lists; choose imbalance=weights or "
            "undersample"
        )
    lacking = [name for name in features.column_names if features[name].null_count]
    if lacking:
        raise InputError(
            f"imbalance=smote needs complete rows, and values of {', '.join(lacking)} are missing; "
            "choose missing_values=impute or drop_rows"
        )
    if smallest < 2:
        raise InputError("imbalance=smote needs two rows of each class to draw between; choose imbalance=weights")
    numeric = [not _is_category(column.type) for column in features.columns]
    _check_size(features, numeric, np.bincount(codes))
    rows, classes = _smote(features, numeric, codes, min(_NEIGHBOURS, smallest - 1), seed)
    synthetic = slice(train.num_rows, None)
    columns = [_typed(values[synthetic], column.type) for values, column in zip(rows, features.columns, strict=True)]
    names = pc.unique(train[label].combine_chunks())
    columns.insert(train.column_names.index(label), names.take(pa.array(classes[synthetic])))
    return pa.concat_tables([train, pa.Table.from_arrays(columns, schema=train.schema)])


def _check_size(features: pa.Table, numeric: list[bool], counts: np.ndarray) -> None:
    smaller = counts[counts < counts.max()]
    rows = int(smaller.max(initial=0))
    if rows > _MOST_SMOTE_ROWS:
        raise InputError(
            f"imbalance=smote compares all rows of a class with each other, and one has {rows:,} rows "
            f"(at most {_MOST_SMOTE_ROWS:,}); choose imbalance=weights or undersample"
        )
    words = {
        name: len(pc.unique(features[name]))
        for name, number in zip(features.column_names, numeric, strict=True)
        if not number
    }
    if not words or not rows:
        return
    synthetic = int(counts.max() - smaller.min())
    if any(numeric):
        needed = synthetic * sum(words.values()) * _BYTES_PER_ROW_AND_STRING
    else:
        needed = rows**2 * _BYTES_PER_PAIR_OF_STRINGS
    if needed > _MOST_SMOTE_BYTES:
        most = max(words, key=lambda name: words[name])
        raise InputError(
            f"imbalance=smote would take about {needed / 1e9:,.0f} GB of memory for {features.num_rows:,} rows and "
            f"{sum(words.values()):,} different strings ({words[most]:,} of them in {most!r}); choose "
            "imbalance=weights or undersample, or exclude the columns of many strings"
        )


def _smote(
    features: pa.Table, numeric: list[bool], codes: np.ndarray, neighbours: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the columns and class codes of the rows, the given ones first."""
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    columns = [_plain(column, number) for column, number in zip(features.columns, numeric, strict=True)]
    if all(numeric):
        matrix = np.column_stack(columns)
        sampler = SMOTE(random_state=seed, k_neighbors=neighbours)
    else:
        matrix = np.empty((features.num_rows, len(columns)), dtype=object)
        for index, column in enumerate(columns):
            matrix[:, index] = column
        if any(numeric):
            categories = [index for index, number in enumerate(numeric) if not number]
            sampler = SMOTENC(categories, random_state=seed, k_neighbors=neighbours)
        else:
            sampler = SMOTEN(random_state=seed, k_neighbors=neighbours)
    rows, classes = sampler.fit_resample(matrix, codes)
    return [rows[:, index] for index in range(len(columns))], classes


def _is_category(kind: pa.DataType) -> bool:
    return not (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _plain(column: pa.ChunkedArray, number: bool) -> np.ndarray:
    return np.asarray(column.to_numpy(), dtype=np.float64 if number else object)


def _typed(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_integer(kind):
        return pa.array(np.rint(values.astype(np.float64)).astype(np.int64)).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(values.astype(np.float64)).cast(kind)
    return pa.array(values.tolist(), type=kind)
