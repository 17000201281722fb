"""Datasets into encoded splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.common.model import Digests, digests_of
from shipway.components.common.preprocessing import (
    Encoders,
    Tensors,
    feature_kinds,
    feature_tensors,
    label_strings,
    learn_encoders,
)

__all__ = ["Examples", "TrainingData", "read_training_data"]

OUTPUT_NAMES = ("scores", "label")
UNSEEN_WORD = "\N{REPLACEMENT CHARACTER} a word no training row has"
_GOLDEN_ROWS = 9

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Examples:
    """An encoded split.

    Attributes:
        numeric: float32 ``[rows, width]``, see :mod:`.preprocessing.encoders`.
        categorical: int64 ``[rows, string features]``.
        labels: int64 ``[rows]``: positions in the label names.
        weights: float32 ``[rows]``, mean 1.
    """

    numeric: Array
    categorical: Array
    labels: Array
    weights: Array

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.labels)


@dataclass(frozen=True)
class TrainingData:
    """Both splits encoded, and what they were encoded with.

    Attributes:
        label: Name of the label's column.
        label_names: The classes, sorted.
        encoders: Learned from the training split.
        train: The training split.
        validation: The validation split.
        golden_instances: Rows of the validation split as a client would send them, and made-up hard ones.
        digests: Of the training split, the code and the environment.
    """

    label: str
    label_names: tuple[str, ...]
    encoders: Encoders
    train: Examples
    validation: Examples
    golden_instances: tuple[dict[str, Any], ...]
    digests: Digests


def read_training_data(train: str | Path, validation: str | Path, label: str) -> TrainingData:
    """Reads both splits, learns the encoders from the training split and encodes both.

    Raises:
        InputError: When a split is empty or lacks a column, a label is missing, training has one class, or
            validation has a class that training has not.
    """
    tables = {name: _read(name, path) for name, path in (("training", train), ("validation", validation))}
    kinds = feature_kinds(tables["training"].schema, label)
    if reserved := [name for name in kinds if name in OUTPUT_NAMES]:
        raise InputError(f"feature {reserved[0]!r} is named like an output of the model; rename it in the SQL")
    if label not in tables["validation"].schema.names:
        raise InputError(f"the validation split has no column {label!r}, which the training split has as the label")
    names = tuple(sorted(set(label_strings(tables["training"].column(label)))))
    if len(names) < 2:
        raise InputError(f"label {label!r} is {names[0]!r} in every training row: there is nothing to tell apart")
    raw = {name: feature_tensors(table, kinds) for name, table in tables.items()}
    encoders = learn_encoders(raw["training"], kinds)
    splits = {name: _examples(name, table, raw[name], encoders, label, names) for name, table in tables.items()}
    return TrainingData(
        label=label,
        label_names=names,
        encoders=encoders,
        train=splits["training"],
        validation=splits["validation"],
        golden_instances=_golden_instances(tables["validation"].select(list(kinds)), encoders),
        digests=digests_of(train),
    )


def _read(split: str, path: str | Path) -> pa.Table:
    table = pa.concat_tables([pq.read_table(file) for file in dataset_files(path)])
    if not table.num_rows:
        raise InputError(f"the {split} split at {path} has no rows; change the fractions or boundaries of the split")
    return table


def _examples(
    split: str, table: pa.Table, raw: Tensors, encoders: Encoders, label: str, names: tuple[str, ...]
) -> Examples:
    numeric, categorical = encoders.encode(raw)
    found = pa.array(label_strings(table.column(label)), pa.string())
    positions = pc.index_in(found, value_set=pa.array(names, pa.string()))
    if positions.null_count:
        unknown = sorted(set(found.to_pylist()) - set(names))
        raise InputError(
            f"{positions.null_count} rows of the {split} split have a label that no training row has:"
            f" {', '.join(map(repr, unknown))}; drop those rows or split so that training has every class"
        )
    return Examples(numeric, categorical, positions.to_numpy().astype(np.int64), _weights(split, table))


def _weights(split: str, table: pa.Table) -> Array:
    if "sample_weight" not in table.schema.names:
        return np.ones(table.num_rows, np.float32)
    weights = table.column("sample_weight").cast(pa.float64()).to_numpy()
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum():
        raise InputError(f"sample_weight of the {split} split must hold numbers of at least 0, not all of them 0")
    return np.asarray(weights / weights.mean(), np.float32)


def _golden_instances(features: pa.Table, encoders: Encoders) -> tuple[dict[str, Any], ...]:
    """Returns rows from all over the split, one with everything missing and one with everything unseen."""
    positions = np.unique(np.linspace(0, features.num_rows - 1, _GOLDEN_ROWS).round().astype(int))
    rows = [_instance(row) for row in features.take(positions).to_pylist()]
    words = {encoder.name: UNSEEN_WORD for encoder in encoders.strings}
    far = {encoder.name: encoder.edges[-1] * 2 + 1 for encoder in encoders.numeric if encoder.edges}
    missing = dict.fromkeys(encoders.names)
    half = {name: value for position, (name, value) in enumerate(rows[0].items()) if position % 2}
    return (*rows, missing, {**rows[0], **words, **far}, {**missing, **half})


def _instance(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _json_value(value) for name, value in row.items()}


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value or None
    number = float(value)
    return None if not math.isfinite(number) else int(number) if number.is_integer() else number
