"""Datasets into encoded splits that are read as they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shipway.components.common.errors import InputError
from shipway.components.common.model import Digests, digests_of
from shipway.components.common.preprocessing import (
    FEWEST_ROWS_OF_A_WORD,
    Encoders,
    FeatureKind,
    column_tensor,
    feature_kind,
    feature_kinds,
    learn_encoders,
)
from shipway.components.common.training.input import Batch, Examples, LabelCoder, ParquetRows, Survey, survey
from shipway.components.common.training.input.survey import WEIGHT_COLUMN
from shipway.components.common.training.input.windows import WindowReader
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["TrainingData", "open_training_data"]

OUTPUT_NAMES = ("scores", "label")
UNSEEN_WORD = "\N{REPLACEMENT CHARACTER} a word no training row has"
_GOLDEN_ROWS = 9
_LEARNED_ROWS = 1 << 19
_SAMPLE_ROWS = 1 << 14

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrainingData:
    """Both splits, and what they are encoded with.

    Attributes:
        label: Name of the label's column.
        label_names: The classes, sorted.
        class_shares: Share of the training rows that each class has.
        encoders: Learned from the training split.
        train: The training split.
        validation: The validation split.
        validation_labels: int64 ``[rows]``: the classes of the validation split, in its order.
        sample: Evenly spaced rows of the training split, at most 16,384, to tell learning from learning by heart.
        golden_instances: Rows of the validation split as a client would send them, and made-up hard ones.
        digests: Of the training split, the code and the environment.
    """

    label: str
    label_names: tuple[str, ...]
    class_shares: tuple[float, ...]
    encoders: Encoders
    train: Examples
    validation: Examples
    validation_labels: Array
    sample: Batch
    golden_instances: tuple[dict[str, Any], ...]
    digests: Digests

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a model can be trained with and should not be, for people: all is well where there is nothing."""
        found = [
            f"the feature {name!r} tells nothing: in training it has one value, or no second one in"
            f" {FEWEST_ROWS_OF_A_WORD} rows or more; drop it, or look where its values went"
            for name in self.encoders.constant
        ]
        if not np.ptp(self.validation_labels):
            only = self.label_names[self.validation_labels[0]]
            found.append(
                f"every row of the validation split is {only!r}: no ROC AUC can be told, the best epoch is the one with"
                " the lowest log loss; split so that validation has every class"
            )
        return tuple(found)


def open_training_data(
    train: str | Path, validation: str | Path, label: str, settings: Hyperparameters, encoders: Encoders | None = None
) -> TrainingData:
    """Looks both splits through, and learns the encoders from the training split unless it is given some.

    Of more than 524,288 rows the encoders learn from as many that are evenly spaced, so that memory stays flat.

    Args:
        train: Dataset directory to learn from.
        validation: Dataset directory with the same columns.
        label: Name of the label's column.
        settings: How to train.
        encoders: Those of a model that is trained on.

    Raises:
        InputError: When a split is empty or lacks a column, a label is missing, training has one class,
            validation has a class that training has not, or a feature is not what the given encoders take.
    """
    source, held_out = ParquetRows("training", train), ParquetRows("validation", validation)
    kinds = feature_kinds(source.schema, label)
    if reserved := [name for name in kinds if name in OUTPUT_NAMES]:
        raise InputError(f"feature {reserved[0]!r} is named like an output of the model; rename it in the SQL")
    _check_columns(held_out, kinds, label)
    learned, judged = survey(source, label), survey(held_out, label)
    names = learned.labels.names
    if len(names) < 2:
        raise InputError(f"label {label!r} is {names[0]!r} in every training row: there is nothing to tell apart")
    _check_classes(judged, names)
    if encoders is None:
        encoders = learn_encoders(_Columns(source, kinds), kinds)
    elif strange := [name for name, kind in encoders.kinds.items() if kinds.get(name) != kind]:
        raise InputError(f"the training split lacks {', '.join(strange)}, or has other values there than the model")
    examples = _examples(source, encoders, label, learned, settings)
    validation_labels = judged.labels.renamed(names)
    return TrainingData(
        label=label,
        label_names=names,
        class_shares=tuple((learned.counts / learned.counts.sum()).tolist()),
        encoders=encoders,
        train=examples,
        validation=Examples(_reader(held_out, encoders, label, validation_labels, np.ones(len(names)))),
        validation_labels=np.concatenate([validation_labels.positions(b.column(0)) for b in held_out.scan([label])]),
        sample=examples.spread(_SAMPLE_ROWS),
        golden_instances=_golden_instances(held_out, encoders),
        digests=digests_of(train),
    )


