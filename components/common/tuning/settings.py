"""How to tune."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field

from shipway.components.common.errors import InputError
from shipway.components.common.tuning.search_space import DEFAULT_SPACE, SearchSpace

__all__ = ["TuningSettings"]

SAMPLERS = ("tpe", "gp", "random", "grid")
PRUNING = ("none", "median", "hyperband")
LARGEST_GRID = 100_000


def _default_space() -> SearchSpace:
    return SearchSpace.of(DEFAULT_SPACE)


@dataclass(frozen=True)
class TuningSettings:
    """How to tune.

    Attributes:
        space: What may be chosen.
        sampler: ``tpe`` (Bayesian, Parzen estimators over all parameters at once), ``gp`` (Bayesian, a Gaussian
            process; needs torch and SciPy), ``random``, or ``grid`` (every point of a space of finite many).
        pruning: Which trials end early: ``none``; ``median``: from the middle of its epochs on, one whose best epoch
            is worse than the median of the complete trials at the same epoch; ``hyperband``: one that is not in the
            best third at the first, third, ninth… epoch.
        trials: How many, the given hyperparameters first; failed and pruned ones count.
        timeout_seconds: When it has passed no more trials begin, the running ones end as they would; 0 for never.
        parallel_trials: How many train at the same time, each in a process of its own.
        seed: Of what is chosen; the trainings' own seed is a hyperparameter and the same for all.
        study_uri: What keeps the study, to be resumed: a directory, a ``pvc://`` URI, or a ``gs://`` or ``s3://`` URI,
            which gets a copy after each trial; "" for a directory of its own in this user's state directory.
        test: Dataset directory that no trial sees, to compare the best hyperparameters with the given ones; or "".
        learning_curve_fractions: Parts of the training rows, from 0 to below 1, that the best hyperparameters train on
            too, to see whether more rows help.

    Raises:
        InputError: When a value is out of range, or the sampler cannot run here.
    """

    space: SearchSpace = field(default_factory=_default_space)
    sampler: str = "tpe"
    pruning: str = "median"
    trials: int = 20
    timeout_seconds: float = 0.0
    parallel_trials: int = 1
    seed: int = 0
    study_uri: str = ""
    test: str = ""
    learning_curve_fractions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, value, choices in (("sampler", self.sampler, SAMPLERS), ("pruning", self.pruning, PRUNING)):
            if value not in choices:
                raise InputError(f"{name} is {value!r}, it must be one of {', '.join(choices)}")
        rules = {
            f"trials is {self.trials}, it must be at least 1": self.trials >= 1,
            f"timeout_seconds is {self.timeout_seconds}, below 0": self.timeout_seconds >= 0,
            f"parallel_trials is {self.parallel_trials}, it must be at least 1": self.parallel_trials >= 1,
            f"seed is {self.seed}, it must be from 0 to 2**32 - 1": 0 <= self.seed < 2**32,
            f"learning_curve_fractions are {self.learning_curve_fractions}, they must be above 0 and below 1": all(
                0 < fraction < 1 for fraction in self.learning_curve_fractions
            ),
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise InputError("; ".join(broken))
        if self.sampler == "gp" and (absent := [n for n in ("torch", "scipy") if not importlib.util.find_spec(n)]):
            raise InputError(
                f"the sampler gp needs {' and '.join(absent)}, which the environment lacks, as TensorFlow's does:"
                " take tpe, or tune with tune_pytorch"
            )
        if self.sampler == "grid":
            points = math.prod(len(parameter.points()) for parameter in self.space.parameters)
            if points > LARGEST_GRID:
                raise InputError(f"the grid has {points:,} points: take larger steps, or the sampler tpe or random")
