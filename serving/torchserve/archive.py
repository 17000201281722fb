"""From a Model to the directory that KServe gives TorchServe: ``model-store/<name>.mar`` and ``config/``.

An archive is whole: besides the network it holds the code that answers with it, so that any TorchServe serves it whose
Python has onnxruntime, msgspec, orjson and numpy. It is written here and not by torch-model-archiver, which puts the
time of day and the order of a directory into it: the same Model gives the same bytes.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from shipway.components.common.artifacts import new_directory, read_json
from shipway.components.common.errors import InputError, IntegrityError
from shipway.components.common.model import GOLDEN_FILE, MODEL_FILE, ModelDescription, verify_files
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.preprocessing.onnx_graph import preprocessing_model
from shipway.serving.torchserve.files import FORMATS, PREPROCESSING_FILE
from shipway.serving.torchserve.properties import Addresses, Workers, config_properties

__all__ = ["HANDLER", "create_archive"]

HANDLER = "shipway.serving.torchserve.handler"
"""What answers in TorchServe."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KSERVE_MODEL_STORE = "/mnt/models/model-store"
# The earliest time that a zip file can tell.
_CREATED = "01/01/1980 00:00:00"
_DATE = (1980, 1, 1, 0, 0, 0)


def create_archive(
    model: str | Path,
    directory: str | Path,
    name: str = "",
    model_format: str = "pt2",
    workers: Workers | None = None,
) -> ModelDescription:
    """Writes an archive and the settings of a TorchServe for it; returns what ``model.json`` says.

    Args:
        model: A Model directory of train_pytorch, tune_pytorch or prune_pytorch.
        directory: What to write; it appears when it is complete.
        name: The model's in the URLs; empty takes its own.
        model_format: One of :data:`.files.FORMATS`.
        workers: How TorchServe runs it.

    Raises:
        InputError: When the Model has no such file, or its files are not those that it names.
    """
    root = Path(model)
    description = verify_files(root)
    name = name or description.name
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for TorchServe: letters, digits, '.', '_' and '-', at most 63")
    native = _native(description, root, model_format)
    with new_directory(directory) as aside:
        (aside / "model-store").mkdir()
        archive = aside / "model-store" / f"{name}.mar"
        _write(archive, root, name, native)
        _check(archive, description)
        (aside / "config").mkdir()
        # Without tokens: the door in front, in the same pod, is the only one that reaches the loopback interface.
        settings = config_properties(name, _KSERVE_MODEL_STORE, Addresses(), workers or Workers(), tokens=False)
        (aside / "config" / "config.properties").write_text(settings, encoding="utf-8")
    return description


def _native(description: ModelDescription, root: Path, model_format: str) -> str:
    if model_format not in FORMATS:
        raise InputError(f"model_format is {model_format!r}; it must be one of {', '.join(FORMATS)}")
    if description.framework != "pytorch":
        raise InputError(
            f"the model {description.name} at {root} is of {description.framework}; TorchServe serves PyTorch's:"
            " deploy it with TensorFlow Serving or with Shipway's own server"
        )
    file = FORMATS[model_format]
    if file not in description.files:
        raise InputError(
            f"the model {description.name} at {root} has no {file}: quantized models have no native export; archive"
            " the Model that it was made from, or deploy its model.onnx with Shipway's own server"
        )
    return file


def _write(archive: Path, root: Path, name: str, native: str) -> None:
    encoders = Encoders.from_json(read_json(root / "encoders.json"))
    manifest = {
        "archiverVersion": "0.12.0",
        "createdOn": _CREATED,
        "model": {"handler": HANDLER, "modelName": name, "modelVersion": "1.0", "serializedFile": native},
        "runtime": "python",
    }
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr(_entry("MAR-INF/MANIFEST.json"), json.dumps(manifest, indent=2) + "\n")
        target.writestr(_entry(PREPROCESSING_FILE), preprocessing_model(encoders).SerializeToString(True))
        sources = [(file, root / file) for file in (MODEL_FILE, GOLDEN_FILE, native)]
        for entry, path in (*sources, *_code()):
            with target.open(_entry(entry, path.stat().st_size), "w") as into, path.open("rb") as source:
                shutil.copyfileobj(source, into)


def _entry(name: str, size: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = 0o644 << 16
    entry.file_size = size  # says before it is written whether the entry takes more than 32 bits
    return entry


def _code() -> Iterator[tuple[str, Path]]:
    """Yields the handler, all that it imports of this project, and the packages around them, by place."""
    pending, found = [HANDLER], dict[str, Path]()
    while pending:
        module = pending.pop()
        spec = importlib.util.find_spec(module)
        if module in found or spec is None or spec.origin is None:  # the outermost package is no file
            continue
        found[module] = Path(spec.origin)
        pending += [module.rpartition(".")[0]] if "." in module else []
        pending += _imported(found[module])
    for module, path in sorted(found.items()):
        place = module.replace(".", "/")
        yield f"{place}/__init__.py" if path.name == "__init__.py" else f"{place}.py", path


def _imported(source: Path) -> list[str]:
    """Returns the modules of this project that a module imports when it is imported itself."""
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    modules = [statement.module for statement in statements if isinstance(statement, ast.ImportFrom)]
    return [module for module in modules if module and module.startswith("shipway.")]


def _check(archive: Path, description: ModelDescription) -> None:
    """Reads what was written: the Model may have changed meanwhile."""
    with zipfile.ZipFile(archive) as written:
        for entry in set(written.namelist()) & description.files.keys():
            with written.open(entry) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it can readinto
            if f"sha256:{digest}" != description.files[entry]:
                raise IntegrityError(f"{entry} in {archive.name} is not what {MODEL_FILE} names; try again")
