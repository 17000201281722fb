"""The InferenceService: its essential fields, and strictly against KServe's own definitions."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from shipway.components.common.errors import InputError
from shipway.serving.manifests import RUNTIMES, inference_service, inference_service_yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import crd

RELEASE = {
    "name": "flights",
    "release": "0123456789abcdef",
    "digest": "sha256:" + "a" * 64,
    "model_digest": "sha256:" + "0123456789abcdef" * 4,
    "uri": "s3://models/flights/0123456789abcdef",
}


def test_essential_fields() -> None:
    manifest = inference_service("flights-late", RELEASE)
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert manifest["metadata"]["name"] == "flights-late"
    assert manifest["metadata"]["labels"]["shipway/release"] == RELEASE["release"]
    assert manifest["metadata"]["annotations"]["shipway/release-digest"] == RELEASE["digest"]
    assert manifest["spec"] == {
        "predictor": {
            "automountServiceAccountToken": False,
            "model": {
                "modelFormat": {"name": "onnx"},
                "protocolVersion": "v2",
                "runtime": "shipway-openinference",
                "storageUri": "s3://models/flights/0123456789abcdef/model/",
            },
        }
    }
    assert yaml.safe_load(inference_service_yaml("flights-late", RELEASE)) == manifest


@pytest.mark.parametrize(
    ("uri", "storage_uri"),
    [
        ("gs://bucket/flights/1/", "gs://bucket/flights/1/model/"),
        ("pvc://claim/flights/1", "pvc://claim/flights/1/model"),
        ("/data/my releases/1", "file:///data/my%20releases/1/model/"),
        ("file:///data/1", "file:///data/1/model/"),
    ],
)
def test_the_storage_uri_is_one_that_kserve_reads_as_this_model_only(uri: str, storage_uri: str) -> None:
    manifest = inference_service("flights", {**RELEASE, "uri": uri})
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == storage_uri


def test_labels_are_labels() -> None:
    """Kubernetes refuses label values with a colon or more than 63 characters."""
    for value in inference_service("flights", RELEASE)["metadata"]["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def served(runtime: str, protocol: str) -> dict:
    layout = "s3://models/flights/layout" if RUNTIMES[runtime].layout else ""
    return inference_service("flights", RELEASE, runtime=runtime, protocol=protocol, layout_uri=layout)


@pytest.mark.skipif(not crd.available(), reason="needs KServe's CRDs")
@pytest.mark.parametrize("release", ["kserve-v0.20.0", "kserve-HEAD"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_kserve_would_take_it(runtime: str, release: str) -> None:
    for protocol in RUNTIMES[runtime].protocols:
        manifest = served(runtime, protocol)
        assert crd.faults_of(manifest, release) == []
    manifest["spec"]["predictor"]["model"]["modelFormats"] = {}
    del manifest["spec"]["predictor"]["model"]["modelFormat"]["name"]
    assert crd.faults_of(manifest, release) == [
        "InferenceService.spec.predictor.model.modelFormat lacks name",
        "InferenceService.spec.predictor.model.modelFormats is not known",
    ]


def test_torchserve_reads_a_release_or_an_archive() -> None:
    def storage_uri(layout_uri: str) -> str:
        manifest = inference_service("flights", RELEASE, runtime="torchserve", layout_uri=layout_uri)
        return manifest["spec"]["predictor"]["model"]["storageUri"]

    assert storage_uri("") == "s3://models/flights/0123456789abcdef/model/"
    assert storage_uri("s3://models/archives/flights") == "s3://models/archives/flights/"


def test_grpc_is_on_a_port_that_kserve_knows_as_such() -> None:
    """Knative finds gRPC by the port's name and takes one port only; KServe joins the runtime's ports to these."""
    for runtime, protocol in (
        ("openinference", "grpc-v2"),
        ("torchserve", "grpc-v2"),
        ("tensorflow-serving", "grpc-v1"),
    ):
        model = served(runtime, protocol)["spec"]["predictor"]["model"]
        assert model["ports"] == [{"name": "h2c", "containerPort": 8081, "protocol": "TCP"}]
    assert "ports" not in served("openinference", "v1")["spec"]["predictor"]["model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "triton"}, "there is no runtime 'triton'"),
        ({"protocol": "grpc-v1"}, "openinference does not speak 'grpc-v1' but v2, v1, grpc-v2"),
        ({"runtime": "tensorflow-serving"}, "tensorflow-serving needs layout_uri: where the parent of the version"),
    ],
)
def test_what_no_runtime_serves_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inference_service("flights", RELEASE, **options)
