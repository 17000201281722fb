"""Where TorchServe's archive is: in KServe's layout, or made from a Model or Release directory."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from shipway.components.common.errors import InputError
from shipway.components.common.model import (
    GOLDEN_FILE,
    MODEL_FILE,
    Golden,
    ModelDescription,
    read_golden,
    read_model,
)
from shipway.serving.engines.engine import model_directory
from shipway.serving.torchserve.archive import HANDLER, create_archive

__all__ = ["Archive", "find_archive"]


@dataclass(frozen=True)
class Archive:
    """An archive.

    Attributes:
        path: ``<name>.mar``.
        name: The model's in TorchServe.
        description: What ``model.json`` says.
        golden: What ``golden.json`` says.
    """

    path: Path
    name: str
    description: ModelDescription
    golden: Golden


def find_archive(directory: str | Path, workspace: Path, model_format: str) -> Archive:
    """Returns the archive in ``<directory>/model-store``, or one made from the Model that is there.

    Args:
        directory: KServe's layout, or a Model or Release directory.
        workspace: Where one is made.
        model_format: Of one that is made.

    Raises:
        InputError: When there is neither, or more than one.
    """
    store = Path(directory) / "model-store"
    if not store.is_dir():
        create_archive(model_directory(directory), workspace / "archive", model_format=model_format)
        store = workspace / "archive" / "model-store"
    found = sorted(store.glob("*.mar"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{store} must hold one archive, <name>.mar; it holds {names}")
    return _read(found[0])


def _read(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as directory:
            model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
            if (model["handler"], model["modelName"]) != (HANDLER, path.stem):
                raise KeyError(f"handler {model['handler']!r}, modelName {model['modelName']!r}")
            for name in (MODEL_FILE, GOLDEN_FILE):
                archive.extract(name, directory)
            return Archive(path, path.stem, read_model(directory), read_golden(directory))
    except (OSError, zipfile.BadZipFile, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no archive of create_torchserve_archive: {error}; make it again") from error
