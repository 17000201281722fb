"""Kubernetes' API server through the official client, for requests that outlive its moods.

Objects are plain JSON, as the server tells them. A request is repeated while the server is busy, restarts or cannot be
reached: the client's own watches end on all of these, so whoever waits asks again and again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shipway.components.common.errors import ConflictError, InputError, ShipwayError, TransientError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

__all__ = ["Api"]

_LOG = logging.getLogger(__name__)
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_TIMEOUT = (5, 30)
_TEXT_PATIENCE = 10.0
_BUSY = (429, 500, 502, 503, 504)


class Api:
    """The API server, in one namespace.

    Args:
        namespace: "" for the pod's own, or that of kubectl's current context.
        client: The official client; by default as the pod's ServiceAccount, or else as kubectl is configured.
        patience_seconds: How long the server may be out of reach.

    Raises:
        InputError: When neither is configured.
    """

    def __init__(self, namespace: str = "", client: ApiClient | None = None, patience_seconds: float = 300.0) -> None:
        own, there = (client, "default") if client else _configured()
        self.namespace = namespace or there
        self._client = own
        self._patience = patience_seconds

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Returns the object at a path; None where there is none."""
        answer = self._request("GET", path, query=query, missing_is_fine=True)
        return None if answer is None else json.loads(answer)

    def text(self, path: str, query: Mapping[str, Any] | None = None) -> str | None:
        """Returns what lies at a path as text, such as a log; None where there is none.

        A node that is lost gives no logs, so this is not asked for long.

        Raises:
            InputError: When the container has not started, or this is not allowed.
            TransientError: When it cannot be had now.
        """
        patience = min(self._patience, _TEXT_PATIENCE)
        answer = self._request("GET", path, query=query, missing_is_fine=True, patience=patience)
        return None if answer is None else answer.decode(errors="replace")

    def create(self, path: str, manifest: Mapping[str, Any]) -> Any:
        """Creates an object; returns it.

        Raises:
            ConflictError: When there is one of its name.
            InputError: When the server does not take it, or does not know its kind.
        """
        return json.loads(self._request("POST", path, body=manifest) or b"{}")

    def delete(self, path: str) -> None:
        """Deletes an object, with all that belongs to it; one that is gone already is fine."""
        self._request("DELETE", path, query={"propagationPolicy": "Foreground"}, missing_is_fine=True)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        missing_is_fine: bool = False,
        patience: float | None = None,
    ) -> bytes | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        patience = self._patience if patience is None else patience
        deadline, pause = time.monotonic() + patience, 0.2
        while True:
            try:
                return self._send(method, path, query or {}, body)
            except ApiException as error:
                if error.status == 404 and missing_is_fine:
                    return None
                if error.status not in _BUSY:
                    raise _refused(error, f"{method} {path}") from error
                fault, wait = f"{error.status} {error.reason}", _retry_after(error)
            except (HTTPError, OSError) as error:
                fault, wait = f"{type(error).__name__}: {error}", 0.0
            if time.monotonic() > deadline:
                raise TransientError(
                    f"the Kubernetes API server has not answered {method} {path} for {patience:.0f} s: {fault}"
                )
            _LOG.warning("the Kubernetes API server: %s; asking again", fault)
            time.sleep(max(wait, pause))
            pause = min(2 * pause, 15.0)

    def _send(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> bytes:
        headers = {"Accept": "application/json, */*", "Content-Type": "application/json"}
        response = self._client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=_TIMEOUT,
        )
        with contextlib.closing(response):
            data: bytes = response.data
        return data


def _configured() -> tuple[ApiClient, str]:
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = False
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and os.path.isfile(_NAMESPACE_FILE):  # noqa: PTH113
            config.load_incluster_config(configuration)
            with open(_NAMESPACE_FILE, encoding="utf-8") as file:  # noqa: PTH123
                return client.ApiClient(configuration), file.read().strip()
        _, current = config.list_kube_config_contexts()
        config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise InputError(
            f"no Kubernetes cluster is configured: {error}; run this in a pod with a ServiceAccount, or set KUBECONFIG"
        ) from error
    return client.ApiClient(configuration), current["context"].get("namespace", "default")


def _refused(error: ApiException, what: str) -> ShipwayError:
    message = _message(error)
    if error.status == 409:
        return ConflictError(f"{what}: {message}")
    if error.status in (401, 403):
        return InputError(
            f"the cluster does not allow {what}: {message}; the step's ServiceAccount needs the Role in"
            " manifests/training"
        )
    if error.status == 404:
        return InputError(f"{what}: {message}; are the namespace and Kubeflow Trainer v2 there?")
    return InputError(f"{what} was refused with {error.status}: {message}")


def _message(error: ApiException) -> str:
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:300] or str(error.reason)


def _retry_after(error: ApiException) -> float:
    seconds = str((error.headers or {}).get("Retry-After", ""))
    return float(seconds) if seconds.isdecimal() else 0.0
