"""What a training goes on from after it was stopped."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shipway.components.common.model import Epoch
from shipway.components.pytorch.world import World

__all__ = ["TrainingState"]

FILE = "state.pt"


@dataclass
class TrainingState:
    """All that changes while training.

    Attributes:
        trained: The network that learns.
        averaged: The average of its weights over the latest steps.
        optimizer: The optimizer.
        scaler: The scaler of the loss, for fp16.
        world: This process among those that train together.
        total: float64: sum of the losses of the current epoch's rows, on this process.
        best: The averaged weights of the best epoch.
        epoch: Epochs done.
        step: Steps of the current epoch done.
    """

    trained: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    world: World
    total: Tensor
    best: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0

    @property
    def loss(self) -> float:
        """The total; asking waits until all steps are done."""
        return float(self.total)

    def whole_loss(self) -> float:
        """Returns the total of all processes; all must call it at the same step."""
        return self.world.total(self.loss)

    @torch.no_grad()
    def take_over(self) -> None:
        """Copies to the averaged network what is not averaged: the statistics that a network gathers itself."""
        for mine, theirs in zip(self.averaged.buffers(), self.trained.buffers(), strict=True):
            mine.copy_(theirs)

    def next_epoch(self) -> None:
        """Counts the epoch as done."""
        self.epoch, self.step = self.epoch + 1, 0
        self.total.zero_()

    def keep_best(self) -> None:
        """Makes the averaged weights the best ones."""
        self.best = copy.deepcopy(self.averaged.state_dict())

    def read(self, directory: Path) -> dict[str, Any]:
        """Reads what a writer wrote, tensors and plain values alone: nothing in it is run."""
        value: dict[str, Any] = torch.load(directory / FILE, map_location="cpu", weights_only=True)
        return value

    def writer(self, history: Sequence[Epoch]) -> Callable[[Path], None]:
        """Returns what writes the state into a directory; all processes must call it at the same step."""
        own = self.world.all_of(self._own())
        return lambda directory: torch.save({**self._shared(history), "own": own}, directory / FILE)

    def _shared(self, history: Sequence[Epoch]) -> dict[str, Any]:
        return {
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "epoch": self.epoch,
            "step": self.step,
            "history": [asdict(epoch) for epoch in history],
        }

    def _own(self) -> dict[str, Any]:
        """Returns what differs between processes: the generators' states, and the sum of the losses."""
        name, keys, *rest = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
            "python": random.getstate(),
            "loss": self.loss,
        }

    def restore(self, document: Mapping[str, Any]) -> list[Epoch]:
        """Takes up a state that was read, of as many processes as there are now or of others; returns the history."""
        all_own = document["own"]
        own = all_own[self.world.rank % len(all_own)]
        self.trained.load_state_dict(document["trained"])
        self.averaged.load_state_dict(document["averaged"])
        self.optimizer.load_state_dict(document["optimizer"])
        if document["scaler"]:  # of a training in another precision there is none
            self.scaler.load_state_dict(document["scaler"])
        self.best, self.epoch, self.step = document["best"], document["epoch"], document["step"]
        if len(all_own) == self.world.size:
            self.total.fill_(own["loss"])
        elif self.world.rank == 0:
            self.total.fill_(sum(each["loss"] for each in all_own))
        torch.set_rng_state(own["torch"])
        if own["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
        name, keys, *rest = own["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        random.setstate(_tuple(own["python"]))
        return [Epoch(**epoch) for epoch in document["history"]]


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list | tuple) else value
