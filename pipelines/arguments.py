"""What is known of a pipeline's tasks before they run: the values that they will be given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import directory_digest, file_digest
from shipway.pipelines.families import FAMILIES, Family

__all__ = ["digest_imports", "families_inside"]

Spec = dict[str, Any]

# The step that trains in the frameworks' environments, from the lifecycle image.
_TRAINS_ELSEWHERE = "train_distributed"


def digest_imports(spec: Spec, arguments: Mapping[str, Any]) -> None:
    """Writes the digest of what lies on this machine into the metadata of the artifacts that are imported.

    The metadata is part of the cache key of whatever takes such an artifact: kfp.local itself knows its URI alone, and
    would give the old result for new bytes. What is at a URI of a store, or at one that only a step tells, is not read.

    Args:
        spec: Changed in place.
        arguments: The pipeline's parameters.
    """
    for task in _tasks(spec, spec["root"], {**_defaults(spec["root"]), **arguments}):
        uri = task.given.get("uri")
        if "importer" in task.executor and isinstance(uri, str) and (digest := _content_digest(uri)):
            metadata = task.executor["importer"].setdefault("metadata", {})
            metadata.setdefault("content_digests", {})[uri] = digest


def families_inside(spec: Spec, arguments: Mapping[str, Any]) -> list[Family]:
    """Returns the families whose environments steps start processes in, besides those of their own images.

    Args:
        spec: The compiled pipeline.
        arguments: The pipeline's parameters.
    """
    found: set[str] = set()
    for task in _tasks(spec, spec["root"], {**_defaults(spec["root"]), **arguments}):
        runs = task.executor.get("container", {}).get("args", ())
        if _TRAINS_ELSEWHERE in runs and task.given.get("target") != "kubernetes":
            framework = task.given.get("framework")
            found.update((framework,) if framework in FAMILIES else ("pytorch", "tensorflow"))
    return [FAMILIES[name] for name in sorted(found)]


@dataclasses.dataclass(frozen=True)
class _Task:
    """A task with its executor and its parameters as far as they are known."""

    executor: Spec
    given: dict[str, Any]


def _tasks(spec: Spec, component: Spec, values: Mapping[str, Any]) -> Iterator[_Task]:
    for task in component["dag"]["tasks"].values():
        target = spec["components"][task["componentRef"]["name"]]
        given = _defaults(target)
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            given[name] = _value(source, values)
        if "dag" in target:
            yield from _tasks(spec, target, given)
        else:
            yield _Task(spec["deploymentSpec"]["executors"][target["executorLabel"]], given)


def _value(source: Spec, values: Mapping[str, Any]) -> Any:
    """Returns what a parameter will be; None where a step or a loop decides."""
    if "componentInputParameter" in source:
        return values.get(source["componentInputParameter"])
    return source.get("runtimeValue", {}).get("constant")


def _defaults(component: Spec) -> dict[str, Any]:
    inputs = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: definition.get("defaultValue") for name, definition in inputs.items()}


def _content_digest(uri: str) -> str:
    path = Path(uri.removeprefix("file://"))
    return file_digest(path) if path.is_file() else directory_digest(path) if path.is_dir() else ""
