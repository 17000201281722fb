"""Checks objects against CRDs as the API server does, and more strictly: a field that the schema lacks is a fault."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(os.environ.get("SHIPWAY_SCHEMAS") or Path(__file__).resolve().parents[2] / "shared" / "schemas")
_PLACES = {
    "InferenceService": "kserve-v0.20.0/serving.kserve.io_inferenceservices.yaml",
    "ServingRuntime": "kserve-v0.20.0/serving.kserve.io_servingruntimes.yaml",
    "TrainJob": "kubeflow-trainer-v2.3.0/trainer.kubeflow.org_trainjobs.yaml",
    "TrainingRuntime": "kubeflow-trainer-v2.3.0/trainer.kubeflow.org_trainingruntimes.yaml",
}
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def available() -> bool:
    return all((SCHEMAS / place).is_file() for place in _PLACES.values())


def faults_of(manifest: dict[str, Any], release: str = "") -> list[str]:
    """Returns what is wrong with an object; ``release`` names another directory of definitions than the usual one."""
    kind = manifest["kind"]
    place = SCHEMAS / _PLACES[kind]
    if release:
        place = SCHEMAS / release / place.name
    return _faults(_schema(place, manifest["apiVersion"].rpartition("/")[2]), manifest, kind)


@functools.lru_cache
def _schema(place: Path, version: str) -> dict[str, Any]:
    document = yaml.load(place.read_text(), yaml.CSafeLoader)
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in document["spec"]["versions"] if v["name"] == version)
    schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
    return schema


def _faults(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    if schema.get("x-kubernetes-int-or-string"):
        good = isinstance(value, int | str) and not isinstance(value, bool)
        good = good and re.search(schema.get("pattern", ""), str(value))
        return [] if good else [f"{where}: {value!r} is no quantity"]
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where}: {value!r} is no {kind}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, str | list) and not schema.get("minItems", schema.get("minLength", 0)) <= len(value):
        found.append(f"{where}: {value!r} is too short")
    if isinstance(value, str | list) and len(value) > schema.get("maxItems", schema.get("maxLength", len(value))):
        found.append(f"{where} is too long")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where}: {value!r} is out of range")
    if isinstance(value, list):
        return found + [
            fault for i, item in enumerate(value) for fault in _faults(schema.get("items", {}), item, f"{where}[{i}]")
        ]
    return found + (_faults_of_members(schema, value, where) if isinstance(value, dict) else [])


def _faults_of_members(schema: dict[str, Any], value: dict[str, Any], where: str) -> list[str]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties")
    found = [f"{where} lacks {name}" for name in schema.get("required", []) if name not in value]
    for name, member in value.items():
        if name in properties:
            found += _faults(properties[name], member, f"{where}.{name}")
        elif isinstance(more, dict):
            found += _faults(more, member, f"{where}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.append(f"{where}.{name} is not known")
    return found
