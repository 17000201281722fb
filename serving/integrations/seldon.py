"""A release for Seldon Core 2: the directory that MLServer reads, and the ``Model`` object that names it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from shipway.components.common.artifacts import new_directory, write_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import Tensor, verify_files
from shipway.serving.engines.engine import model_directory

__all__ = ["CAPABILITY", "model_yaml", "write_model_directory"]

CAPABILITY = "shipway"
"""What a Seldon ``Server`` must offer (``extraCapabilities``): MLServer with this project installed."""


def write_model_directory(release: str | Path, directory: str | Path, name: str = "") -> None:
    """Writes what MLServer serves by ``mlserver start``: ``model-settings.json``, and the model beside it.

    Args:
        release: A Model or Release directory.
        directory: Replaced when all is written; publish it where Seldon's rclone reads.
        name: Of the model in requests to MLServer; empty takes its own. Seldon puts the ``Model``'s in its place.

    Raises:
        InputError: When there is no model, or its files are not those that it names.
    """
    source = model_directory(release)
    description = verify_files(source)
    settings = {
        "name": name or description.name,
        "implementation": "shipway.serving.integrations.mlserver.ShipwayRuntime",
        "parameters": {"uri": "./model", "version": description.digest},
        "inputs": [_tensor(tensor) for tensor in description.inputs],
        "outputs": [_tensor(tensor) for tensor in description.outputs],
    }
    with new_directory(directory) as aside:
        shutil.copytree(source, aside / "model")
        write_json(aside / "model-settings.json", settings)


def model_yaml(name: str, uri: str, memory: str = "256Mi") -> str:
    """Returns the ``Model`` for ``kubectl apply -f -``.

    Args:
        name: Of the object, and of the model in requests.
        uri: Where :func:`write_model_directory`'s directory was published, as rclone names it.
        memory: What the model takes of its server's.

    Raises:
        InputError: When the URI is a directory of this machine.
    """
    if "://" not in uri or uri.startswith("file://"):
        raise InputError(f"Seldon does not see {uri}; publish the directory to s3:// or gs:// and give that URI")
    model = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "shipway"}},
        "spec": {"storageUri": uri, "requirements": [CAPABILITY], "memory": memory},
    }
    return yaml.safe_dump(model, sort_keys=False)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