class _Columns(Mapping[str, Array]):
    """The training split's raw tensors, each read when it is asked for."""

    def __init__(self, source: ParquetRows, kinds: Mapping[str, FeatureKind]) -> None:
        self._source, self._kinds = source, kinds

    def __getitem__(self, name: str) -> Array:
        return column_tensor(self._source.column(name, _LEARNED_ROWS), self._kinds[name], name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def _examples(
    source: ParquetRows, encoders: Encoders, label: str, surveyed: Survey, settings: Hyperparameters
) -> Examples:
    even = surveyed.counts.sum() / (len(surveyed.counts) * surveyed.counts)
    class_weights = even if settings.class_weights == "balanced" else np.ones(len(even))
    reader = _reader(source, encoders, label, surveyed.labels, class_weights / surveyed.mean_weight)
    return Examples(reader, sampling=even if settings.sampling == "balanced" else None)


def _reader(source: ParquetRows, encoders: Encoders, label: str, labels: LabelCoder, factors: Array) -> WindowReader:
    """Returns what reads a split, a row's weight being its ``sample_weight`` times its class's factor."""
    columns = [label, WEIGHT_COLUMN] if WEIGHT_COLUMN in source.schema.names else [label]

    def targets(rows: pa.RecordBatch) -> tuple[Array, Array]:
        positions = labels.positions(rows.column(label))
        weights = factors[positions]
        if len(columns) > 1:
            weights = weights * rows.column(WEIGHT_COLUMN).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return positions, weights.astype(np.float32)

    return WindowReader(source, encoders, columns, targets)


def _check_columns(held_out: ParquetRows, kinds: Mapping[str, FeatureKind], label: str) -> None:
    if label not in held_out.schema.names:
        raise InputError(f"the validation split has no column {label!r}, which the training split has as the label")
    if missing := [name for name in kinds if name not in held_out.schema.names]:
        raise InputError(f"the validation split lacks the columns {', '.join(missing)}, which the training split has")
    for name, kind in kinds.items():
        found = feature_kind(name, held_out.schema.field(name).type)
        if found != kind:
            raise InputError(f"column {name!r} is {kind} in the training split and {found} in the validation split")


def _check_classes(judged: Survey, names: tuple[str, ...]) -> None:
    strange = [position for position, name in enumerate(judged.labels.names) if name not in names]
    if strange:
        unseen = ", ".join(repr(judged.labels.names[position]) for position in strange)
        raise InputError(
            f"{judged.counts[strange].sum()} rows of the validation split have a label that no training row has:"
            f" {unseen}; drop those rows or split so that training has every class"
        )


def _golden_instances(source: ParquetRows, encoders: Encoders) -> tuple[dict[str, Any], ...]:
    """Returns rows from all over the split, one with everything missing and one with everything unseen."""
    positions = np.unique(np.linspace(0, source.rows - 1, _GOLDEN_ROWS).round().astype(int))
    table = source.at(positions.tolist(), encoders.names)
    rows = [{name: _json_value(value) for name, value in row.items()} for row in table.to_pylist()]
    words = {encoder.name: UNSEEN_WORD for encoder in encoders.strings}
    far = {encoder.name: encoder.edges[-1] * 2 + 1 for encoder in encoders.numeric if encoder.edges}
    missing = dict.fromkeys(encoders.names)
    half = {name: value for position, (name, value) in enumerate(rows[0].items()) if position % 2}
    return (*rows, missing, {**rows[0], **words, **far}, {**missing, **half})


def _json_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, str):
        return value or None
    number = float(value)
    return None if not math.isfinite(number) else int(number) if number.is_integer() else number
