"""Aliases: small objects that point at a version and are moved by compare-and-swap."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from typing import Any

from shipway.components.common.errors import ObjectNotFound, PreconditionFailed, StorageError
from shipway.components.common.storage.capabilities import require_conditional_writes
from shipway.components.common.storage.opening import open_store

__all__ = ["Alias", "read_alias", "set_alias"]

_WRITER = "writer"


@dataclasses.dataclass(frozen=True)
class Alias:
    """Where an alias points.

    Attributes:
        document: What it says.
        version: What :func:`set_alias` compares; "" when there is none.
    """

    document: dict[str, Any]
    version: str


def read_alias(uri: str) -> Alias | None:
    """Returns what an alias says now; None when there is none.

    Raises:
        StorageError: When it is no JSON object, or the store fails.
    """
    store, key = open_store(uri)
    try:
        data, info = store.get_bytes(key)
    except ObjectNotFound:
        return None
    try:
        document = json.loads(data)
    except ValueError as error:
        raise StorageError(f"{store.uri(key)} is no alias: {error}", store.uri(key)) from error
    if not isinstance(document, dict):
        raise StorageError(f"{store.uri(key)} is no alias: it holds no JSON object", store.uri(key))
    document.pop(_WRITER, None)
    return Alias(document, info.version)


def set_alias(uri: str, document: Mapping[str, Any], expected: Alias | None) -> Alias:
    """Writes an alias if it is still what the caller has read; of several writers exactly one succeeds.

    Args:
        uri: The alias.
        document: What it shall say.
        expected: What read_alias returned; None: there must be none.

    Returns:
        What it says now.

    Raises:
        PreconditionFailed: When somebody else has written it meanwhile; read it again and decide anew.
        CapabilityMissing: When the store ignores conditional writes.
    """
    store, key = open_store(uri)
    require_conditional_writes(store, key.rpartition("/")[0])
    # A write whose answer got lost is told from somebody else's equal one by this mark.
    signed = {**document, _WRITER: secrets.token_hex(8)}
    data = f"{json.dumps(signed, indent=2, sort_keys=True, allow_nan=False)}\n".encode()
    version = expected.version if expected and store.takes_conditions else ""
    try:
        info = store.put_bytes(key, data, if_match=version, if_none_match=not version and store.takes_conditions)
    except PreconditionFailed as error:
        raise PreconditionFailed(
            f"{store.uri(key)} was moved by somebody else meanwhile; look at it again", store.uri(key)
        ) from error
    return Alias(dict(document), info.version)
