import numpy as np
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.training import Accelerator, Hyperparameters, Progress, log_loss, roc_auc


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


def test_the_best_epoch_has_the_highest_auc_then_the_lowest_loss():
    progress = Progress(np.asarray([0, 1, 1]), 4)
    assert progress.add(0.9, two([0.6, 0.5, 0.7]))
    assert progress.add(0.8, two([0.4, 0.5, 0.7]))
    assert progress.add(0.7, two([0.1, 0.9, 0.9]))
    assert not progress.add(0.6, two([0.2, 0.8, 0.8]))
    assert progress.best == progress.history[2]


def test_divergence_is_an_error():
    with pytest.raises(InputError, match="diverged in epoch 1"):
        Progress(np.asarray([0, 1]), 1).add(float("nan"), two([0.1, 0.9]))


def test_the_accelerator_says_why():
    assert Accelerator.choose("auto", 0) == Accelerator("cpu", 1, "no GPU is visible")
    assert Accelerator.choose("auto", 2) == Accelerator("gpu", 2, "2 visible")
    assert Accelerator.choose("cpu", 2) == Accelerator("cpu", 1, "asked for")
    with pytest.raises(InputError, match="no GPU is visible to this step"):
        Accelerator.choose("gpu", 0)
    with pytest.raises(InputError, match="must be auto, cpu or gpu"):
        Accelerator.choose("tpu", 0)


def test_hyperparameters_out_of_range_are_all_named():
    with pytest.raises(InputError, match="epochs must be at least 1; learning_rate must be above 0"):
        Hyperparameters(0, 10, 0.0, (4,), 0.1, 0)


def test_a_schedule_fits_any_number_of_rows():
    settings = Hyperparameters(3, 1024, 0.01, (4,), 0.1, 0)
    for rows, batch in ((5, 1), (240, 5), (100_000, 1024)):
        schedule = settings.schedule(rows)
        assert schedule.rows_per_step == batch
        assert (schedule.steps - 1) * batch < rows <= schedule.steps * batch
        assert len(schedule.learning_rates) == len(schedule.averaging_shares) == 3 * schedule.steps
        assert 0 <= schedule.learning_rates.min() < schedule.learning_rates.max() <= np.float32(0.01)
        assert schedule.averaging_shares[0] == 1
