"""A network's native export behind its preprocessing: what TorchServe's worker runs.

The files are those of an archive: ``model.json``, ``golden.json``, ``preprocessing.onnx``, and ``model.pt2`` or
``model.ts.pt``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch.export.passes import move_to_device_pass

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.serving.engines.engine import Answer, Tensors

__all__ = ["PREPROCESSING_FILE", "NativeModel"]

PREPROCESSING_FILE = "preprocessing.onnx"
_ERRORS_ONLY = 3

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class NativeModel:
    """A loaded model; an :class:`.engine.Engine`."""

    platform = "pytorch_torchserve"

    def __init__(self, directory: str | Path, device: str = "cpu") -> None:
        """Loads the native export, once its bytes are known to be those that ``model.json`` names.

        Args:
            directory: Where an archive's files are.
            device: As PyTorch names it.

        Raises:
            InputError: When there is none, or it is another one.
        """
        root = Path(directory)
        self.description = read_model(root)
        self._network, self._device = _network(_verified(root, self.description.files), device), device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._preprocessing = onnxruntime.InferenceSession(
            str(root / PREPROCESSING_FILE), options, providers=["CPUExecutionProvider"]
        )
        self._encoded = [output.name.removeprefix("preprocessing/") for output in self._preprocessing.get_outputs()]
        self._labels = np.array(self.description.label_names, object)

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


def _verified(root: Path, digests: dict[str, str]) -> Path:
    for path in (root / "model.pt2", root / "model.ts.pt"):
        if path.is_file():
            if file_digest(path) != digests.get(path.name):
                raise InputError(f"{path} is not the file that {root / 'model.json'} names; make the archive again")
            return path
    raise InputError(f"{root} holds neither model.pt2 nor model.ts.pt; make the archive again")


def _network(path: Path, device: str) -> Network:
    if path.suffix == ".pt2":
        module: Any = move_to_device_pass(torch.export.load(path), device).module()
    else:
        module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    return module  # type: ignore[no-any-return]
