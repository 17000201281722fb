"""Metrics against scikit-learn's, intervals against simulation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as reference

from shipway.components.lifecycle import metrics


def binary(rows: int, seed: int, signal: float = 1.0, digits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.3).astype(np.int64)
    positive = 1 / (1 + np.exp(-(random.normal(size=rows) + signal * labels - 1)))
    positive = positive.round(digits).clip(0.05, 0.95)
    return labels, np.column_stack([1 - positive, positive])


def several(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    logits = random.normal(size=(rows, 3)) + np.eye(3)[labels]
    scores = np.exp(logits)
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("digits", [8, 1])
def test_two_classes_agree_with_scikit_learn(digits: int) -> None:
    labels, scores = binary(2000, seed=1, digits=digits)
    overall = metrics.overall_metrics(labels, scores, seed=0)
    assert overall["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]))
    assert overall["pr_auc"]["value"] == pytest.approx(reference.average_precision_score(labels, scores[:, 1]))
    assert overall["log_loss"]["value"] == pytest.approx(reference.log_loss(labels, scores[:, 1]))
    assert overall["brier"]["value"] == pytest.approx(reference.brier_score_loss(labels, scores[:, 1]))
    assert overall["accuracy"]["value"] == pytest.approx(reference.accuracy_score(labels, scores.argmax(axis=1)))
    for metric in overall.values():
        assert metric["low"] < metric["value"] < metric["high"]


def test_several_classes_agree_with_scikit_learn() -> None:
    labels, scores = several(2000, seed=2)
    overall = metrics.overall_metrics(labels, scores, seed=0)
    assert overall["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(labels, scores, multi_class="ovr"))
    assert overall["log_loss"]["value"] == pytest.approx(reference.log_loss(labels, scores))
    precision = np.mean([reference.average_precision_score(labels == c, scores[:, c]) for c in range(3)])
    assert overall["pr_auc"]["value"] == pytest.approx(precision)
    assert metrics.confusion(labels, scores) == reference.confusion_matrix(labels, scores.argmax(axis=1)).tolist()


def test_the_interval_holds_the_truth_95_times_of_100() -> None:
    truth = reference.roc_auc_score(*(part if part.ndim == 1 else part[:, 1] for part in binary(200_000, seed=99)))
    intervals = [metrics.roc_auc(*binary(300, seed)) for seed in range(400)]
    covered = sum(interval["low"] <= truth <= interval["high"] for interval in intervals)
    assert 0.92 <= covered / len(intervals) <= 0.98


def test_the_paired_interval_is_narrower_than_two_alone_and_holds_the_truth() -> None:
    def noisy(scores: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(scale=0.1, size=len(scores))
        return np.column_stack([1 - scores[:, 1] - noise, scores[:, 1] + noise])

    labels, scores = binary(200_000, seed=99)
    worse = noisy(scores, seed=98)
    truth = reference.roc_auc_score(labels, scores[:, 1]) - reference.roc_auc_score(labels, worse[:, 1])
    assert truth > 0.003
    covered = 0
    for seed in range(300):
        labels, scores = binary(400, seed)
        gain = metrics.auc_difference(labels, scores, noisy(scores, seed + 1000))
        alone = metrics.roc_auc(labels, scores)
        assert gain["high"] - gain["low"] < alone["high"] - alone["low"]
        covered += gain["low"] <= truth <= gain["high"]
    assert 0.92 <= covered / 300 <= 0.98


def test_a_model_against_itself_gains_exactly_nothing() -> None:
    labels, scores = binary(500, seed=3)
    assert metrics.auc_difference(labels, scores, scores.copy()) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_one_class_leaves_the_auc_undefined() -> None:
    labels, scores = np.zeros(50, dtype=np.int64), binary(50, seed=4)[1]
    overall = metrics.overall_metrics(labels, scores, seed=0)
    assert overall["roc_auc"] == overall["pr_auc"] == {"value": None, "low": None, "high": None}
    assert overall["log_loss"]["value"] > 0
    assert metrics.roc_curves(labels, scores, ["0", "1"]) == []


def test_perfect_scores_and_certain_mistakes_stay_finite() -> None:
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert metrics.overall_metrics(labels, scores, seed=0)["roc_auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    wrong = metrics.overall_metrics(1 - labels, scores, seed=0)
    assert wrong["roc_auc"]["value"] == 0.0
    assert np.isfinite(wrong["log_loss"]["value"])


def test_the_seed_decides_the_bootstrap() -> None:
    labels, scores = binary(500, seed=5)
    first = metrics.overall_metrics(labels, scores, seed=1)
    assert first == metrics.overall_metrics(labels, scores, seed=1)
    assert first["pr_auc"] != metrics.overall_metrics(labels, scores, seed=2)["pr_auc"]


def test_fifty_thousand_rows_take_less_than_two_seconds() -> None:
    labels, scores = binary(50_000, seed=6)
    started = time.process_time()
    metrics.overall_metrics(labels, scores, seed=0)
    metrics.auc_difference(labels, scores, scores[::-1])
    assert time.process_time() - started < 2


def test_the_curve_is_thin_and_true() -> None:
    labels, scores = binary(5000, seed=7)
    (curve,) = metrics.roc_curves(labels, scores, ["no", "yes"])
    assert curve["label"] == "yes"
    assert 50 < len(curve["fpr"]) == len(curve["tpr"]) == len(curve["thresholds"]) <= 200
    assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0, 0, 1, 1)
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]), abs=1e-3)
    index = len(curve["fpr"]) // 2
    flagged = scores[:, 1] >= curve["thresholds"][index]
    assert flagged[labels == 1].mean() == pytest.approx(curve["tpr"][index], abs=1e-5)


def test_chance_is_what_constant_shares_get() -> None:
    labels, _ = binary(1000, seed=8)
    share = labels.mean()
    constant = np.tile([1 - share, share], (1000, 1))
    chance = metrics.chance(labels, 2)
    measured = metrics.overall_metrics(labels, constant, seed=0)
    for name, value in chance.items():
        assert measured[name]["value"] == pytest.approx(value), name


def test_chance_with_several_classes() -> None:
    labels, _ = several(900, seed=9)
    constant = np.tile(np.bincount(labels) / 900, (900, 1))
    measured = metrics.overall_metrics(labels, constant, seed=0)
    for name, value in metrics.chance(labels, 3).items():
        assert measured[name]["value"] == pytest.approx(value), name
