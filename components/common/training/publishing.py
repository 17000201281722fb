"""From a trained network to the Model directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from shipway.components.common.artifacts import new_directory, write_json
from shipway.components.common.model import Golden, ModelDescription, Tensor, write_golden, write_model
from shipway.components.common.preprocessing import instance_tensors
from shipway.components.common.reports import html_page, training_curves
from shipway.components.common.training.data import TrainingData
from shipway.components.common.training.progress import Progress

__all__ = ["ENCODERS_FILE", "ONNX_FILE", "publish"]

ENCODERS_FILE = "encoders.json"
ONNX_FILE = "model.onnx"


def publish(
    model: str | Path,
    curves: str | Path,
    name: str,
    framework: Literal["pytorch", "tensorflow"],
    data: TrainingData,
    progress: Progress,
    training: dict[str, Any],
    export: Callable[[Path], None],
) -> ModelDescription:
    """Writes the Model directory at once and the page with the training curves; returns what ``model.json`` says.

    Args:
        model: The Model directory to make.
        curves: The HTML file to write.
        name: The model's name.
        framework: The trainer's.
        data: What it was trained on.
        progress: How training went.
        training: What goes into ``model.json``'s ``training``.
        export: Writes ``model.onnx`` and the framework's own files into the directory it is given.
    """
    best = progress.best
    if best is None:
        raise ValueError("nothing was trained")
    description = ModelDescription(
        name=name,
        framework=framework,
        task="binary" if len(data.label_names) == 2 else "multiclass",
        label=data.label,
        label_names=data.label_names,
        inputs=tuple(Tensor(n, "BYTES" if kind == "string" else "FP32") for n, kind in data.encoders.kinds.items()),
        outputs=(Tensor("scores", "FP32", (-1, len(data.label_names))), Tensor("label", "BYTES")),
        digests=data.digests,
        metrics={"validation_roc_auc": best.validation_roc_auc, "validation_log_loss": best.validation_loss},
        history=tuple(progress.history),
        training={**training, "best_epoch": best.epoch},
    )
    with new_directory(model) as directory:
        export(directory)
        write_json(directory / ENCODERS_FILE, data.encoders.to_json())
        write_golden(directory, _answered(directory / ONNX_FILE, data))
        description = write_model(directory, description)
    page = html_page(f"Training of {name}", [("Curves", training_curves([asdict(e) for e in progress.history]))])
    Path(curves).parent.mkdir(parents=True, exist_ok=True)
    Path(curves).write_text(page, encoding="utf-8")
    return description


def _answered(model: Path, data: TrainingData) -> Golden:
    """Asks the exported model, which is what is evaluated and served."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    tensors = instance_tensors(data.golden_instances, data.encoders.kinds)
    scores, labels = session.run(["scores", "label"], tensors)
    return Golden(
        instances=data.golden_instances,
        scores=tuple(tuple(float(score) for score in row) for row in np.asarray(scores)),
        labels=tuple(str(label) for label in labels),
    )
