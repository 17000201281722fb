"""Verdicts on learning curves: made-up courses, and courses whose truth is known by how they were made."""

import math
import random
from dataclasses import dataclass

import pytest

from shipway.components.common.training.diagnosis import _auc_error, diagnose, learning_curve_verdict


@dataclass(frozen=True)
class Judged:
    epoch: int
    training_loss: float | None
    validation_loss: float
    training_roc_auc: float | None
    validation_roc_auc: float | None


EVEN = (0.5, 0.5)


def course(training, validation, losses=None, training_losses=None):
    """Epochs with these AUCs; losses fall by default to a plateau."""
    losses = losses or [0.6, 0.5, 0.45, 0.449, 0.4489][-len(training) :]
    training_losses = training_losses or losses
    rows = zip(training_losses, losses, training, validation, strict=True)
    return [Judged(number, *row) for number, row in enumerate(rows, 1)]


def test_a_wide_gap_is_variance_and_the_text_has_the_numbers():
    found = diagnose(course([0.8, 0.9, 0.95], [0.75, 0.80, 0.79]), EVEN, 20_000)
    assert (found.verdict, round(found.gap, 4)) == ("variance", 0.1)
    assert "At epoch 2 of 3 ROC AUC is 0.9000 on training rows and 0.8000 on validation rows" in found.text
    assert "gap of +0.1000 ± 0.0" in found.text
    for name in ("dropout", "weight_decay", "hidden_units", "add training rows"):
        assert name in found.text


def test_the_epoch_whose_weights_the_model_has_is_judged():
    history = course([0.8, 0.9, 0.95], [0.75, 0.80, 0.79])
    assert "At epoch 3 of 3" in diagnose(history, EVEN, 20_000, best_epoch=3).text


def test_weak_training_without_a_gap_is_bias():
    found = diagnose(course([0.65, 0.66, 0.66], [0.65, 0.655, 0.656]), EVEN, 50_000)
    assert found.verdict == "bias"
    assert "hidden_units" in found.text
    assert "add features" in found.text
    assert "train longer" not in found.text


def test_what_is_no_better_than_chance_is_said_to_be_so():
    assert "no better than by chance" in diagnose(course([0.505, 0.51], [0.50, 0.501]), EVEN, 10_000).text
    assert "by chance" not in diagnose(course([0.60, 0.61], [0.60, 0.605]), EVEN, 10_000).text


def test_what_hardly_learned_is_bias_whatever_the_gap():
    """Figures of a network of one unit, trained for two epochs on flights."""
    history = course([0.4451, 0.5337], [0.4292, 0.5101], [0.4879, 0.4953], [0.5606, 0.5587])
    found = diagnose(history, (0.78, 0.22), 47_000)
    assert found.verdict == "bias"
    assert "raise epochs from 2 to 4" in found.text


def test_a_score_that_still_rises_is_bias_and_asks_for_epochs():
    found = diagnose(course([0.80, 0.85, 0.9], [0.80, 0.84, 0.89], [0.6, 0.5, 0.4]), EVEN, 50_000)
    assert found.verdict == "bias"
    assert "raise epochs from 3 to 6" in found.text


def test_a_small_gap_on_a_plateau_is_good():
    found = diagnose(course([0.85, 0.90, 0.905], [0.85, 0.895, 0.899]), EVEN, 50_000)
    assert found.verdict == "good"
    assert "Try" not in found.text


def test_a_loss_that_rose_again_is_variance_though_the_best_epoch_has_no_gap():
    history = course([0.80, 0.85, 0.88, 0.93], [0.80, 0.84, 0.83, 0.82], [0.5, 0.45, 0.52, 0.6], [0.5, 0.44, 0.35, 0.2])
    found = diagnose(history, EVEN, 50_000)
    assert found.verdict == "variance"
    assert "lowest at epoch 2 (0.4500) and rose to 0.6000" in found.text
    assert "early_stopping_epochs" in found.text


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([], "epochs"),
        (course([0.8], [0.7]), "epochs"),
        ([Judged(1, None, 0.6, None, 0.7), Judged(2, None, 0.5, None, 0.75)], "not measured"),
        ([Judged(1, math.nan, 0.6, None, 0.7), Judged(2, math.nan, 0.5, None, 0.75)], "not measured"),
    ],
)
def test_what_cannot_be_told_is_unknown(history, why):
    found = diagnose(history, EVEN, 1000)
    assert (found.verdict, found.gap) == ("unknown", None)
    assert why in found.text


