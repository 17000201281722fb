"""A Model directory's ``model.onnx`` behind ONNX Runtime: what is evaluated is what is served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, verify_files

__all__ = ["OnnxModel", "model_directory"]

Tensors = Mapping[str, NDArray[Any]]

_ERRORS_ONLY = 3
_LOAD_ERRORS = (
    errors.Fail,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)


class OnnxModel:
    """A loaded model.

    Attributes:
        description: What ``model.json`` says; the files are the ones it names.
    """

    def __init__(self, directory: str | Path, threads: int = 0) -> None:
        """Loads a model.

        Args:
            directory: A Model directory.
            threads: Threads of one forward pass; 0 leaves it to ONNX Runtime.

        Raises:
            InputError: When the directory is no Model, or its files are not those that ``model.json`` names.
        """
        self.description = verify_files(directory)
        self._session = _session(Path(directory) / "model.onnx", threads)
        described = {tensor.name for tensor in self.description.inputs}
        actual = {node.name for node in self._session.get_inputs()}
        if described != actual:
            raise InputError(
                f"model.onnx at {directory} takes other inputs than {MODEL_FILE} says:"
                f" {', '.join(sorted(described ^ actual))}; export the model again"
            )

    def run(self, tensors: Tensors) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
        """Scores a batch.

        Args:
            tensors: One tensor per feature: float32 [N], object [N] holding ``str``, or float32 [N, size] for a vector.

        Returns:
            Scores, float32 [N, C], in the order of the label names, and the most likely labels, object [N] of ``str``.
        """
        scores, labels = self._session.run(["scores", "label"], dict(tensors))
        return scores, labels


def model_directory(path: str | Path) -> Path:
    """Returns the Model directory at ``path``, which is one or is a Release that holds one.

    Raises:
        InputError: When it is neither.
    """
    for candidate in (Path(path), Path(path) / "model"):
        if (candidate / MODEL_FILE).is_file():
            return candidate
    raise InputError(f"no model at {path}: neither {MODEL_FILE} nor model/{MODEL_FILE} is there")


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise InputError(f"ONNX Runtime cannot load {path}: {error}; export the model again") from error
