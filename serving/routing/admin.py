"""Envoy's administration, over a socket that only its user may open."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipway.components.common.errors import DeploymentError
from shipway.serving.routing.configuration import ADMIN_SOCKET

__all__ = ["Admin"]

_TIMEOUT_SECONDS = 5.0


class Admin:
    """Asks the Envoy whose files are in one directory; a DeploymentError says that it does not answer."""

    def __init__(self, directory: Path) -> None:
        """Takes the directory."""
        self._directory = directory

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        try:
            return self._ask("GET", "/ready").strip() == b"LIVE"
        except DeploymentError:
            return False

    def table_version(self) -> str:
        """Returns the version of the table of routes that is in force."""
        dump = json.loads(self._ask("GET", "/config_dump?resource=dynamic_route_configs"))
        return str(dump["configs"][0]["version_info"])

    def connections(self) -> int:
        """Returns how many connections clients have open."""
        return self._gauge("downstream_cx_active")

    def requests_under_way(self) -> int:
        """Returns how many requests have no answer yet."""
        return self._gauge("downstream_rq_active")

    def take_no_more(self) -> None:
        """Closes the listeners, and each open connection with its next answer."""
        self._ask("POST", "/healthcheck/fail")
        self._ask("POST", "/drain_listeners")

    def _gauge(self, name: str) -> int:
        stats = json.loads(self._ask("GET", f"/stats?format=json&filter={name}"))["stats"]
        return sum(int(stat["value"]) for stat in stats)

    def _ask(self, method: str, path: str) -> bytes:
        try:
            with contextlib.closing(_Connection(self._directory)) as connection:
                connection.request(method, path)
                response = connection.getresponse()
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DeploymentError(
                f"the router of {self._directory} does not answer {method} {path}: {error}"
            ) from error
        if response.status != http.client.OK:
            raise DeploymentError(f"the router of {self._directory} answered {response.status} to {path}")
        return body


class _Connection(http.client.HTTPConnection):
    def __init__(self, directory: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._directory = directory

    def connect(self) -> None:
        self.sock: Any = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with _short(self._directory) as directory:
            self.sock.connect(f"{directory}/{ADMIN_SOCKET}")


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Yields a short name of a directory: the address of a socket has room for 107 bytes."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
