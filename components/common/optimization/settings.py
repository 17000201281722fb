"""What an optimization is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.components.common.errors import InputError

__all__ = ["OptimizationRequest", "PruningSettings"]


@dataclass(frozen=True)
class OptimizationRequest:
    """One optimization of one model.

    Attributes:
        parent: Model directory to start from; it stays as it is.
        validation: Dataset directory that the metrics are measured on.
        model: Model directory to make.
        report: HTML file to write, for a refused model too.
        max_loss_of_roc_auc: How far the ROC AUC may fall, 0 to 1.
        max_rise_of_log_loss: How far the log loss may rise, in nats, at least 0. Pruning can spoil the probabilities
            and leave their order, which is all that ROC AUC looks at.

    Raises:
        InputError: When a bound is out of range.
    """

    parent: str
    validation: str
    model: str
    report: str
    max_loss_of_roc_auc: float = 0.005
    max_rise_of_log_loss: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.max_loss_of_roc_auc <= 1:
            raise InputError(f"max_loss_of_roc_auc must be from 0 to 1, it is {self.max_loss_of_roc_auc}")
        if not self.max_rise_of_log_loss >= 0:
            raise InputError(f"max_rise_of_log_loss must be at least 0, it is {self.max_rise_of_log_loss}")


@dataclass(frozen=True)
class PruningSettings:
    """How to prune.

    Attributes:
        sparsity: Share of the weights in matrices and kernels to set to 0, above 0 and below 1.
        fine_tune_epochs: Passes over the training split with the weights that are left; 0 prunes and no more.
        learning_rate: The highest of the fine-tuning, above 0: well below that of a training, as the weights are good.
        seed: Of the order of the rows, from 0 to 2**32 - 1.

    Raises:
        InputError: When a value is out of range.
    """

    sparsity: float = 0.5
    fine_tune_epochs: int = 3
    learning_rate: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "sparsity must be above 0 and below 1": 0 < self.sparsity < 1,
            "fine_tune_epochs must be at least 0": self.fine_tune_epochs >= 0,
            "learning_rate must be above 0": self.learning_rate > 0,
            "seed must be from 0 to 2**32 - 1": 0 <= self.seed < 2**32,
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise InputError("; ".join(broken))
