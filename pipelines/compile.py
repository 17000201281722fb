"""Compiles pipelines to KFP v2 YAML, the same bytes every time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from kfp.compiler import Compiler

from shipway import pipelines
from shipway.components.common.errors import InputError
from shipway.pipelines.families import family_of_image

__all__ = ["compile_pipeline", "load_spec", "pinned", "write_pipeline"]


def compile_pipeline(name: str) -> str:
    """Returns the KFP v2 YAML of a ready pipeline.

    Raises:
        InputError: When there is no pipeline of that name.
    """
    if name not in pipelines.__all__:
        raise InputError(f"no pipeline {name!r}; there is {', '.join(pipelines.__all__)}")
    pipeline = getattr(import_module("shipway.pipelines"), name)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pipeline.yaml"
        Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")


def load_spec(text: str) -> dict[str, Any]:
    """Returns the pipeline spec of a compiled YAML: its first document; a platform spec may follow.

    Raises:
        InputError: When the text is no compiled pipeline.
    """
    try:
        spec = next(yaml.safe_load_all(text), None)
    except yaml.YAMLError as error:
        raise InputError(f"the pipeline is no YAML: {error}") from error
    if not isinstance(spec, dict) or "root" not in spec or "pipelineInfo" not in spec:
        raise InputError("the YAML is no compiled pipeline; make one with `shipway compile` or kfp's compiler")
    return spec


def write_pipeline(name: str, directory: Path, registry: str = "", digests: Mapping[str, str] | None = None) -> Path:
    """Writes a pipeline's YAML to ``<directory>/<name>.yaml``; returns the path.

    Args:
        name: The pipeline.
        directory: Made if missing.
        registry: Put before each image's name, such as ``registry.example/team``.
        digests: Family names and the ``sha256:…`` that replaces the image's tag.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.yaml"
    path.write_text(pinned(compile_pipeline(name), registry, digests or {}), encoding="utf-8")
    return path


def pinned(text: str, registry: str, digests: Mapping[str, str]) -> str:
    """Returns a compiled YAML with its images taken from a registry, pinned by digest where one is given.

    Raises:
        InputError: When digests are given and one of the pipeline's images has none.
    """
    executors = load_spec(text)["deploymentSpec"]["executors"].values()
    for image in sorted({executor["container"]["image"] for executor in executors if "container" in executor}):
        family = family_of_image(image).name
        if digests and family not in digests:
            raise InputError(f"no digest for the image {image}; the file of digests names {', '.join(sorted(digests))}")
        name = f"{registry.rstrip('/')}/{image}" if registry else image
        if digests:
            name = f"{name.rpartition(':')[0]}@{digests[family]}"
        text = text.replace(f"image: {image}\n", f"image: {name}\n")
    return text
