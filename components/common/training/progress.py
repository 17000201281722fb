"""How well each epoch did on the validation split, and which was the best."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from shipway.components.common.errors import InputError
from shipway.components.common.model import Epoch
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["Progress", "diverged", "log_loss", "roc_auc"]

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)


class Progress:
    """Judges each epoch on the validation split, tells which was the best and when to stop.

    The best has the highest ROC AUC (of equals, and where the split cannot define one, the lowest log loss), or the
    lowest log loss, as the hyperparameters say.

    Args:
        labels: int64 ``[rows]``: classes of the validation split.
        sample_labels: int64 ``[rows]``: classes of the sample of the training split.
        settings: How to train.
    """

    def __init__(self, labels: Array, sample_labels: Array, settings: Hyperparameters) -> None:
        self.history: list[Epoch] = []
        self._labels, self._sample_labels, self._settings = labels, sample_labels, settings

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far."""
        return max(self.history, key=lambda epoch: (self._rank(epoch), -epoch.epoch), default=None)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the best one is too long ago."""
        done, patience = len(self.history), self._settings.early_stopping_epochs
        stale = bool(patience and self.best and done - self.best.epoch >= patience)
        return done >= self._settings.epochs or stale

    def add(self, loss: float, scores: Array, sample_scores: Array) -> bool:
        """Adds an epoch; returns whether it is the best so far.

        Args:
            loss: Mean training loss of the epoch.
            scores: ``[rows, classes]``: probabilities of the validation rows.
            sample_scores: The same of the sample of the training rows.

        Raises:
            InputError: When a score is no number any more.
        """
        number = len(self.history) + 1
        if not np.isfinite(scores).all():
            raise diverged(number, loss)
        epoch = Epoch(
            number,
            loss,
            log_loss(self._labels, scores),
            roc_auc(self._labels, scores),
            log_loss(self._sample_labels, sample_scores),
            roc_auc(self._sample_labels, sample_scores),
        )
        self.history.append(epoch)
        better = self.best is epoch
        auc = "undefined" if epoch.validation_roc_auc is None else f"{epoch.validation_roc_auc:.6f}"
        logger.info(
            "epoch %d/%d: loss=%.6f training_loss=%.6f validation_loss=%.6f validation_roc_auc=%s%s",
            *(number, self._settings.epochs, loss, epoch.training_loss, epoch.validation_loss, auc),
            " (best)" if better else "",
        )
        return better

    def _rank(self, epoch: Epoch) -> tuple[float, float]:
        auc = epoch.validation_roc_auc or 0.0
        return (auc if self._settings.best_metric == "roc_auc" else 0.0, -epoch.validation_loss)


def diverged(epoch: int, loss: float, where: str = "", more: str = "") -> InputError:
    """Returns the error for a loss or a score that is no number any more."""
    advice = f"lower learning_rate and run again{more}"
    return InputError(f"training diverged in epoch {epoch}{where} (loss {loss}); {advice}")


def log_loss(labels: Array, scores: Array) -> float:
    """Returns the mean negative log of the probability given to the true class.

    Args:
        labels: int64 ``[rows]``: positions of the true classes.
        scores: ``[rows, classes]``: probabilities.
    """
    chosen = scores[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-15)).mean())


def roc_auc(labels: Array, scores: Array) -> float | None:
    """Returns the area under the ROC curve; for several classes the mean of one class against the rest.

    Classes that all rows have or none has are left out; None when no class is left.

    Args:
        labels: int64 ``[rows]``: positions of the true classes.
        scores: ``[rows, classes]``: probabilities.
    """
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [area for c in classes if (area := _binary_roc_auc(labels == c, scores[:, c])) is not None]
    return sum(areas) / len(areas) if areas else None


def _binary_roc_auc(positive: Array, scores: Array) -> float | None:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks = last - (sizes - 1) / 2  # equal scores share the mean of their ranks
    return float((ranks[group][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
