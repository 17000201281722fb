"""The models that a server answers for, by name; they may be loaded, replaced and unloaded while it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shipway.components.common.errors import InputError, ShipwayError
from shipway.components.common.model import MODEL_FILE, read_model
from shipway.serving.engines.engine import model_directory
from shipway.serving.openinference.metrics import Metrics
from shipway.serving.openinference.models import ServedModel

__all__ = ["SERVER_METADATA", "NotServed", "Repository", "model_paths"]

SERVER_METADATA: Mapping[str, Any] = {
    "name": "shipway",
    "version": "1",
    "extensions": ["binary_tensor_data", "model_repository"],
}
"""What the v2 protocol says of a server."""

logger = logging.getLogger(__name__)


class NotServed(Exception):
    """There is no such model, or not in this version."""


class Repository:
    """Models by name.

    A request belongs to the model that has the name at the moment its body is there. A model that is replaced answers
    what it has begun, so none is lost.

    Attributes:
        models: What is served.
        metrics: Of all models.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        load: Callable[[Path, str], ServedModel],
        *,
        may_change: bool = False,
    ) -> None:
        """Loads every model.

        Args:
            paths: Where each lies, by name.
            load: Loads a model from where it lies, under a name.
            may_change: Whether clients may load and unload.

        Raises:
            ShipwayError: When one cannot be loaded.
        """
        self._paths, self._load, self.may_change = dict(paths), load, may_change
        self.models: dict[str, ServedModel] = {}
        self.metrics = Metrics()
        self._reasons: dict[str, str] = {}
        self._changing = asyncio.Lock()
        for name, path in self._paths.items():
            self._serve(load(path, name))

    def model(self, name: str, version: str = "") -> ServedModel:
        """Returns a model.

        Raises:
            NotServed: When there is none of that name and version.
        """
        model = self.models.get(name)
        if model is None:
            raise NotServed(f"there is no model {name!r}; there is {', '.join(self.models) or 'none'}")
        if version and version != model.description.digest:
            raise NotServed(f"the model {name} has the version {model.description.digest}, not {version}")
        return model

    def index(self, *, ready_only: bool = False) -> list[dict[str, str]]:
        """Returns what there is: ``name``, ``version``, ``state`` (``READY`` or ``UNAVAILABLE``) and ``reason``."""
        entries = []
        for name in self._paths:
            model = self.models.get(name)
            version, state = (model.description.digest, "READY") if model else ("", "UNAVAILABLE")
            if model or not ready_only:
                entries.append(
                    {"name": name, "version": version, "state": state, "reason": self._reasons.get(name, "")}
                )
        return entries

    async def load(self, name: str) -> None:
        """Loads a model from where it lies, once more if it is served already; that one answers until then.

        Raises:
            NotServed: When nothing of that name lies there.
            ShipwayError: When it cannot be loaded; what was served before still is.
        """
        path = self.require(name)
        async with self._changing:
            try:
                model = await asyncio.to_thread(self._load, path, name)
            except ShipwayError as error:
                self._reasons[name] = str(error)
                logger.error("the model %s could not be loaded: %s", name, error)
                raise
            self._serve(model)

    async def unload(self, name: str) -> None:
        """Answers for a model no more.

        Raises:
            NotServed: When nothing of that name lies there.
        """
        self.require(name)
        async with self._changing:
            self.models.pop(name, None)
            self.metrics.models.pop(name, None)
            self._reasons[name] = "unloaded"

    def require(self, name: str) -> Path:
        """Returns where a model lies, whether it is served now or not.

        Raises:
            NotServed: When nothing of that name lies there.
        """
        if name not in self._paths:
            raise NotServed(f"there is no model {name!r} to load; there is {', '.join(self._paths)}")
        return self._paths[name]

    def _serve(self, model: ServedModel) -> None:
        self.models[model.name] = model
        self.metrics.add(model.name, model.metrics)
        self._reasons.pop(model.name, None)


def model_paths(directory: str | Path, name: str = "") -> dict[str, Path]:
    """Returns where each model lies, by name.

    Args:
        directory: A Model or Release directory, or one whose subdirectories are such; those have the models' names.
        name: Of the only model; empty takes its own.

    Raises:
        InputError: When there is none, or ``name`` is given to several.
    """
    root = Path(directory)
    if (root / MODEL_FILE).exists() or (root / "model" / MODEL_FILE).exists():
        return {name or read_model(model_directory(root)).name: root}
    found = {
        path.name: path
        for path in sorted(root.glob("*"))
        if any((path / inner / MODEL_FILE).is_file() for inner in ("", "model"))
    }
    if not found:
        model_directory(root)
    if name:
        raise InputError(f"{root} holds {len(found)} models, which are named by their directories; leave --name out")
    return found
