"""What a store can really do, found out by trying it."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import PurePosixPath

from shipway.components.common.errors import CapabilityMissing, PreconditionFailed, StorageError, StorageUnavailable
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri

__all__ = ["PROBE_PREFIX", "Capabilities", "capabilities", "require_conditional_writes"]

PROBE_PREFIX = ".shipway-probe-"
_KNOWN: dict[tuple[StorageUri, Profile], Capabilities] = {}


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a store does with conditions on writes.

    Attributes:
        conditional_create: Whether it refuses to write where there must be nothing and something is.
        conditional_replace: Whether it refuses to replace another version than the one named.
    """

    conditional_create: bool
    conditional_replace: bool


def capabilities(uri: str) -> Capabilities:
    """Returns what the store of a URI can do; below it a small object is written and deleted to find out.

    The answer is kept for this process. GCS and AWS themselves, and file systems, are known and not asked.

    Raises:
        StorageError: When nothing can be written there.
    """
    store, key = open_store(uri)
    return _capabilities(store, key)


def require_conditional_writes(store: Store, key: str) -> None:
    """Checks that it is safe to publish below a key.

    Raises:
        CapabilityMissing: When the store ignores conditions, and the profile does not allow to publish all the same.
    """
    if not store.takes_conditions:
        return
    found = _capabilities(store, key)
    if not (found.conditional_create and found.conditional_replace):
        raise CapabilityMissing(
            f"{store.uri(key)}: this store ignores conditional writes, so of two who publish at the same time one would"
            " silently overwrite the other; use another store, or set unconditional_publish in its profile where only"
            " one ever publishes",
            store.uri(key),
        )


def _capabilities(store: Store, key: str) -> Capabilities:
    if store.heeds_conditions:
        return Capabilities(conditional_create=True, conditional_replace=True)
    identity = (store.root, store.profile)
    if identity not in _KNOWN:
        _KNOWN[identity] = _probe(store, str(PurePosixPath(key, f"{PROBE_PREFIX}{secrets.token_hex(8)}")))
    return _KNOWN[identity]


def _probe(store: Store, key: str) -> Capabilities:
    first = store.put_bytes(key, b"1")
    try:
        create = _refuses(store, key, if_none_match=True)
        # The first version is gone after an honoured replacement, and must not be replaced again.
        store.put_bytes(key, b"2")
        replace = _refuses(store, key, if_match=first.version)
    finally:
        store.delete(key)
    return Capabilities(create, replace)


def _refuses(store: Store, key: str, if_match: str = "", if_none_match: bool = False) -> bool:
    try:
        store.put_bytes(key, b"3", if_match, if_none_match)
    except PreconditionFailed:
        return True
    except StorageUnavailable:
        raise
    except StorageError:
        return False  # it does not know conditions at all
    return False
