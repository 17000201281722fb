"""A Model directory's ``model.onnx`` behind ONNX Runtime: what is evaluated is what is served."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, verify_files
from shipway.serving.engines.engine import Answer, Tensors

__all__ = ["OnnxModel"]

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
        platform: As the v2 protocol names it.
    """

    platform = "onnx_onnxruntime"

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

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch; see :meth:`.engine.Engine.run`."""
        scores, labels = self._session.run(["scores", "label"], dict(tensors))
        return scores, labels


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise InputError(f"ONNX Runtime cannot load {path}: {error}; export the model again") from error
