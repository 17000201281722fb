"""From a URI to its store."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.profiles import Profile, profile_for
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri, parse_uri

__all__ = ["open_store"]

_STORES: dict[tuple[int, StorageUri, Profile, int], Store] = {}
_LOCK = threading.Lock()


def open_store(uri: str | Path, effort: Effort | Options | None = None) -> tuple[Store, str]:
    """Returns the store that a URI is in, and the key there.

    Args:
        uri: A path, or a ``file://``, ``pvc://``, ``gs://``, ``s3://`` or ``http(s)://`` URI.
        effort: How to go about the requests, or the operation that they belong to.

    Raises:
        InputError: When it is no such URI, or its profile is wrong.
    """
    parsed = parse_uri(uri)
    root = StorageUri(parsed.scheme, parsed.bucket, "")
    account = effort if isinstance(effort, Effort) else Effort(effort)
    profile = profile_for(str(parsed))
    # Clients must not be shared with a forked process.
    identity = (os.getpid(), root, profile, account.options.workers)
    with _LOCK:
        store = _STORES.get(identity)
        if store is None:
            store = _STORES[identity] = _new_store(root, profile, account.options.workers)
    return store.within(account), parsed.key


def _new_store(root: StorageUri, profile: Profile, workers: int) -> Store:
    if root.scheme in ("file", "pvc"):
        from shipway.components.common.storage.backends.local import LocalStore

        return LocalStore(root, profile, workers)
    if root.scheme == "gs":
        from shipway.components.common.storage.backends.gs import GsStore

        return GsStore(root, profile, workers)
    if root.scheme == "s3":
        from shipway.components.common.storage.backends.s3 import S3Store

        return S3Store(root, profile, workers)
    from shipway.components.common.storage.backends.web import WebStore

    return WebStore(root, profile, workers)
