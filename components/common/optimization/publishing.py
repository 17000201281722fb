"""From an optimized network to a Model directory, if it is good enough."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shipway.components.common.artifacts import new_directory
from shipway.components.common.errors import DataRejected
from shipway.components.common.model import (
    Digests,
    Golden,
    ModelDescription,
    read_golden,
    verify_files,
    write_golden,
    write_model,
)
from shipway.components.common.optimization.gate import Check, checks
from shipway.components.common.optimization.measurement import METRIC_ROWS, measured, session_of, sized_tensors
from shipway.components.common.optimization.report import report_page
from shipway.components.common.optimization.settings import OptimizationRequest
from shipway.components.common.preprocessing import instance_tensors
from shipway.components.common.training.publishing import ENCODERS_FILE, ONNX_FILE

__all__ = ["metrics_of", "publish_optimized"]

_ADVICE = {
    "pruning": "take a lower sparsity or more fine_tune_epochs, or allow more",
    "quantization": "keep the model as it is, or allow more",
}


def publish_optimized(
    request: OptimizationRequest,
    method: str,
    settings: Mapping[str, Any],
    make: Callable[[Path], None],
    digests: Digests | None = None,
) -> ModelDescription:
    """Measures the optimized model against its parent and writes its directory at once; returns ``model.json``.

    Args:
        request: What was asked for.
        method: ``pruning`` or ``quantization``.
        settings: How, as ``model.json`` tells it.
        make: Writes ``model.onnx``, and native exports where there are some, into the directory it is given.
        digests: What it was made from, where that is not what its parent was made from.

    Raises:
        InputError: When the parent is damaged or the Dataset does not fit it.
        DataRejected: When a metric gets worse than a bound allows; the report is written by then, and nothing else.
    """
    source = Path(request.parent)
    parent = verify_files(source)
    with new_directory(request.model) as directory:
        make(directory)
        shutil.copyfile(source / ENCODERS_FILE, directory / ENCODERS_FILE)
        before, after = measured([source / ONNX_FILE, directory / ONNX_FILE], parent, request.validation)
        record = {
            "method": method,
            "settings": dict(settings),
            "parent": parent.digest,
            "max_loss_of_roc_auc": request.max_loss_of_roc_auc,
            "max_rise_of_log_loss": request.max_rise_of_log_loss,
            "metric_rows_at_a_time": METRIC_ROWS,
            "before": asdict(before),
            "after": asdict(after),
        }
        found = checks(request, before, after)
        _write_report(Path(request.report), parent.name, record, found)
        if failed := [check.message for check in found if not check.passed]:
            raise DataRejected(
                f"{method} costs too much: {'; '.join(failed)}; no model is published; {_ADVICE[method]}"
            )
        write_golden(directory, _answered(directory / ONNX_FILE, read_golden(source), parent))
        description = replace(
            parent,
            digests=digests or parent.digests,
            metrics={**parent.metrics, "validation_roc_auc": after.roc_auc, "validation_log_loss": after.log_loss},
            training={**parent.training, "optimization": [*parent.training.get("optimization", []), record]},
        )
        return write_model(directory, description)


def metrics_of(description: ModelDescription) -> dict[str, float]:
    """Returns what an optimization's step shows: every number of its last one, before and after."""
    record = description.training["optimization"][-1]
    return {f"{name}_{when}": value for when in ("before", "after") for name, value in record[when].items()}


def _write_report(path: Path, name: str, record: Mapping[str, Any], found: Sequence[Check]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_page(name, record, found), encoding="utf-8")


def _answered(model: Path, golden: Golden, description: ModelDescription) -> Golden:
    """Answers the golden requests anew, and tells how far the answers are from those to one row at a time."""
    session = session_of(model)

    def scores(instances: tuple[dict[str, Any], ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        tensors = sized_tensors(instance_tensors(instances, description.kinds), description)
        found, labels = session.run(["scores", "label"], dict(tensors))
        return np.asarray(found), np.asarray(labels)

    together, labels = scores(golden.instances)
    alone = np.concatenate([scores((instance,))[0] for instance in golden.instances])
    return Golden(
        instances=golden.instances,
        scores=tuple(tuple(float(score) for score in row) for row in together),
        labels=tuple(str(label) for label in labels),
        tolerance=max(golden.tolerance, float(np.abs(together - alone).max())),
    )
