import numpy as np
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.training import Hyperparameters, Progress, log_loss, roc_auc


def two(scores):
    positive = np.asarray(scores, np.float32)
    return np.stack([1 - positive, positive], axis=1)


def test_roc_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 8, 60) / 8
    pairs = [(s, t) for s, a in zip(scores, labels, strict=True) for t, b in zip(scores, labels, strict=True) if a > b]
    expected = np.mean([(s > t) + (s == t) / 2 for s, t in pairs])
    assert roc_auc(labels, two(scores)) == pytest.approx(expected)


def test_roc_auc_of_several_classes_leaves_out_what_is_not_there():
    scores = np.asarray([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert roc_auc(np.asarray([0, 1, 1]), scores) == pytest.approx(1.0)
    assert roc_auc(np.asarray([1, 1, 1]), scores) is None


def test_log_loss_of_a_sure_mistake_is_finite():
    assert log_loss(np.asarray([0, 1]), two([0.5, 0.0])) == pytest.approx((np.log(2) - np.log(1e-15)) / 2)


SAMPLE = np.asarray([0, 1])
SAMPLE_SCORES = two([0.2, 0.8])


def progress(labels, **settings):
    return Progress(np.asarray(labels), SAMPLE, Hyperparameters(**settings))


def test_the_best_epoch_has_the_highest_auc_then_the_lowest_loss():
    judged = progress([0, 1, 1], epochs=4)
    assert judged.add(0.9, two([0.6, 0.5, 0.7]), SAMPLE_SCORES)
    assert judged.add(0.8, two([0.4, 0.5, 0.7]), SAMPLE_SCORES)
    assert judged.add(0.7, two([0.1, 0.9, 0.9]), SAMPLE_SCORES)
    assert not judged.add(0.6, two([0.2, 0.8, 0.8]), SAMPLE_SCORES)
    assert judged.best == judged.history[2]
    assert judged.finished
    assert judged.best.training_roc_auc == 1.0
    assert judged.best.training_loss == pytest.approx(-np.log(0.8))


def test_the_best_epoch_by_log_loss_may_be_another():
    judged = progress([0, 1, 1], best_metric="log_loss")
    assert judged.add(0.9, two([0.4, 0.6, 0.6]), SAMPLE_SCORES)
    assert not judged.add(0.8, two([0.5, 0.51, 0.51]), SAMPLE_SCORES)
    assert judged.best == judged.history[0]


def test_it_stops_early_when_the_best_is_too_long_ago():
    judged = progress([0, 1], epochs=10, early_stopping_epochs=2)
    judged.add(0.9, two([0.4, 0.6]), SAMPLE_SCORES)
    judged.add(0.8, two([0.6, 0.4]), SAMPLE_SCORES)
    assert not judged.finished
    judged.add(0.8, two([0.6, 0.4]), SAMPLE_SCORES)
    assert judged.finished


def test_divergence_is_an_error():
    with pytest.raises(InputError, match="diverged in epoch 1"):
        progress([0, 1]).add(float("nan"), two([0.1, float("nan")]), SAMPLE_SCORES)
