"""What the next trial is to try, as a function of the seed and the trials so far alone, and which trials to end.

A study that was stopped and goes on therefore tries what it would have tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna

from shipway.components.common.tuning.search_space import SearchSpace
from shipway.components.common.tuning.settings import TuningSettings

__all__ = ["STUDY_NAME", "next_values", "pruner_of"]

STUDY_NAME = "tuning"
# Drawn at random before a model of the trials is made; Optuna's own 10 would be half of a usual study.
STARTUP_TRIALS = 8
# Trials that must be complete before others are compared with them, from the middle of their epochs on: earlier, while
# the learning rate is high, whoever learns fast with a low one looks better than he ends.
MEDIAN_OF_TRIALS = 5
REDUCTION_FACTOR = 3


def next_values(study: optuna.Study, settings: TuningSettings) -> dict[str, Any] | None:
    """Returns the next trial's values by name, as Optuna keeps them; None when there is nothing left to try."""
    if settings.sampler == "grid":
        return _next_point(study, settings)
    # Asked in a copy: the study itself gets a trial with all its values at once, or not at all.
    copy = optuna.create_study(direction=study.direction, sampler=_sampler(settings, len(study.trials)))
    copy.add_trials(study.trials)
    values: dict[str, Any] = copy.ask({p.name: p.distribution() for p in settings.space.parameters}).params
    return values


def pruner_of(settings: TuningSettings, epochs: int) -> optuna.pruners.BasePruner:
    """Returns what tells which trials to end early.

    Args:
        settings: How to tune.
        epochs: The most that a trial may have.
    """
    if settings.pruning == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_OF_TRIALS, n_warmup_steps=(epochs + 1) // 2)
    if settings.pruning == "hyperband":
        return optuna.pruners.HyperbandPruner(1, epochs, REDUCTION_FACTOR)
    return optuna.pruners.NopPruner()


def _sampler(settings: TuningSettings, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence((settings.seed, number)).generate_state(1)[0])
    if settings.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)
    if settings.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.RandomSampler(seed=seed)


def _next_point(study: optuna.Study, settings: TuningSettings) -> dict[str, Any] | None:
    tried = {_key(settings.space, trial.params) for trial in study.trials}
    names = [parameter.name for parameter in settings.space.parameters]
    points = list(itertools.product(*(parameter.points() for parameter in settings.space.parameters)))
    order = np.random.default_rng(settings.seed).permutation(len(points))
    left = (dict(zip(names, points[position], strict=True)) for position in order)
    return next((point for point in left if _key(settings.space, point) not in tried), None)


def _key(space: SearchSpace, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[parameter.name] for parameter in space.parameters)
