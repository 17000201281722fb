"""How good scores are, with 95 % intervals.

ROC AUC (one class against the rest, averaged over the classes when there are several) has DeLong's interval,
computed from each row's influence, so that a difference of two models on the same rows has one as well. Means
over rows (log loss, accuracy, Brier) have the normal interval, PR AUC a percentile bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "INTERVAL_METHODS",
    "Floats",
    "Integers",
    "auc_difference",
    "chance",
    "confusion",
    "overall_metrics",
    "roc_auc",
    "roc_curves",
    "slice_metrics",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Metric = dict[str, float | None]

INTERVAL_METHODS = {
    "roc_auc": "DeLong, 95 %",
    "pr_auc": "bootstrap over rows, 200 resamples, percentiles, 95 %",
    "log_loss": "normal, 95 %",
    "accuracy": "normal, 95 %",
    "brier": "normal, 95 %",
}

_Z = 1.959964
_RESAMPLES = 200
_CURVE_POINTS = 200
_SMALLEST_PROBABILITY = 1e-15
_UNDEFINED: Metric = {"value": None, "low": None, "high": None}


def overall_metrics(labels: Integers, scores: Floats, seed: int) -> dict[str, Metric]:
    """Returns ``{name: {"value", "low", "high"}}`` for ROC AUC, PR AUC, log loss, accuracy and Brier score.

    Args:
        labels: Class index per row, [N], N >= 1.
        scores: Probability per row and class, [N, C]; with two classes the last is the positive one.
        seed: Of the bootstrap.
    """
    return {**slice_metrics(labels, scores), "pr_auc": _pr_auc(labels, scores, seed), "brier": _brier(labels, scores)}


def slice_metrics(labels: Integers, scores: Floats) -> dict[str, Metric]:
    """Returns the metrics that are cheap enough for many slices: ROC AUC, log loss and accuracy."""
    likelihood = scores[np.arange(len(labels)), labels]
    return {
        "roc_auc": roc_auc(labels, scores),
        "log_loss": _mean(-np.log(np.maximum(likelihood, _SMALLEST_PROBABILITY))),
        "accuracy": _mean((scores.argmax(axis=1) == labels).astype(np.float64), 1.0),
    }


def chance(labels: Integers, classes: int) -> dict[str, float]:
    """Returns the metrics of a model that knows nothing but the classes' shares of these rows."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    squares = float((shares**2).sum())
    return {
        "roc_auc": 0.5,
        "pr_auc": float(shares[1]) if classes == 2 else float(shares.mean()),
        "log_loss": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        "accuracy": float(shares.max()),
        "brier": (1 - squares) / 2 if classes == 2 else 1 - squares,
    }


def roc_auc(labels: Integers, scores: Floats) -> Metric:
    """Returns the ROC AUC with its interval; undefined (``None``) where all rows have one class."""
    influence = _auc_influence(labels, scores)
    return influence.metric(0.0, 1.0) if influence else dict(_UNDEFINED)


def auc_difference(labels: Integers, scores: Floats, other: Floats) -> Metric:
    """Returns the ROC AUC of ``scores`` less that of ``other`` on the same rows, with the paired interval."""
    ours, theirs = _auc_influence(labels, scores), _auc_influence(labels, other)
    if ours is None or theirs is None:
        return dict(_UNDEFINED)
    return _Influence(ours.value - theirs.value, ours.rows - theirs.rows).metric(-1.0, 1.0)


def roc_curves(labels: Integers, scores: Floats, label_names: list[str]) -> list[dict[str, Any]]:
    """Returns ``{"label", "fpr", "tpr", "thresholds"}``, at most 200 points: of the positive class, or of each."""
    return [
        {"label": label_names[index], **_roc_curve(positive, scores[:, index])}
        for index, positive in _one_against_rest(labels, scores)
    ]


def confusion(labels: Integers, scores: Floats) -> list[list[int]]:
    """Returns counts: rows are true classes, columns the most likely ones."""
    classes = scores.shape[1]
    counts = np.bincount(labels * classes + scores.argmax(axis=1), minlength=classes * classes)
    table: list[list[int]] = counts.reshape(classes, classes).tolist()
    return table


