"""A Model directory's ``model.onnx`` behind ONNX Runtime: what is evaluated is what is served."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, ModelDescription, verify_files
from shipway.serving.engines.engine import Answer, Tensors, wants_cuda

__all__ = ["OnnxModel", "open_session"]

_ERRORS_ONLY = 3
_LOAD_ERRORS = (
    errors.Fail,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class OnnxModel:
    """A loaded model; an :class:`.engine.Engine`."""

    platform = "onnx_onnxruntime"

    def __init__(
        self,
        directory: str | Path,
        threads: int = 0,
        device: str = "cpu",
        description: ModelDescription | None = None,
    ) -> None:
        """Loads a model.

        Args:
            directory: A Model directory.
            threads: Threads of one forward pass; 0 leaves it to ONNX Runtime.
            device: One of :data:`.engine.DEVICES`.
            description: What ``verify_files`` said of the directory; None has it look.

        Raises:
            InputError: When the directory is no Model, its files are not those that ``model.json`` names, or there is
                no such device.
        """
        self.description = description or verify_files(directory)
        self._session = open_session(Path(directory) / "model.onnx", threads, device)
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


def open_session(model: Path | bytes, threads: int, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Returns a session of ONNX Runtime.

    Args:
        model: A file, or its bytes.
        threads: Threads of one forward pass; 0 leaves it to ONNX Runtime.
        device: One of :data:`.engine.DEVICES`.

    Raises:
        InputError: When ONNX Runtime cannot load it, or not for this device.
    """
    cuda = wants_cuda(device, _CUDA in onnxruntime.get_available_providers(), "ONNX Runtime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # With its own arena, memory grows to what the largest batch ever took, and stays so; without, a small model is as
    # fast. Threads that spin between two batches burn a CPU that others could use.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    name = "its model" if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=[_CUDA, _CPU] if cuda else [_CPU]
        )
    except _LOAD_ERRORS as error:
        raise InputError(f"ONNX Runtime cannot load {name}: {error}; export the model again") from error
    # Built for CUDA but without a driver, ONNX Runtime goes on with the CPU.
    wants_cuda(device, _CUDA in session.get_providers(), "ONNX Runtime")
    return session
