"""What a training goes on from after it was stopped."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shipway.components.common.model import Epoch

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
        best: The averaged weights of the best epoch.
        epoch: Epochs done.
        step: Steps of the current epoch done.
        loss: Sum of the losses of the current epoch's rows, on this process.
    """

    trained: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    best: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    loss: float = 0.0

    def keep_best(self) -> None:
        """Makes the averaged weights the best ones."""
        self.best = copy.deepcopy(self.averaged.state_dict())

    def document(self, history: list[Epoch]) -> dict[str, Any]:
        """Returns the state without what differs between processes."""
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

    def own(self) -> dict[str, Any]:
        """Returns what differs between processes: the generators' states, and the sum of the losses."""
        name, keys, *rest = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
            "python": random.getstate(),
            "loss": self.loss,
        }

    def restore(self, document: Mapping[str, Any], own: Mapping[str, Any]) -> list[Epoch]:
        """Takes up a saved state; returns the history."""
        self.trained.load_state_dict(document["trained"])
        self.averaged.load_state_dict(document["averaged"])
        self.optimizer.load_state_dict(document["optimizer"])
        if document["scaler"]:  # of a training in another precision there is none
            self.scaler.load_state_dict(document["scaler"])
        self.best, self.epoch, self.step = document["best"], document["epoch"], document["step"]
        self.loss = own["loss"]
        torch.set_rng_state(own["torch"])
        if own["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
        name, keys, *rest = own["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        random.setstate(_tuple(own["python"]))
        return [Epoch(**epoch) for epoch in document["history"]]


def read_state(directory: Path) -> dict[str, Any]:
    """Reads what :func:`write_state` wrote, tensors and plain values alone: nothing in it is run."""
    value: dict[str, Any] = torch.load(directory / FILE, map_location="cpu", weights_only=True)
    return value


def write_state(directory: Path, document: Mapping[str, Any], own: list[Any]) -> None:
    """Writes a state, of all processes, into a directory."""
    torch.save({"document": dict(document), "own": own}, directory / FILE)


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list | tuple) else value
