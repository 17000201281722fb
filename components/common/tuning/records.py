"""What is known of a trial, and what is wanted of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shipway.components.common.errors import InputError
from shipway.components.common.model import Epoch, ModelDescription
from shipway.components.common.training.blame import is_out_of_memory
from shipway.components.common.training.request import TrainingRequest

__all__ = ["Goal", "OnEpoch", "Outcome", "State", "Train", "Trial", "attempt"]

OnEpoch = Callable[[Epoch], bool]
# Tells an epoch before it saves it: what is saved and was not told would be missing from the study.
Train = Callable[[TrainingRequest, OnEpoch | None], ModelDescription]
State = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True)
class Goal:
    """What trials are judged by, on the validation split.

    Attributes:
        metric: ``roc_auc``, the higher the better, or ``log_loss``, the lower the better.
    """

    metric: Literal["roc_auc", "log_loss"]

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.metric == "roc_auc" else "minimize"

    @property
    def words(self) -> str:
        """The metric for people."""
        return "ROC AUC" if self.metric == "roc_auc" else "log loss"

    def of_epoch(self, epoch: Epoch) -> float:
        """Returns an epoch's value.

        Raises:
            InputError: When the validation split has one class, which defines no ROC AUC.
        """
        return self._known(epoch.validation_roc_auc if self.metric == "roc_auc" else epoch.validation_loss)

    def of_metrics(self, metrics: Mapping[str, float | None]) -> float:
        """Returns the value of a model with these metrics.

        Raises:
            InputError: As :meth:`of_epoch`.
        """
        return self._known(metrics.get(f"validation_{self.metric}"))

    def better(self, value: float, other: float) -> bool:
        """Returns whether a value is better than another."""
        return value > other if self.metric == "roc_auc" else value < other

    def _known(self, value: float | None) -> float:
        if value is None:
            raise InputError(
                f"the validation split does not define the {self.words}, by which trials are judged: give one with"
                " rows of every class, or set best_metric to log_loss"
            )
        return value


@dataclass(frozen=True)
class Trial:
    """One trial of a study.

    Attributes:
        number: From 0; trial 0 has the given hyperparameters.
        state: ``complete``, ``pruned`` (stopped early), ``failed`` or ``running``.
        values: The hyperparameters that were chosen, by name.
        value: What it is judged by: of its best epoch, when it is complete.
        curve: Epoch and value, as far as it came.
        seconds: How long it trained, since its last start.
        error: Why it failed.
    """

    number: int
    state: State
    values: dict[str, Any]
    value: float | None
    curve: tuple[tuple[int, float], ...]
    seconds: float | None
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a training ended: with metrics, with an error that is the trial's, or with neither, where it was pruned."""

    seconds: float
    metrics: Mapping[str, float | None]
    error: str = ""


class _PrunedError(Exception):
    """Leaves a training whose model nobody wants, before it is exported."""


def attempt(train: Train, request: TrainingRequest, on_epoch: OnEpoch | None) -> Outcome:
    """Trains; what may be the hyperparameters' fault, as divergence and lack of memory, is an outcome and no error.

    Where ``on_epoch`` says to stop, no model is made.
    """

    def judged(epoch: Epoch) -> bool:
        if on_epoch and on_epoch(epoch):
            raise _PrunedError
        return False

    started = time.monotonic()
    try:
        description = train(request, judged)
    except _PrunedError:
        return Outcome(time.monotonic() - started, {})
    except InputError as error:
        return Outcome(time.monotonic() - started, {}, str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        words = f"out of memory: {error}; a lower batch_size or fewer hidden_units need less"
        return Outcome(time.monotonic() - started, {}, words)
    return Outcome(time.monotonic() - started, description.metrics)