def test_few_validation_rows_tell_nothing_unless_the_gap_is_huge():
    found = diagnose(course([0.85, 0.85], [0.8, 0.8]), EVEN, 60)
    assert found.verdict == "unknown"
    assert "60 validation rows are too few" in found.text
    assert diagnose(course([0.99, 1.0], [0.6, 0.6]), EVEN, 60).verdict == "variance"


def test_validation_rows_that_are_easier_than_training_rows_are_pointed_out():
    assert "splits differ" in diagnose(course([0.8, 0.85], [0.9, 0.95]), EVEN, 50_000).text


def test_without_an_auc_the_share_of_the_loss_is_judged():
    shares = (0.9, 0.1)
    guessing = -sum(share * math.log(share) for share in shares)
    held = [Judged(e, guessing * a, guessing * b, None, None) for e, a, b in ((1, 0.7, 0.71), (2, 0.6, 0.8))]
    found = diagnose(held, shares, 10_000)
    assert (found.verdict, round(found.gap, 2)) == ("variance", 0.01)  # rose again; the best epoch itself has no gap
    learned = [Judged(e, guessing * a, guessing * b, None, None) for e, a, b in ((1, 0.8, 0.9), (2, 0.5, 0.89))]
    assert round(diagnose(learned, shares, 10_000).gap, 2) == 0.39
    nothing = [Judged(e, guessing, guessing, None, None) for e in (1, 2)]
    assert diagnose(nothing, shares, 10_000).verdict == "bias"


def test_class_weights_whose_loss_is_above_guessing_are_no_rise():
    history = course([0.85, 0.86, 0.86], [0.85, 0.855, 0.856], [0.58, 0.56, 0.562], [0.58, 0.56, 0.555])
    assert diagnose(history, (0.92, 0.08), 50_000).verdict == "good"


def test_the_error_of_an_auc_is_what_repeated_draws_show():
    rng = random.Random(0)
    draws = []
    for _ in range(400):
        positives = [rng.gauss(1, 1) for _ in range(40)]
        negatives = [rng.gauss(0, 1) for _ in range(160)]
        wins = sum(p > n for p in positives for n in negatives)
        draws.append(wins / (40 * 160))
    mean = sum(draws) / len(draws)
    seen = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / (len(draws) - 1))
    assert _auc_error(mean, (0.8, 0.2), 200) == pytest.approx(seen, rel=0.15)
    assert _auc_error(0.8, (0.2, 0.3, 0.5), 200) < 0.05


@pytest.mark.parametrize(
    ("points", "verdict", "words"),
    [
        (
            [(1000, 0.95, 0.70), (2000, 0.93, 0.72), (4000, 0.91, 0.74)],
            "variance",
            "More data helps: expect about +0.02",
        ),
        ([(1000, 0.95, 0.74), (2000, 0.94, 0.741), (4000, 0.93, 0.741)], "variance", "More rows do not close the gap"),
        ([(1000, 0.75, 0.74), (2000, 0.744, 0.742), (4000, 0.743, 0.742)], "bias", "More rows do not help"),
        ([(1000, 0.70, 0.70), (2000, 0.72, 0.72), (4000, 0.74, 0.74)], "good", "more rows still helped"),
        ([(4000, 0.91, 0.74), (1000, 0.95, 0.70), (2000, 0.93, 0.72)], "variance", "expect about +0.02"),
        ([(1000, -0.30, -0.60), (2000, -0.35, -0.55)], "variance", "loss is 0.3500 on training rows and 0.5500"),
        ([(1000, 0.9, 0.8)], "unknown", "two or more"),
        ([(1000, 0.9, 0.8), (1000, 0.9, 0.81)], "unknown", "two or more"),
        ([], "unknown", "two or more"),
    ],
)
def test_more_rows(points, verdict, words):
    found = learning_curve_verdict(points)
    assert found.verdict == verdict
    assert words in found.text
