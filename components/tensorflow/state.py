"""What a training goes on from after it was stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shipway.components.common.errors import InputError
from shipway.components.common.model import Epoch
from shipway.components.tensorflow.optimizer import AdamW

__all__ = ["TrainingState", "packed", "unpacked"]

FILE = "state.npz"
_VALUES = "values.json"

Array = np.ndarray[Any, Any]


@dataclass
class TrainingState:
    """All that changes while training.

    Attributes:
        trained: The network that learns; the states of its random generators are among its variables.
        averaged: The same network with the average of its weights over the latest steps.
        optimizer: The optimizer.
        total: float64: sum of the losses of the current epoch's rows, of all processes.
        best: Values of the averaged network's variables after the best epoch.
        epoch: Epochs done.
        step: Steps of the current epoch done.
    """

    trained: keras.Model
    averaged: keras.Model
    optimizer: AdamW
    total: tf.Variable = field(default_factory=lambda: tf.Variable(0.0, trainable=False, dtype=tf.float64))
    best: list[Array] = field(default_factory=list)
    epoch: int = 0
    step: int = 0

    @property
    def loss(self) -> float:
        """The total; asking waits until all steps are done."""
        return float(self.total)

    def whole_loss(self) -> float:
        """Returns the total, which is all processes'."""
        return self.loss

    def take_over(self) -> None:
        """Copies to the averaged network what is not averaged: the statistics that a network gathers itself."""
        mine, theirs = self.averaged.non_trainable_variables, self.trained.non_trainable_variables
        _assign(mine, _values(theirs))

    def next_epoch(self) -> None:
        """Counts the epoch as done."""
        self.epoch, self.step = self.epoch + 1, 0
        self.total.assign(0.0)

    def keep_best(self) -> None:
        """Makes the averaged weights the best ones."""
        self.best = _values(self.averaged.variables)

    def give_best(self) -> None:
        """Leaves the averaged network with the best weights."""
        _assign(self.averaged.variables, self.best)

    def read(self, directory: Path) -> dict[str, Any]:
        """Reads what a writer wrote; nothing in it is run."""
        return _load(directory / FILE)

    def writer(self, history: Sequence[Epoch]) -> Callable[[Path], None]:
        """Returns what writes the state into a directory."""
        return lambda directory: _save(directory / FILE, self._document(history))

    def _document(self, history: Sequence[Epoch]) -> dict[str, Any]:
        return {
            "trained": _values(self.trained.variables),
            "averaged": _values(self.averaged.variables),
            "optimizer": _values(self.optimizer.variables),
            "best": self.best,
            "loss": self.loss,
            "epoch": self.epoch,
            "step": self.step,
            "history": [asdict(epoch) for epoch in history],
        }

    def restore(self, document: Mapping[str, Any]) -> list[Epoch]:
        """Takes up a saved state; returns the history.

        Raises:
            InputError: When the state is another network's.
        """
        _assign(self.trained.variables, document["trained"])
        _assign(self.averaged.variables, document["averaged"])
        _assign(self.optimizer.variables, document["optimizer"])
        self.best, self.epoch, self.step = document["best"], document["epoch"], document["step"]
        self.total.assign(document["loss"])
        return [Epoch(**epoch) for epoch in document["history"]]


def packed(document: Mapping[str, Any]) -> bytes:
    """Returns a document of JSON values and lists of arrays as bytes."""
    file = io.BytesIO()
    _save(file, document)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, Any]:
    """Returns the document that :func:`packed` took; nothing in it is run."""
    return _load(io.BytesIO(data))


def _save(file: Any, document: Mapping[str, Any]) -> None:
    lists = {name: value for name, value in document.items() if _is_arrays(value)}
    values = {name: value for name, value in document.items() if name not in lists}
    values["lengths"] = {name: len(arrays) for name, arrays in lists.items()}
    text = np.frombuffer(json.dumps(values).encode(), np.uint8)
    members = {f"{name}.{place}": array for name, arrays in lists.items() for place, array in enumerate(arrays)}
    np.savez(file, allow_pickle=False, **{_VALUES: text, **members})


def _load(file: Any) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as members:
        document: dict[str, Any] = json.loads(members[_VALUES].tobytes())
        for name, length in document.pop("lengths").items():
            document[name] = [members[f"{name}.{place}"] for place in range(length)]
    return document


def _is_arrays(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], np.ndarray | np.generic)


def _values(variables: Sequence[Any]) -> list[Array]:
    return [np.asarray(variable.numpy()) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise InputError(
            "the checkpoint is of a network with other weights: name another checkpoint_uri, or build the network as it"
            " was"
        )
    for variable, value in zip(variables, values, strict=True):
        # NumPy saves a datatype that it does not know, such as bfloat16, as plain bytes.
        known = value.view(variable.dtype) if value.dtype.kind == "V" else value
        variable.assign(known)
