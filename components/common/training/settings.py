"""How to train: the hyperparameters, and what follows from them step by step."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from shipway.components.common.errors import InputError

__all__ = ["WORD_DROPOUT", "Hyperparameters", "Schedule", "embedding_size"]

FEWEST_STEPS_OF_AN_EPOCH = 48
AVERAGED_PART = 0.1
WARM_UP = 0.1
WORD_DROPOUT = 0.02

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Hyperparameters:
    """How to train; see the train components for the meaning.

    Attributes:
        parameters: What only the network knows about: values by name, as its builder finds them in its spec.

    Raises:
        InputError: When a value is out of range.
    """

    epochs: int = 5
    batch_size: int = 2048
    learning_rate: float = 0.005
    hidden_units: tuple[int, ...] = (128, 64)
    dropout: float = 0.2
    weight_decay: float = 0.01
    seed: int = 0
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    best_metric: Literal["roc_auc", "log_loss"] = "roc_auc"
    early_stopping_epochs: int = 0
    image_shape: tuple[int, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choices = {name: typing.get_args(kind) for name, kind in _TYPES.items() if typing.get_origin(kind) is Literal}
        rules = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "hidden_units must all be at least 1": all(units >= 1 for units in self.hidden_units),
            "dropout must be at least 0 and below 1": 0 <= self.dropout < 1,
            "weight_decay must be at least 0": self.weight_decay >= 0,
            "seed must be from 0 to 2**32 - 1": 0 <= self.seed < 2**32,
            "focal_gamma must be at least 0": self.focal_gamma >= 0,
            "early_stopping_epochs must be at least 0": self.early_stopping_epochs >= 0,
            "image_shape must be empty or height, width and channels": len(self.image_shape) in (0, 3)
            and all(size >= 1 for size in self.image_shape),
            **{f"{name} must be one of {', '.join(c)}": getattr(self, name) in c for name, c in choices.items()},
        }
        if broken := [f"{rule}, not {getattr(self, rule.split()[0])!r}" for rule, kept in rules.items() if not kept]:
            raise InputError("; ".join(broken))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """Returns hyperparameters from values by name, as JSON or a pipeline gives them: ``128.0`` may mean 128.

        Names that are no field's go to :attr:`parameters`; there too a whole number is an ``int``.

        Raises:
            InputError: When a value has the wrong type or is out of range.
        """
        known = {name: _typed(name, value) for name, value in values.items() if name in _TYPES}
        more = {name: value for name, value in values.items() if name not in _TYPES}
        return cls(**{**known, "parameters": _whole({**known.get("parameters", {}), **more})})

    def rows_per_step(self, rows: int) -> int:
        """Returns the batch size for a training split: smaller than ``batch_size`` where that leaves few steps."""
        return max(1, min(self.batch_size, rows // FEWEST_STEPS_OF_AN_EPOCH))

    def schedule(self, rows: int) -> Schedule:
        """Returns the schedule for a training split of so many rows."""
        rows_per_step = self.rows_per_step(rows)
        steps = -(-rows // rows_per_step)
        done = np.arange(self.epochs * steps) / (self.epochs * steps)
        rate = np.where(done < WARM_UP, done / WARM_UP, (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2)
        share = 1 / (1 + AVERAGED_PART * np.arange(len(done)))
        return Schedule(rows_per_step, steps, (self.learning_rate * rate).astype(np.float32), share.astype(np.float32))


@dataclass(frozen=True)
class Schedule:
    """What changes from step to step, the same for every framework.

    Attributes:
        rows_per_step: Rows of a batch; the last of an epoch may be smaller.
        steps: Steps of an epoch.
        learning_rates: float32, one per step of the whole training: rises in its first tenth, then falls to 0.
        averaging_shares: float32, one per step: how far the averaged weights move towards the trained ones, so that the
            average is over about the latest tenth of all steps so far.
    """

    rows_per_step: int
    steps: int
    learning_rates: Array
    averaging_shares: Array


def embedding_size(cardinality: int) -> int:
    """Returns how many numbers stand for one of ``cardinality`` values of a string feature."""
    return min(16, (cardinality + 1) // 2)


_TYPES = typing.get_type_hints(Hyperparameters)


def _typed(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if kind is int and _is_whole(value):
        return int(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple) and all(map(_is_whole, value)):
        return tuple(map(int, value))
    if typing.get_origin(kind) is Literal and isinstance(value, str):
        return value
    if name == "parameters" and isinstance(value, Mapping):
        return dict(value)
    raise InputError(f"the hyperparameter {name} takes {_wanted(kind)}, not {value!r}")


def _wanted(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    return {int: "a whole number", float: "a number", tuple[int, ...]: "a list of whole numbers"}.get(kind, "an object")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _whole(value: Any) -> Any:
    """Returns JSON values with ints for whole numbers."""
    if isinstance(value, Mapping):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
