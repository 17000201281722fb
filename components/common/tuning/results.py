"""What a tuning found."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from shipway.components.common.model import ModelDescription
from shipway.components.common.training.settings import Hyperparameters
from shipway.components.common.tuning.comparison import Comparison
from shipway.components.common.tuning.learning_curve import LearningCurve
from shipway.components.common.tuning.records import Goal, Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["IMPORTANCE_METHOD", "TuningResult", "importances_of"]

# A quarter, and not the evaluator's own tenth, which would be two trials of twenty.
BEST_PART = 0.25
FEWEST_TRIALS = 10
IMPORTANCE_METHOD = (
    "PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): how much the values of the best quarter of the complete"
    " trials differ from those of all. Unlike fANOVA it fits no forest of trees to few trials."
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningResult:
    """What a tuning found.

    Attributes:
        goal: What trials were judged by.
        best: The best trial's hyperparameters, all of them.
        best_trial: Its number; 0 when the given hyperparameters were the best.
        description: What its model's ``model.json`` says.
        trials: All trials.
        importances: How much each hyperparameter mattered, in all 1, the largest first; empty when too few trials
            were complete.
        comparison: The best hyperparameters with the given ones on the ``test`` split; None without that split, or
            when the given ones failed.
        learning_curve: The best hyperparameters on fewer rows, when that was asked for.
    """

    goal: Goal
    best: Hyperparameters
    best_trial: int
    description: ModelDescription
    trials: tuple[Trial, ...]
    importances: dict[str, float]
    comparison: Comparison | None
    learning_curve: LearningCurve | None

    @property
    def best_json(self) -> dict[str, Any]:
        """The best hyperparameters as JSON, as ``Hyperparameters.of`` takes them."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self.best)))
        return values

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers for a run's overview."""
        states = [trial.state for trial in self.trials]
        numbers: dict[str, float | None] = {
            **self.description.metrics,
            "trials": len(states),
            "trials_pruned": states.count("pruned"),
            "trials_failed": states.count("failed"),
            "best_trial": self.best_trial,
            "training_seconds": sum(trial.seconds or 0.0 for trial in self.trials),
        }
        if given := self.comparison:
            numbers |= {
                "test_roc_auc": given.roc_auc,
                "test_roc_auc_of_given": given.other_roc_auc,
                "test_roc_auc_gain": given.difference,
                "test_roc_auc_gain_low": given.low,
                "test_roc_auc_gain_high": given.high,
            }
        return {name: float(value) for name, value in numbers.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the model's description as JSON."""
        curve = self.learning_curve
        return {
            "metric": f"validation_{self.goal.metric}",
            "direction": self.goal.direction,
            "best": self.best_json,
            "best_trial": self.best_trial,
            "trials": [asdict(trial) for trial in self.trials],
            "importances": self.importances,
            "importance_method": IMPORTANCE_METHOD,
            "test_comparison": self.comparison and self.comparison.to_json(),
            "learning_curve": curve
            and {
                "points": [asdict(point) for point in curve.points],
                "gain": curve.gain and curve.gain.to_json(),
                "verdict": curve.verdict,
            },
        }


def importances_of(study: optuna.Study, trials: Sequence[Trial]) -> dict[str, float]:
    """Returns how much each hyperparameter mattered, in all 1, the largest first; empty for too few trials."""
    import optuna

    if sum(trial.state == "complete" for trial in trials) < FEWEST_TRIALS:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_PART)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
