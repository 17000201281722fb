"""From a release to an endpoint that has proved itself, and back when it has not."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import new_directory, read_json, write_json
from shipway.components.common.errors import DeploymentError, InputError, ShipwayError
from shipway.components.common.model import read_golden, read_model
from shipway.components.lifecycle import releases
from shipway.components.lifecycle.copies import local_copy
from shipway.serving import endpoints
from shipway.serving.client import EndpointClient
from shipway.serving.parity import Server, check_parity

__all__ = ["deploy_model", "promote_model", "smoke_test"]

_TARGETS = ("local",)
_ENDPOINT_NAME = re.compile(r"[^a-z0-9]+")  # what an endpoint's name cannot hold
_TIMED_REQUESTS = 20


def deploy_model(
    release: str | Path, endpoint: str | Path, endpoint_name: str, target: str = "local", port: int = 0
) -> dict[str, Any]:
    """Makes an endpoint serve a release; one in a store is fetched to the cache directory first.

    Args:
        release: A Release artifact.
        endpoint: Where to write ``endpoint.json`` and ``inferenceservice.yaml``.
        endpoint_name: The endpoint's name, also the model's in its URLs; empty takes the release's, with
            hyphens for what cannot stand there.
        target: ``local``.
        port: 0 keeps the endpoint's port or chooses a free one.

    Returns:
        The content of ``endpoint.json``.

    Raises:
        InputError: For an unknown target, an impossible name or port, no artifact.
        ObjectNotFound: When there is no release.
        DataRejected: When the release was changed.
        ConflictError: When somebody else holds the port.
        DeploymentError: When the release does not come up; what was served before still is.
    """
    if target not in _TARGETS:
        raise InputError(f"the target {target!r} is unknown; it can be: {', '.join(_TARGETS)}")
    document = releases.read_release(release)
    name = endpoint_name or _ENDPOINT_NAME.sub("-", document["name"].lower()).strip("-")
    record = endpoints.deploy(name, {**document, "directory": str(local_copy(document["uri"]))}, port)
    with new_directory(endpoint) as directory:
        write_json(directory / "endpoint.json", record)
        shutil.copyfile(record["manifest"], directory / "inferenceservice.yaml")
    return record


def smoke_test(endpoint: str | Path, release: str | Path, rollback_on_failure: bool = True) -> dict[str, Any]:
    """Sends a release's golden requests to the endpoint over every protocol and compares the answers.

    Args:
        endpoint: An Endpoint artifact.
        release: The Release that it should serve.
        rollback_on_failure: Whether a failure puts the previous release back, or ends the endpoint if there is none.

    Returns:
        ``golden_requests`` (rows), ``largest_difference`` of a score, ``milliseconds_per_request`` (median).

    Raises:
        DeploymentError: When the endpoint serves something else or answers otherwise; the message says what was
            done about it.
    """
    document, record = releases.read_release(release), _endpoint(endpoint)
    try:
        return _probe(record, document)
    except DeploymentError as error:
        done = _undo(record, document) if rollback_on_failure else "nothing was rolled back"
        raise DeploymentError(f"the smoke test of the endpoint {record['name']} failed: {error}; {done}") from error


def promote_model(
    release: str | Path, endpoint: str | Path, release_repository: str = "", expected_champion: str | None = None
) -> dict[str, Any]:
    """Makes a release the champion, if the endpoint serves it.

    Args:
        release: The Release artifact.
        endpoint: The Endpoint artifact of its deployment.
        release_repository: As for create_release.
        expected_champion: URI of the champion that it was compared with, empty for none; ``None`` does not ask.

    Returns:
        The alias: ``uri``, ``digest``, ``generation``.

    Raises:
        DeploymentError: When the endpoint serves something else.
        ConflictError: When another champion reigns than expected.
    """
    document, record = releases.read_release(release), _endpoint(endpoint)
    _check_served(EndpointClient(record["url"], record["name"]), document)
    return releases.move_champion(document, release_repository, expected_champion)


def _endpoint(endpoint: str | Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(Path(endpoint) / "endpoint.json")
    return record


def _probe(record: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    model = local_copy(document["uri"]) / "model"
    description, golden = read_model(model), read_golden(model)
    client = EndpointClient(record["url"], record["name"])
    _check_served(client, document)
    agreements = check_parity(model, [Server(record["url"], record["name"])])
    seconds = []
    for index in range(_TIMED_REQUESTS):
        started = time.perf_counter()
        client.predict([golden.instances[index % len(golden.instances)]], description.label_names)
        seconds.append(time.perf_counter() - started)
    return {
        "golden_requests": len(golden.instances),
        "largest_difference": max(agreement.largest_difference for agreement in agreements),
        "milliseconds_per_request": statistics.median(seconds) * 1000,
    }


def _check_served(client: EndpointClient, document: dict[str, Any]) -> None:
    served = client.model_digest()
    if served != document["model_digest"]:
        raise DeploymentError(
            f"it serves the model {served}, not {document['model_digest']} of the release {document['release']}"
        )


def _undo(record: dict[str, Any], document: dict[str, Any]) -> str:
    """Takes a failed release out of service, unless somebody already did; says what was done."""
    name = record["name"]
    try:
        current = endpoints.describe(name)
        if current["release"]["digest"] != document["digest"]:
            return f"it serves the release {current['release']['release']} meanwhile, which was left alone"
        if current["previous_release"] is None:
            endpoints.stop(name)
            return "the endpoint was stopped, as it has no previous release"
        return f"rolled back to the release {endpoints.rollback(name)['release']['release']}"
    except ShipwayError as error:
        return f"and it could not be rolled back: {error}"