@dataclass(frozen=True)
class _Influence:
    """An estimate and each row's share in its error: the estimate's variance is the sum of their squares."""

    value: float
    rows: Floats

    def metric(self, lowest: float, highest: float) -> Metric:
        return _interval(self.value, float(np.sqrt((self.rows**2).sum())), lowest, highest)


def _auc_influence(labels: Integers, scores: Floats) -> _Influence | None:
    parts = [_binary_auc(positive, scores[:, index]) for index, positive in _one_against_rest(labels, scores)]
    if not parts:
        return None
    return _Influence(
        float(np.mean([part.value for part in parts])), np.asarray(np.mean([part.rows for part in parts], axis=0))
    )


def _one_against_rest(labels: Integers, scores: Floats) -> list[tuple[int, NDArray[np.bool_]]]:
    """Returns who belongs to the positive class of two, or to each of several; leaves out what all or no rows are."""
    wanted = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return [(index, labels == index) for index in wanted if 0 < (labels == index).sum() < len(labels)]


def _binary_auc(positive: NDArray[np.bool_], scores: Floats) -> _Influence:
    """DeLong, DeLong and Clarke-Pearson (1988): placements of each row among those of the other class."""
    everywhere = _midranks(scores)
    above = (everywhere[positive] - _midranks(scores[positive])) / (~positive).sum()
    below = 1 - (everywhere[~positive] - _midranks(scores[~positive])) / positive.sum()
    value = float(above.mean())
    rows = np.empty(len(scores))
    rows[positive] = (above - value) / np.sqrt(len(above) * max(len(above) - 1, 1))
    rows[~positive] = (below - value) / np.sqrt(len(below) * max(len(below) - 1, 1))
    return _Influence(value, rows)


def _midranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)


def _mean(values: Floats, highest: float = np.inf) -> Metric:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return _interval(float(values.mean()), error, 0.0, highest)


def _brier(labels: Integers, scores: Floats) -> Metric:
    truth = np.eye(scores.shape[1])[labels]
    squares = (scores - truth) ** 2
    return _mean(squares[:, 1] if scores.shape[1] == 2 else squares.sum(axis=1))


def _pr_auc(labels: Integers, scores: Floats, seed: int) -> Metric:
    functions = [_average_precision(positive, scores[:, i]) for i, positive in _one_against_rest(labels, scores)]
    if not functions:
        return dict(_UNDEFINED)
    random = np.random.default_rng(seed)
    rows = len(labels)

    def macro(weights: Floats) -> float:
        return float(np.mean([function(weights) for function in functions]))

    resampled = [
        macro(np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)) for _ in range(_RESAMPLES)
    ]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {"value": macro(np.ones(rows)), "low": float(low), "high": float(high)}


def _average_precision(positive: NDArray[np.bool_], scores: Floats) -> Callable[[Floats], float]:
    """Returns the average precision as a function of the rows' weights; NaN where no positive has weight."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def average(weights: Floats) -> float:
        weight = weights[order]
        found = np.cumsum(weight * hits)[last_of_tie]
        seen = np.cumsum(weight)[last_of_tie]
        if not found[-1]:
            return float("nan")
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])

    return average


def _roc_curve(positive: NDArray[np.bool_], scores: Floats) -> dict[str, list[float]]:
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.concatenate([[0], np.cumsum(hits)[last_of_tie]]) / hits.sum()
    false = np.concatenate([[0], np.cumsum(~hits)[last_of_tie]]) / (~hits).sum()
    thresholds = np.concatenate([[1.0], ordered[last_of_tie]])
    # Evenly along the curve, both ends included.
    along = np.searchsorted(true + false, np.linspace(0, 2, _CURVE_POINTS), side="left")
    chosen = np.unique(np.clip(along, 0, len(true) - 1))
    return {
        "fpr": false[chosen].round(6).tolist(),
        "tpr": true[chosen].round(6).tolist(),
        "thresholds": thresholds[chosen].tolist(),
    }


def _interval(value: float, error: float, lowest: float, highest: float) -> Metric:
    return {"value": value, "low": max(value - _Z * error, lowest), "high": min(value + _Z * error, highest)}
