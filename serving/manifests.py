"""What a cluster would be given for an endpoint: KServe's InferenceService."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["inference_service", "inference_service_yaml"]

RUNTIME = "shipway-openinference"


def inference_service(name: str, release: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the InferenceService that serves a release.

    Args:
        name: The endpoint's name; also the model's name in its URLs.
        release: ``name``, ``release``, ``digest``, ``model_digest`` and ``uri``, as ``release.json`` has them.
    """
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "shipway", "shipway/release": release["release"]},
            "annotations": {
                "shipway/model": release["name"],
                "shipway/release-digest": release["digest"],
                "shipway/model-digest": release["model_digest"],
            },
        },
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "protocolVersion": "v2",
                    "runtime": RUNTIME,
                    "storageUri": _storage_uri(release["uri"]),
                }
            }
        },
    }


def inference_service_yaml(name: str, release: Mapping[str, Any]) -> str:
    """Returns :func:`inference_service` as YAML, for ``kubectl apply -f -``."""
    return yaml.safe_dump(inference_service(name, release), sort_keys=False)


def _storage_uri(release_uri: str) -> str:
    root = release_uri if "://" in release_uri else Path(release_uri).absolute().as_uri()
    # KServe's initializer takes a URI as a prefix: without the slash it would fetch model-old/ as well.
    return f"{root.rstrip('/')}/model/"
