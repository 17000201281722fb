"""What every engine is, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, ModelDescription

__all__ = ["DEVICES", "Answer", "Engine", "Tensors", "Unavailable", "model_directory", "wants_cuda"]

Tensors = Mapping[str, NDArray[Any]]
Answer = tuple[NDArray[np.float32], NDArray[np.object_]]

DEVICES = ("auto", "cpu", "cuda")
"""Where an engine can run; ``auto`` is a GPU where there is one."""


class Unavailable(Exception):
    """What the model runs in does not answer now, and may again."""


class Engine(Protocol):
    """A loaded model.

    Attributes:
        description: What ``model.json`` says; the files are the ones it names.
        platform: As the v2 protocol names it, ``onnx_onnxruntime`` for instance.
    """

    description: ModelDescription
    platform: str

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch.

        Args:
            tensors: One tensor per feature: float32 [N], object [N] holding ``str``, or float32 [N, size] for a vector.

        Returns:
            Scores, float32 [N, C], in the order of the label names, and the most likely labels, object [N] of ``str``.

        Raises:
            Unavailable: When the model runs elsewhere and cannot be reached.
        """


def model_directory(path: str | Path) -> Path:
    """Returns the Model directory at ``path``, which is one or is a Release that holds one.

    Raises:
        InputError: When it is neither.
    """
    for candidate in (Path(path), Path(path) / "model"):
        if (candidate / MODEL_FILE).is_file():
            return candidate
    raise InputError(f"no model at {path}: neither {MODEL_FILE} nor model/{MODEL_FILE} is there")


def wants_cuda(device: str, there: bool, library: str) -> bool:
    """Returns whether an engine is to run on a GPU.

    Args:
        device: One of :data:`DEVICES`.
        there: Whether its library sees one.
        library: What the library is called.

    Raises:
        InputError: When there is no such device.
    """
    if device not in DEVICES:
        raise InputError(f"there is no device {device!r}; it can be {', '.join(DEVICES)}")
    if device == "cuda" and not there:
        raise InputError(
            f"the device cuda was asked for, but this {library} sees no GPU: install its build for CUDA and the"
            " driver, or ask for cpu or auto"
        )
    return there and device != "cpu"
