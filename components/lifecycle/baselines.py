"""Baselines: what scikit-learn reaches on the same features, to judge the candidates by."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from shipway.components.common.artifacts import dataset_files, new_directory, write_json
from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import FeatureKind, feature_kinds, feature_tensors, label_strings
from shipway.components.common.preprocessing.vectors import sized
from shipway.components.lifecycle.metrics import Floats, Integers, overall_metrics, roc_curves

__all__ = ["train_baselines"]

_TREES_CATEGORIES = 254  # HistGradientBoosting's limit
_LINEAR_CATEGORIES = 50
_LINEAR_ITERATIONS = 60
_WEIGHT = "sample_weight"
_TITLES = {
    "hist_gradient_boosting": "HistGradientBoosting (scikit-learn)",
    "logistic_regression": "Logistic regression (scikit-learn)",
}


@dataclass(frozen=True)
class _Split:
    """A split as numbers: ``numeric`` [N, columns] with NaN, ``codes`` [N, features] with -1 for none known.

    A vector feature has one column a value.
    """

    numeric: Floats
    codes: Integers
    labels: Integers
    weights: Floats | None


def train_baselines(
    train: str | Path, validation: str | Path, test: str | Path, baselines: str | Path, label: str, seed: int
) -> dict[str, Any]:
    """Trains gradient boosting and a logistic regression and writes their ``metrics.json``.

    Args:
        train: Prepared Dataset; its ``sample_weight`` is used where there is one.
        validation: Prepared Dataset; boosting stops when it gets no better on it.
        test: Prepared Dataset to measure on.
        baselines: The directory to write.
        label: The label's column.
        seed: Of both models.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: When the splits do not fit together.
    """
    tables = [_table(path) for path in (train, validation, test)]
    kinds = feature_kinds(tables[0].schema, label)
    names = sorted(set(label_strings(tables[0][label])))
    if len(names) < 2:
        raise InputError(f"the label {label!r} has the one value {names[0]!r} in the training split; nothing to learn")
    categories = {name: _categories(tables[0][name]) for name, kind in kinds.items() if kind == "string"}
    sizes = {name: _size(tables[0][name]) for name, kind in kinds.items() if kind == "vector"}
    splits = [_split(table, kinds, categories, sizes, label, names) for table in tables]
    models = {"hist_gradient_boosting": _boosted, "logistic_regression": _linear}
    results = [_result(name, train_one(splits, seed), splits[2], names, seed) for name, train_one in models.items()]
    with new_directory(baselines) as directory:
        write_json(directory / "metrics.json", {"baselines": results})
    return {"baselines": results}


def _table(dataset: str | Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in dataset_files(dataset)])


def _categories(column: pa.ChunkedArray) -> list[str]:
    """Returns the most frequent values, at most as many as the trees can take."""
    counts = pc.value_counts(column.cast(pa.string()).drop_null()).to_pylist()
    ordered = sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))
    return [entry["values"] for entry in ordered[:_TREES_CATEGORIES]]


def _size(column: pa.ChunkedArray) -> int:
    return pc.max(pc.list_value_length(column)).as_py() or 0


def _split(
    table: pa.Table,
    kinds: dict[str, FeatureKind],
    categories: dict[str, list[str]],
    sizes: dict[str, int],
    label: str,
    names: list[str],
) -> _Split:
    numbers = feature_tensors(table, {name: kind for name, kind in kinds.items() if kind != "string"})
    numbers |= {name: sized(numbers[name], size, name) for name, size in sizes.items()}
    codes = [
        pc.fill_null(pc.index_in(table[name].cast(pa.string()), pa.array(known, pa.string())), -1).to_numpy()
        for name, known in categories.items()
    ]
    texts = label_strings(table[label])
    strangers = sorted(set(texts) - set(names))
    if strangers:
        raise InputError(
            f"the label {label!r} has values that the training split lacks: {', '.join(strangers[:5])};"
            " leave those rows out or split at random"
        )
    return _Split(
        numeric=_columns(list(numbers.values()), table.num_rows, np.float64),
        codes=_columns(codes, table.num_rows, np.int64),
        labels=np.searchsorted(names, texts.astype(str)),
        weights=table[_WEIGHT].to_numpy() if _WEIGHT in table.column_names else None,
    )


def _columns(columns: list[NDArray[Any]], rows: int, kind: type) -> NDArray[Any]:
    return np.column_stack(columns).astype(kind) if columns else np.empty((rows, 0), kind)


def _boosted(splits: list[_Split], seed: int) -> Floats:
    train, validation, _ = splits
    x_train, x_validation, x_test = (
        np.hstack([split.numeric, np.where(split.codes < 0, np.nan, split.codes)]) for split in splits
    )
    categorical = [False] * train.numeric.shape[1] + [True] * train.codes.shape[1]
    model = HistGradientBoostingClassifier(
        early_stopping=True, n_iter_no_change=20, categorical_features=categorical, random_state=seed
    )
    model.fit(
        x_train, train.labels, sample_weight=train.weights, X_val=x_validation, y_val=validation.labels,
        sample_weight_val=validation.weights,
    )  # fmt: skip
    return np.asarray(model.predict_proba(x_test), dtype=np.float64)


def _linear(splits: list[_Split], seed: int) -> Floats:
    train, _, test = splits
    known = ~np.isnan(train.numeric)
    rows = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, train.numeric, 0).sum(axis=0) / rows
    deviations = np.sqrt(np.where(known, (train.numeric - means) ** 2, 0).sum(axis=0) / rows)
    scale = np.where(deviations > 0, deviations, 1.0)
    x_train, x_test = (_linear_features(split, means, scale) for split in (train, test))
    model = LogisticRegression(max_iter=_LINEAR_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # A baseline need not be converged to the last digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_train, train.labels, sample_weight=train.weights)
    return np.asarray(model.predict_proba(x_test), dtype=np.float64)


def _linear_features(split: _Split, means: Floats, scale: Floats) -> sparse.csr_matrix:
    """Returns scaled numbers (0 where missing), a column that says so for each, and one-hot frequent categories."""
    missing = np.isnan(split.numeric)
    numbers = np.where(missing, 0.0, (split.numeric - means) / scale)
    blocks = [sparse.csr_matrix(numbers), sparse.csr_matrix(missing.astype(np.float64))]
    blocks += [_one_hot(codes) for codes in split.codes.T]
    return sparse.hstack(blocks, format="csr")


def _one_hot(codes: Integers) -> sparse.csr_matrix:
    rows = np.flatnonzero((codes >= 0) & (codes < _LINEAR_CATEGORIES))
    shape = (len(codes), _LINEAR_CATEGORIES)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=shape)


def _result(name: str, scores: Floats, test: _Split, names: list[str], seed: int) -> dict[str, Any]:
    curves = roc_curves(test.labels, scores, names)
    for curve in curves:
        del curve["thresholds"]
    return {
        "name": name,
        "title": _TITLES[name],
        "overall": overall_metrics(test.labels, scores, seed),
        "roc_curves": curves,
    }
