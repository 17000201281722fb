"""The InferenceService: its essential fields, and strictly against KServe's own schema where that is at hand."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shipway.serving.manifests import inference_service, inference_service_yaml

RELEASE = {
    "name": "flights",
    "release": "0123456789abcdef",
    "digest": "sha256:" + "a" * 64,
    "model_digest": "sha256:" + "0123456789abcdef" * 4,
    "uri": "s3://models/flights/0123456789abcdef",
}
SCHEMAS = Path(os.environ.get("SHIPWAY_SCHEMAS") or Path(__file__).parents[3] / "shared" / "schemas")
CRD = SCHEMAS / "kserve-v0.20.0" / "serving.kserve.io_inferenceservices.yaml"


def violations(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """What is wrong with a value by a CRD's openAPIV3Schema; fields that it does not know are wrong."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if schema.get("x-kubernetes-int-or-string"):
        return [] if isinstance(value, int | str) else [f"{where} is no integer or string"]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float)}
    if not isinstance(value, types[schema["type"]]):
        return [f"{where} is no {schema['type']}"]
    found = []
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        found += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, member in value.items():
            if name in known or others:
                found += violations(member, known.get(name, others), f"{where}.{name}")
            elif known:
                found.append(f"{where}.{name} is unknown")
    if isinstance(value, list):
        found += [v for i, item in enumerate(value) for v in violations(item, schema["items"], f"{where}[{i}]")]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where} does not match {schema['pattern']}")
    return found


def test_essential_fields() -> None:
    manifest = inference_service("flights-late", RELEASE)
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert manifest["metadata"]["name"] == "flights-late"
    assert manifest["metadata"]["labels"]["shipway/release"] == RELEASE["release"]
    assert manifest["metadata"]["annotations"]["shipway/release-digest"] == RELEASE["digest"]
    assert manifest["spec"] == {
        "predictor": {
            "model": {
                "modelFormat": {"name": "onnx"},
                "protocolVersion": "v2",
                "runtime": "shipway-openinference",
                "storageUri": "s3://models/flights/0123456789abcdef/model/",
            }
        }
    }
    assert yaml.safe_load(inference_service_yaml("flights-late", RELEASE)) == manifest


@pytest.mark.parametrize(
    ("uri", "storage_uri"),
    [
        ("gs://bucket/flights/1/", "gs://bucket/flights/1/model/"),
        ("/data/my releases/1", "file:///data/my%20releases/1/model/"),
        ("file:///data/1", "file:///data/1/model/"),
    ],
)
def test_the_storage_uri_ends_with_one_slash(uri: str, storage_uri: str) -> None:
    manifest = inference_service("flights", {**RELEASE, "uri": uri})
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == storage_uri


def test_labels_are_labels() -> None:
    """Kubernetes refuses label values with a colon or more than 63 characters."""
    for value in inference_service("flights", RELEASE)["metadata"]["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def crd_schema() -> dict[str, Any]:
    (version,) = [
        v for v in yaml.load(CRD.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"] if v["name"] == "v1beta1"
    ]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


if CRD.is_file():

    def test_kserve_would_take_it() -> None:
        schema, manifest = crd_schema(), inference_service("flights", RELEASE)
        assert violations(manifest, schema) == []
        manifest["spec"]["predictor"]["model"]["modelFormats"] = {}
        assert violations(manifest, schema) == [".spec.predictor.model.modelFormats is unknown"]
        del manifest["spec"]["predictor"]["model"]["modelFormats"]
        manifest["spec"]["predictor"]["model"]["modelFormat"] = {}
        assert violations(manifest, schema) == [".spec.predictor.model.modelFormat.name is missing"]
