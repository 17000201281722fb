"""Two models on the same rows: the difference of their ROC AUCs, with an interval.

The interval is a paired bootstrap's (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): rows
are drawn with replacement, each time the same ones for both models, and the 2.5 % and 97.5 % quantiles of the
differences are the ends of the 95 % interval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import feature_tensors, label_strings

__all__ = ["Comparison", "Scored", "compare", "scored"]

BATCH_ROWS = 65_536
RESAMPLES = 1000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scored:
    """What a model says of rows.

    Attributes:
        labels: int64 ``[rows]``: positions of the true classes.
        scores: float32 ``[rows, classes]``: probabilities.
    """

    labels: Array
    scores: Array


@dataclass(frozen=True)
class Comparison:
    """One model's ROC AUC less another's, on the same rows.

    Attributes:
        rows: How many.
        roc_auc: Of the one.
        other_roc_auc: Of the other.
        difference: The one less the other.
        low: Where the difference's 95 % interval begins.
        high: Where it ends.
    """

    rows: int
    roc_auc: float
    other_roc_auc: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``no difference`` where the interval holds 0."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference"

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON, with the verdict."""
        return {**asdict(self), "verdict": self.verdict, "interval": "95 %, paired bootstrap over rows"}


def scored(model: str | Path, dataset: str | Path) -> Scored:
    """Returns what a Model directory's exported model says of a Dataset's rows.

    Raises:
        InputError: When a column is missing, or a label is none that the model knows.
    """
    import onnxruntime

    description = read_model(model)
    session = onnxruntime.InferenceSession(str(Path(model) / "model.onnx"), providers=["CPUExecutionProvider"])
    names = {name: position for position, name in enumerate(description.label_names)}
    labels, scores = [], []
    for file in dataset_files(dataset):
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            if absent := sorted({description.label, *description.kinds} - set(table.column_names)):
                raise InputError(f"the Dataset at {dataset} has no column {', '.join(absent)}, which the model needs")
            words = label_strings(table.column(description.label))
            if strangers := sorted(set(words) - names.keys()):
                raise InputError(
                    f"the Dataset at {dataset} has labels that no training row has: {', '.join(strangers[:5])}"
                )
            labels.append(np.asarray([names[word] for word in words], np.int64))
            scores.append(session.run(["scores"], feature_tensors(table, description.kinds))[0])
    if not sum(map(len, labels)):
        raise InputError(f"the Dataset at {dataset} has no rows to compare models on")
    return Scored(np.concatenate(labels), np.concatenate(scores))


def compare(one: Scored, other: Scored, seed: int = 0) -> Comparison | None:
    """Returns how one model's scores differ from another's on the same rows; None where no ROC AUC is defined.

    Args:
        one: Scores of rows.
        other: Scores of the same rows.
        seed: Of the bootstrap.
    """
    areas = _Areas(one), _Areas(other)
    every = np.ones(len(one.labels))
    value, other_value = (area.of(every) for area in areas)
    if value is None or other_value is None:
        return None
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, len(every), len(every)), minlength=len(every)).astype(np.float64)
        drawn, other_drawn = (area.of(times) for area in areas)
        if drawn is not None and other_drawn is not None:
            differences.append(drawn - other_drawn)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Comparison(len(every), value, other_value, value - other_value, float(low), float(high))


class _Areas:
    """The ROC AUC of rows that count several times, or not at all; several classes: the mean of one against the rest.

    Scores are sorted once: what is left for each resample is two sums over the rows.
    """

    def __init__(self, rows: Scored) -> None:
        classes = [1] if rows.scores.shape[1] == 2 else range(rows.scores.shape[1])
        self._sorted = [_sorted(rows.scores[:, c], rows.labels == c) for c in classes]

    def of(self, times: Array) -> float | None:
        found = [_area(times[order], starts, positive) for order, starts, positive in self._sorted]
        areas = [area for area in found if area is not None]
        return sum(areas) / len(areas) if areas else None


def _sorted(scores: Array, positive: Array) -> tuple[Array, Array, Array]:
    """Returns the order of the scores, where each group of equal ones begins, and which rows are positive."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts, positive[order].astype(np.float64)


def _area(times: Array, starts: Array, positive: Array) -> float | None:
    positives = np.add.reduceat(times * positive, starts)
    negatives = np.add.reduceat(times * (1 - positive), starts)
    pairs = float(positives.sum() * negatives.sum())
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)
