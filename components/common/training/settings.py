"""What a training is asked to do, and what it runs on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from shipway.components.common.errors import InputError

__all__ = ["WEIGHT_DECAY", "WORD_DROPOUT", "Accelerator", "Hyperparameters", "Schedule", "embedding_size"]

FEWEST_STEPS_OF_AN_EPOCH = 48
AVERAGED_PART = 0.1
WARM_UP = 0.1
WEIGHT_DECAY = 0.01
WORD_DROPOUT = 0.02

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Hyperparameters:
    """How to train; see the train components for the meaning.

    Raises:
        InputError: When a value is out of range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    hidden_units: tuple[int, ...]
    dropout: float
    seed: int

    def __post_init__(self) -> None:
        rules = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "hidden_units must all be at least 1": all(units >= 1 for units in self.hidden_units),
            "dropout must be at least 0 and below 1": 0 <= self.dropout < 1,
            "seed must be from 0 to 2**32 - 1": 0 <= self.seed < 2**32,
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise InputError(f"{'; '.join(broken)} ({self})")

    def rows_per_step(self, rows: int) -> int:
        """Returns the batch size for a training split: smaller than ``batch_size`` where that leaves few steps."""
        return max(1, min(self.batch_size, rows // FEWEST_STEPS_OF_AN_EPOCH))

    def record(self, rows: int, accelerator: Accelerator, seconds: float) -> dict[str, Any]:
        """Returns what ``model.json`` keeps of a training."""
        return {
            **asdict(self),
            "rows": rows,
            "rows_per_step": self.rows_per_step(rows),
            "accelerator": accelerator.name,
            "accelerator_reason": accelerator.reason,
            "devices": accelerator.devices,
            "seconds": round(seconds, 3),
        }

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


@dataclass(frozen=True)
class Accelerator:
    """What training runs on.

    Attributes:
        name: ``cpu`` or ``gpu``.
        devices: How many.
        reason: Why this one.
    """

    name: Literal["cpu", "gpu"]
    devices: int
    reason: str

    @classmethod
    def choose(cls, wanted: str, gpus: int) -> Accelerator:
        """Returns the accelerator for ``auto``, ``cpu`` or ``gpu`` on a machine where so many GPUs are visible.

        Raises:
            InputError: When ``wanted`` is unknown, or a GPU and none is visible.
        """
        if wanted not in ("auto", "cpu", "gpu"):
            raise InputError(f"accelerator is {wanted!r}, it must be auto, cpu or gpu")
        if wanted == "gpu" and not gpus:
            raise InputError(
                "accelerator='gpu', but no GPU is visible to this step; check the driver, the framework's build and"
                " CUDA_VISIBLE_DEVICES, or use accelerator='auto'"
            )
        if wanted == "cpu":
            return cls("cpu", 1, "asked for")
        if gpus:
            return cls("gpu", gpus, "asked for" if wanted == "gpu" else f"{gpus} visible")
        return cls("cpu", 1, "no GPU is visible")
