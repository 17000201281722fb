"""The parts of Envoy's messages that the table of routes and the rest of its configuration share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["ARM_OF_UPSTREAM", "KEY_HEADER", "MIRROR", "TABLE", "Json", "cluster_name", "extension", "header", "typed"]

TABLE = "split"
"""The table's name, by which the listener asks for it."""

MIRROR = "mirror_copies"
"""The cluster that copies go to, and its name in metrics; no arm can be called so."""

KEY_HEADER = "x-shipway-key"
"""What a request without the sticky cookie is given, and what that cookie will hold."""

ARM_OF_UPSTREAM = "%UPSTREAM_METADATA(shipway:arm)%"
"""Envoy's expression for the arm that answered."""

Json = dict[str, Any]


def cluster_name(arms: Iterable[str], grpc: bool) -> str:
    """Returns the name of the cluster in which these arms may answer, the preferred one first."""
    return "+".join(arms) + (":grpc" if grpc else "")


def header(key: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    """Returns a header to set."""
    return {"header": {"key": key, "value": value}, "append_action": action}


def extension(name: str, message: str, **fields: Any) -> Json:
    """Returns an extension with its own message's fields."""
    return {"name": name, "typed_config": {**typed(message), **fields}}


def typed(message: str) -> Json:
    """Returns the field that says which message the others belong to."""
    return {"@type": f"type.googleapis.com/envoy.{message}"}
