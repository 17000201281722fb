"""How well each epoch did on the validation split, and which was the best."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from shipway.components.common.errors import InputError
from shipway.components.common.model import Epoch

__all__ = ["Progress", "log_loss", "roc_auc"]

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)


class Progress:
    """Judges each epoch on the validation split and tells which was the best.

    The best has the highest ROC AUC; of equals, and where the split cannot define one, the lowest log loss.
    """

    def __init__(self, labels: Array, epochs: int) -> None:
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self._labels, self._epochs = labels, epochs

    def add(self, loss: float, scores: Array) -> bool:
        """Adds an epoch; returns whether it is the best so far.

        Args:
            loss: Mean training loss of the epoch.
            scores: ``[rows, classes]``: probabilities of the validation rows.

        Raises:
            InputError: When the loss is no number any more.
        """
        if not math.isfinite(loss) or not np.isfinite(scores).all():
            raise InputError(
                f"training diverged in epoch {len(self.history) + 1} (loss {loss}): lower learning_rate and run again"
            )
        epoch = Epoch(len(self.history) + 1, loss, log_loss(self._labels, scores), roc_auc(self._labels, scores))
        self.history.append(epoch)
        better = self.best is None or self._rank(epoch) > self._rank(self.best)
        if better:
            self.best = epoch
        auc = "undefined" if epoch.validation_roc_auc is None else f"{epoch.validation_roc_auc:.4f}"
        logger.info(
            "epoch %d/%d: loss %.4f, validation log loss %.4f, validation ROC AUC %s%s",
            *(epoch.epoch, self._epochs, loss, epoch.validation_loss, auc, " (best)" if better else ""),
        )
        return better

    @staticmethod
    def _rank(epoch: Epoch) -> tuple[float, float]:
        return (epoch.validation_roc_auc or 0.0, -epoch.validation_loss)


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
