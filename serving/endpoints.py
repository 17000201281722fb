"""Local endpoints: KServe's semantics on one machine.

An endpoint has a name, a URL that stays, and serves one release; deploying another replaces the server
process behind the URL without losing a request, and keeps the old one when the new one does not come up.
Endpoints are registered per user below the state directory, one directory each::

    <state>/endpoints/<name>/endpoint.json           what runs, and how to undo it
                             server.log
                             inferenceservice.yaml   what a cluster would get for the same release

The server runs in the serving environment: its interpreter is ``SHIPWAY_PYTHON_SERVING``, or the one
that the endpoint was last deployed with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from shipway.components.common.errors import InputError
from shipway.serving.registry import PYTHON_VARIABLE, Endpoint, Record, registered

__all__ = ["PYTHON_VARIABLE", "deploy", "describe", "endpoints", "rollback", "stop", "stop_all"]


def deploy(name: str, release: Mapping[str, Any], port: int = 0) -> Record:
    """Makes an endpoint serve a release; returns its record, the content of ``endpoint.json``.

    When that release is being served already, by the same code and environment, nothing happens. When the new
    server fails to start, to load or to answer the golden requests, the old one keeps serving.

    Args:
        name: The endpoint's name, also the model's in its URLs: a-z, 0-9 and hyphens, at most 63 characters.
        release: ``name``, ``release``, ``digest``, ``model_digest``, ``uri`` as in ``release.json``; ``directory``,
            where its files are on this machine, unless the URI says so.
        port: 0 keeps the endpoint's port, or chooses a free one for a new endpoint.

    Raises:
        InputError: For an impossible name or port, a release that is not on this machine, or no serving environment.
        ConflictError: When somebody else holds the port.
        DeploymentError: When the new server did not come up; the message has its last log lines.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"the port is {port}; it must be from 0 to 65535")
    with Endpoint.locked(name) as endpoint:
        return endpoint.deploy(release, port)


def rollback(name: str) -> Record:
    """Makes an endpoint serve its previous release again; returns its record.

    Raises:
        InputError: When there is no such endpoint, it has no previous release, or that one's files are gone.
        DeploymentError: When the previous release does not come up; what is served stays.
    """
    with Endpoint.locked(name) as endpoint:
        record = endpoint.record()
        previous = record["previous_release"]
        if previous is None:
            raise InputError(
                f"the endpoint {name} has no previous release: it has served only {record['release']['release']}"
            )
        return endpoint.deploy(previous, 0)


def stop(name: str) -> None:
    """Ends an endpoint and removes its registration; its releases stay.

    Raises:
        InputError: When there is no such endpoint.
    """
    with Endpoint.locked(name) as endpoint:
        endpoint.record()
        endpoint.remove()


def stop_all() -> list[str]:
    """Ends every endpoint of this user; returns their names."""
    names = [record["name"] for record in endpoints()]
    for name in names:
        with contextlib.suppress(InputError):  # somebody else stopped it meanwhile
            stop(name)
    return names


def endpoints() -> list[Record]:
    """Returns the records of this user's endpoints, each with a ``status``: ``up`` or ``down``."""
    return registered()


def describe(name: str) -> Record:
    """Returns one endpoint's record with its ``status``.

    Raises:
        InputError: When there is no such endpoint.
    """
    return Endpoint(name).record()
