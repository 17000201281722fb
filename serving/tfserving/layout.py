"""From a Model or Release to the directory that TensorFlow Serving reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from shipway.components.common.artifacts import file_digest, new_directory
from shipway.components.common.errors import DeploymentError, InputError, IntegrityError
from shipway.components.common.model import MODEL_FILE, Golden, ModelDescription, read_golden, verify_files
from shipway.components.common.preprocessing import Tensors, instance_tensors
from shipway.components.common.preprocessing.vectors import sized
from shipway.serving.engines.engine import model_directory
from shipway.serving.engines.savedmodel import SavedModel
from shipway.serving.tfserving.configuration import (
    BATCHING_FILE,
    BATCHING_PARAMETERS,
    MODELS_FILE,
    MONITORING_CONFIG,
    MONITORING_FILE,
    models_config,
)
from shipway.serving.tfserving.warmup import read_warmup, write_warmup

__all__ = ["create_layout"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SOURCE = "saved_model"
_SAVED_MODEL = "saved_model.pb"
_VERSION = 1
# Where the usual image has a directory mounted.
_MODELS = "/models"


def create_layout(source: str | Path, directory: str | Path, name: str = "") -> ModelDescription:
    """Writes ``<name>/1`` with the SavedModel and its warm-up requests, and the server's configuration beside it.

    What was written is loaded and answers its warm-up requests before it appears. The same Model gives the same bytes.

    Args:
        source: A Model or Release directory.
        directory: What to write; it appears when it is complete.
        name: The model's in the URLs; empty takes its own.

    Returns:
        What ``model.json`` says.

    Raises:
        InputError: When there is no Model, it has no SavedModel, its files are not those that it names, or the name
            is none for TensorFlow Serving.
        IntegrityError: When a file changed meanwhile.
        DeploymentError: When what was written does not answer as ``model.onnx`` did after training.
    """
    root = model_directory(source)
    description, golden = verify_files(root), read_golden(root)
    name = name or description.name
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for TensorFlow Serving: letters, digits, '.', '_', '-', at most 63")
    if f"{_SOURCE}/{_SAVED_MODEL}" not in description.files:
        raise InputError(
            f"the model {description.name} at {root} has no {_SOURCE}: it is one of {description.framework}, and"
            " quantized models have model.onnx only; deploy it with Shipway's own server"
        )
    with new_directory(directory) as aside:
        (aside / MODELS_FILE).write_text(models_config(name, f"{_MODELS}/{name}", _VERSION), encoding="utf-8")
        (aside / MONITORING_FILE).write_text(MONITORING_CONFIG, encoding="utf-8")
        (aside / BATCHING_FILE).write_text(BATCHING_PARAMETERS, encoding="utf-8")
        version = aside / name / str(_VERSION)
        version.mkdir(parents=True)
        write_warmup(version, name, _tensors(description, golden))
        _copy(root, version, description)
        _check(version, description, golden)
    return description


def _tensors(description: ModelDescription, golden: Golden) -> Tensors:
    tensors = instance_tensors(golden.instances, description.kinds)
    return tensors | {name: sized(tensors[name], size, name) for name, size in description.sizes.items()}


def _copy(root: Path, version: Path, description: ModelDescription) -> None:
    """Copies the SavedModel, ``saved_model.pb`` last: a server that sees the directory grow takes it for complete."""
    files = [file.removeprefix(f"{_SOURCE}/") for file in description.files if file.startswith(f"{_SOURCE}/")]
    for file in sorted(files, key=lambda file: (file == _SAVED_MODEL, file)):
        target = version / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / _SOURCE / file, target)
        if file_digest(target) != description.files[f"{_SOURCE}/{file}"]:
            raise IntegrityError(f"{_SOURCE}/{file} of {root} is not what {MODEL_FILE} names by now; try again")


def _check(version: Path, description: ModelDescription, golden: Golden) -> None:
    """Answers the warm-up requests as TensorFlow Serving would, by what was written."""
    model = SavedModel(version, description)
    for row, tensors in enumerate(read_warmup(version)):
        scores, labels = model.run(tensors)
        difference = float(np.abs(scores[0] - golden.scores[row]).max())
        # The comparison is this way round so that NaN fails.
        if not difference <= golden.tolerance or labels[0] != golden.labels[row]:
            raise DeploymentError(
                f"the SavedModel of {description.name} answers its golden request {row} otherwise than model.onnx: a"
                f" score differs by {difference:.2g}, {golden.tolerance:g} is allowed; train it again"
            )
