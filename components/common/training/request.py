"""One training as a document: what a component asks for, what a worker process is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import InputError
from shipway.components.common.training.networks import network_digest
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["TrainingRequest", "identity_digest"]


@dataclass(frozen=True)
class TrainingRequest:
    """What to train, on what, and where the results go.

    Attributes:
        train: Dataset directory to learn from.
        validation: Dataset directory that judges the epochs.
        model: Model directory to make.
        curves: HTML file to write.
        label: Name of the label's column.
        model_name: The model's name.
        network: ``mlp``, ``linear``, ``cnn`` or ``package.module:function``; see :mod:`.networks`.
        network_code: A Python file, or a directory of them, where ``network``'s module is; "" for an installed one.
        hyperparameters: How to train.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        devices: How many of them, 0 for all; on the CPU, processes.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        compiled: Whether to compile the step (``torch.compile``, XLA).
        checkpoint_uri: Directory of the checkpoints in any store; "" for this user's state directory.
        checkpoint_interval_seconds: How much work a kill may cost at most, beside the end of each epoch.
        tracking_uri: MLflow tracking server; "" for an SQLite file in this user's state directory, ``none`` for none.
    """

    train: str
    validation: str
    model: str
    curves: str
    label: str
    model_name: str = "model"
    network: str = "mlp"
    network_code: str = ""
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    accelerator: str = "auto"
    devices: int = 0
    precision: str = "auto"
    compiled: bool = False
    checkpoint_uri: str = ""
    checkpoint_interval_seconds: float = 300.0
    tracking_uri: str = ""

    def __post_init__(self) -> None:
        if self.devices < 0:
            raise InputError(f"devices is {self.devices}, it must be at least 0")
        if self.checkpoint_interval_seconds < 0:
            raise InputError(f"checkpoint_interval_seconds is {self.checkpoint_interval_seconds}, below 0")

    def identity(self, framework: str) -> dict[str, Any]:
        """Returns what makes this training the one it is, wherever it runs: data, network and hyperparameters."""
        return {
            "framework": framework,
            "label": self.label,
            "network": network_digest(self.network, self.network_code),
            "data": directory_digest(self.train),
            "validation_data": directory_digest(self.validation),
            **json.loads(json.dumps(asdict(self.hyperparameters))),
        }

    def to_json(self) -> str:
        """Returns the request as a JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainingRequest:
        """Returns the request that :meth:`to_json` gave.

        Raises:
            InputError: When ``text`` is no request.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InputError(f"no training request: {error}") from error
        names = {member.name for member in fields(cls)}
        if not isinstance(value, Mapping) or not value.keys() <= names:
            raise InputError(f"no training request; it must be an object with {', '.join(sorted(names))}")
        members: dict[str, Any] = {**value, "hyperparameters": Hyperparameters.of(value.get("hyperparameters", {}))}
        try:
            return cls(**members)
        except TypeError as error:
            raise InputError(f"no training request: {error}") from error


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a training's identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
