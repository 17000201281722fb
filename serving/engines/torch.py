"""A Model's native PyTorch export behind its preprocessing: ``model.pt2`` (torch.export) or ``model.ts.pt``.

The export takes encoded tensors and gives probabilities, so the preprocessing graph goes first, in ONNX Runtime.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription
from shipway.serving.engines.engine import Answer, Tensors, wants_cuda
from shipway.serving.engines.onnx import open_session

__all__ = ["TorchModel", "preprocessing_of"]

_COMPILED_CODE = "/data/aotinductor/"


class TorchModel:
    """A loaded model; an :class:`.engine.Engine`."""

    def __init__(
        self,
        export: Path,
        preprocessing: bytes,
        description: ModelDescription,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        """Loads an export, whose bytes are known to be those that ``model.json`` names.

        Args:
            export: ``model.pt2`` or ``model.ts.pt``.
            preprocessing: The ONNX graph that goes first; see :func:`preprocessing_of`.
            description: What ``model.json`` says.
            threads: Threads of one forward pass, of every model in this process; 0 leaves it to PyTorch.
            device: One of :data:`.engine.DEVICES`.

        Raises:
            InputError: When PyTorch cannot load it, or there is no such device.
        """
        self.description = description
        self._device = "cuda" if wants_cuda(device, torch.cuda.is_available(), "PyTorch") else "cpu"
        if threads:
            torch.set_num_threads(threads)
        is_program = export.suffix == ".pt2"
        self.platform = "pytorch_export" if is_program else "pytorch_torchscript"
        try:
            self._network: Any = _program(export, self._device) if is_program else _script(export, self._device)
        except Exception as error:  # there is hardly a class that PyTorch's loaders do not raise
            raise InputError(f"PyTorch {torch.__version__} cannot load {export}: {error}; export it again") from error
        self._preprocessing = open_session(preprocessing, threads)
        self._encoded = [output.name.removeprefix("preprocessing/") for output in self._preprocessing.get_outputs()]
        self._labels = np.array(description.label_names, object)

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch; see :meth:`.engine.Engine.run`."""
        encoded = dict(zip(self._encoded, self._preprocessing.run(None, dict(tensors)), strict=True))
        rows = len(next(iter(tensors.values())))
        # The preprocessing has no output without columns; the network takes one.
        numeric = encoded.get("numeric", np.zeros((rows, 0), np.float32))
        categorical = encoded.get("categorical", np.zeros((rows, 0), np.int64))
        with torch.inference_mode():
            inputs = [torch.from_numpy(values).to(self._device) for values in (numeric, categorical)]
            scores = self._network(*inputs).cpu().numpy()
        return scores, self._labels[scores.argmax(axis=1)]


def preprocessing_of(directory: Path) -> bytes:
    """Returns the ONNX graph that makes a Model's encoded tensors of raw ones.

    Raises:
        InputError: When its ``encoders.json`` is missing or malformed.
    """
    from shipway.components.common.preprocessing import Encoders
    from shipway.components.common.preprocessing.onnx_graph import preprocessing_model

    graph = preprocessing_model(Encoders.from_json(read_json(directory / "encoders.json")))
    return bytes(graph.SerializeToString())


def _program(path: Path, device: str) -> Any:
    from torch.export.passes import move_to_device_pass

    with zipfile.ZipFile(path) as archive:
        if any(_COMPILED_CODE in name for name in archive.namelist()):
            raise ValueError("it brings compiled code, which is not run")
    # Weights may be pickled in an archive, and PyTorch would run what they say; ours hold plain bytes.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    program = torch.export.load(path)
    return (program if device == "cpu" else move_to_device_pass(program, device)).module()


def _script(path: Path, device: str) -> Any:
    return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
