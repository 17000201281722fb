"""From a trained network to the Model directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from shipway.components.common.artifacts import new_directory, write_json
from shipway.components.common.model import Golden, ModelDescription, Tensor, write_golden, write_model
from shipway.components.common.preprocessing import FeatureKind, instance_tensors
from shipway.components.common.preprocessing.vectors import sized
from shipway.components.common.reports import html_page, training_curves
from shipway.components.common.reports.fit_charts import fit_curves
from shipway.components.common.training.data import TrainingData
from shipway.components.common.training.diagnosis import Diagnosis, diagnose
from shipway.components.common.training.progress import Progress
from shipway.components.common.training.request import TrainingRequest

__all__ = ["ENCODERS_FILE", "ONNX_FILE", "publish"]

ENCODERS_FILE = "encoders.json"
ONNX_FILE = "model.onnx"


def publish(
    request: TrainingRequest,
    framework: Literal["pytorch", "tensorflow"],
    data: TrainingData,
    progress: Progress,
    training: dict[str, Any],
    export: Callable[[Path], None],
) -> ModelDescription:
    """Writes the Model directory at once and the page with the training curves; returns what ``model.json`` says.

    Args:
        request: What was asked for.
        framework: The trainer's.
        data: What it was trained on.
        progress: How training went.
        training: What ``model.json``'s ``training`` says besides the hyperparameters.
        export: Writes ``model.onnx`` and the framework's own files into the directory it is given.
    """
    best = progress.best
    if best is None:
        raise ValueError("nothing was trained")
    verdict = diagnose(progress.history, data.class_shares, data.validation.rows, best.epoch)
    kinds = data.encoders.kinds
    description = ModelDescription(
        name=request.model_name,
        framework=framework,
        task="binary" if len(data.label_names) == 2 else "multiclass",
        label=data.label,
        label_names=data.label_names,
        inputs=tuple(_input(name, kind, data.encoders.sizes) for name, kind in kinds.items()),
        outputs=(Tensor("scores", "FP32", (-1, len(data.label_names))), Tensor("label", "BYTES")),
        digests=data.digests,
        metrics={"validation_roc_auc": best.validation_roc_auc, "validation_log_loss": best.validation_loss},
        history=tuple(progress.history),
        training={
            **asdict(request.hyperparameters),
            "network": request.network,
            **training,
            "rows": data.train.rows,
            "rows_per_step": request.hyperparameters.rows_per_step(data.train.rows),
            "best_epoch": best.epoch,
            "verdict": verdict.verdict,
        },
    )
    with new_directory(request.model) as directory:
        export(directory)
        write_json(directory / ENCODERS_FILE, data.encoders.to_json())
        write_golden(directory, _answered(directory / ONNX_FILE, data))
        description = write_model(directory, description)
    _write_curves(Path(request.curves), request.model_name, progress, verdict)
    return description


def _input(name: str, kind: FeatureKind, sizes: Mapping[str, int]) -> Tensor:
    return Tensor(name, "BYTES" if kind == "string" else "FP32", (-1, sizes[name]) if kind == "vector" else (-1,))


def _write_curves(path: Path, name: str, progress: Progress, verdict: Diagnosis) -> None:
    history = [asdict(epoch) for epoch in progress.history]
    fit = [fit_curves(history, progress.best.epoch if progress.best else 0), verdict.text]
    page = html_page(f"Training of {name}", [("Curves", training_curves(history)), ("Bias and variance", fit)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _answered(model: Path, data: TrainingData) -> Golden:
    """Asks the exported model, which is what is evaluated and served."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    tensors = instance_tensors(data.golden_instances, data.encoders.kinds)
    tensors |= {name: sized(tensors[name], size, name) for name, size in data.encoders.sizes.items()}
    scores, labels = session.run(["scores", "label"], tensors)
    return Golden(
        instances=data.golden_instances,
        scores=tuple(tuple(float(score) for score in row) for row in np.asarray(scores)),
        labels=tuple(str(label) for label in labels),
    )
