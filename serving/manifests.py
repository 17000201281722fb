"""What a cluster would be given for an endpoint: KServe's InferenceService on one of the runtimes of ``manifests``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shipway.components.common.errors import InputError

__all__ = ["RUNTIMES", "Runtime", "inference_service", "inference_service_yaml"]

_GRPC_PORT = {"name": "h2c", "containerPort": 8081, "protocol": "TCP"}


@dataclass(frozen=True)
class Runtime:
    """A ServingRuntime of ``manifests/serving``, whose name is ``shipway-`` and its key in :data:`RUNTIMES`.

    Attributes:
        model_format: What it reads, as KServe calls it.
        protocols: What it speaks, as KServe calls it; the first unless another is asked for.
        layout: What it reads out of a store where it cannot read the release's own model; else empty.
    """

    model_format: str
    protocols: tuple[str, ...]
    layout: str = ""


RUNTIMES = {
    "openinference": Runtime("onnx", ("v2", "v1", "grpc-v2")),
    "torchserve": Runtime("pytorch", ("v2", "v1", "grpc-v2")),
    "tensorflow-serving": Runtime("tensorflow", ("v1", "grpc-v1"), "the parent of the version's directory"),
}
"""The runtimes that an endpoint may be served by."""


def inference_service(
    name: str,
    release: Mapping[str, Any],
    *,
    runtime: str = "openinference",
    protocol: str = "",
    layout_uri: str = "",
) -> dict[str, Any]:
    """Returns the InferenceService that serves a release.

    Its pods get no token of a service account. gRPC is the only port of an endpoint that speaks it: Knative takes one.

    Args:
        name: The endpoint's name; also the model's name in its URLs.
        release: ``name``, ``release``, ``digest``, ``model_digest`` and ``uri``, as ``release.json`` has them. The URI
            of a release in a directory of this machine stays one, though no cluster sees it.
        runtime: ``openinference``, ``torchserve`` or ``tensorflow-serving``.
        protocol: ``v1``, ``v2``, ``grpc-v2`` or ``grpc-v1``; "" for the runtime's usual one.
        layout_uri: Where the files are that TensorFlow Serving reads, or an archive of TorchServe's in KServe's layout;
            "" for the release's own model.

    Raises:
        InputError: When the runtime is unknown, does not speak the protocol, or does not read what it is given.
    """
    served_by = RUNTIMES.get(runtime)
    if served_by is None:
        raise InputError(f"there is no runtime {runtime!r}; there are {', '.join(RUNTIMES)}")
    protocol = protocol or served_by.protocols[0]
    if protocol not in served_by.protocols:
        raise InputError(f"{runtime} does not speak {protocol!r} but {', '.join(served_by.protocols)}")
    if served_by.layout and not layout_uri:
        raise InputError(f"{runtime} needs layout_uri: where {served_by.layout} is")
    model: dict[str, Any] = {
        "modelFormat": {"name": served_by.model_format},
        "protocolVersion": protocol,
        "runtime": f"shipway-{runtime}",
        "storageUri": _storage_uri(layout_uri or f"{release['uri'].rstrip('/')}/model"),
    }
    if protocol.startswith("grpc"):
        model["ports"] = [_GRPC_PORT]
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
        "spec": {"predictor": {"automountServiceAccountToken": False, "model": model}},
    }


def inference_service_yaml(name: str, release: Mapping[str, Any], **options: str) -> str:
    """Returns :func:`inference_service` as YAML, for ``kubectl apply -f -``."""
    return yaml.safe_dump(inference_service(name, release, **options), sort_keys=False)


def _storage_uri(uri: str) -> str:
    root = (uri if "://" in uri else Path(uri).absolute().as_uri()).rstrip("/")
    # As kserve.model_uri of the storage layer, whose libraries not everybody has who serves: KServe's initializer takes
    # a URI as a prefix, and without the slash it would fetch model-old/ as well. A volume is mounted by its path.
    return root if root.startswith("pvc://") else f"{root}/"
