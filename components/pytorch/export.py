"""A trained network's native exports and the whole model's ONNX file: the same bytes for the same network.

Nothing that names this machine, this moment or this checkout is left in a file: no paths, no source lines.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from shipway.components.common.preprocessing import Encoders
from shipway.components.common.preprocessing.onnx_graph import OPSET, full_model

__all__ = ["export"]


class _Scores(nn.Module):
    """Probabilities in the place of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        return torch.softmax(self.network(numeric, categorical), dim=1)


def export(network: nn.Module, encoders: Encoders, label_names: Sequence[str], directory: Path) -> None:
    """Writes ``model.onnx`` (raw tensors in) and ``model.pt2`` and ``model.ts.pt`` (encoded tensors in).

    The native exports take ``numeric`` float32 ``[rows, width]`` and ``categorical`` int64 ``[rows, features]`` and
    give probabilities ``[rows, classes]``.
    """
    scores = _Scores(network).eval()
    example = (torch.zeros(2, encoders.numeric_width), torch.zeros(2, len(encoders.strings), dtype=torch.int64))
    with torch.no_grad(), _quiet():
        (directory / "model.ts.pt").write_bytes(_torchscript(scores, example))
        rows = {0: torch.export.Dim.DYNAMIC}
        program = torch.export.export(scores, example, dynamic_shapes=(rows, rows))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        torch.export.save(program, directory / "model.pt2")
        exported = torch.onnx.export(
            program, input_names=["numeric", "categorical"], opset_version=OPSET, dynamo=True, verbose=False
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned no program")
    onnx.save(full_model(encoders, exported.model_proto, label_names), directory / "model.onnx")


def _torchscript(scores: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """Returns a traced module without its debug records, which hold source paths."""
    saved, cleaned = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.trace(scores, example), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(cleaned, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith((".debug_pkl", "serialization_id")):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return cleaned.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporters say about packages that are not needed and about their own deprecations."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
