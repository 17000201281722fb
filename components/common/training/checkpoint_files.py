"""The files of checkpoints: in a store, and in a temporary directory while they are written or read."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from shipway.components.common.errors import AccessDenied, ObjectNotFound, StorageError, StorageUnavailable
from shipway.components.common.storage import Store, read_manifest
from shipway.components.common.storage.capabilities import PROBE_PREFIX, require_conditional_writes
from shipway.components.common.storage.manifests import MANIFEST

__all__ = [
    "Saved",
    "aside",
    "delete",
    "delete_leftovers",
    "local_directory",
    "new_key",
    "require_writable",
    "saved_below",
]

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{12})-([0-9a-f]{8})")
_ASIDE = "shipway-checkpoint-"


@dataclass(frozen=True)
class Saved:
    """What is in the directory of a checkpoint; with neither identity nor fault it was never finished.

    Attributes:
        key: Its directory.
        uri: The same.
        step: Of its name.
        number: Of the save.
        identity: Whose it is.
        fault: Why its manifest is of no use.
    """

    key: str
    uri: str
    step: int
    number: int
    identity: Mapping[str, Any] | None = None
    fault: str = ""


def saved_below(store: Store, key: str) -> list[Saved]:
    """Returns what there is, finished or not, the latest save first.

    Raises:
        StorageError: When the store cannot be read.
    """
    found = [Saved(name, store.uri(name), step, number) for name, step, number in _names_below(store, key)]
    return [_examined(one) for one in sorted(found, key=lambda one: (one.number, one.step), reverse=True)]


def new_key(store: Store, key: str, step: int) -> str:
    """Returns the directory for a save, which counts one up from all that are there.

    Raises:
        StorageError: When the store cannot be read.
    """
    number = 1 + max((number for _, _, number in _names_below(store, key)), default=0)
    return _below(key, f"step-{step:012}-{number:08x}")


def delete(store: Store, key: str) -> None:
    """Deletes one, its manifest first: where a kill comes between, it is one that was never finished.

    Raises:
        StorageError: When that is not allowed, or fails.
    """
    store.delete(_below(key, MANIFEST))
    for info in list(store.list(key)):
        store.delete(info.key)
    if directory := local_directory(store, key):
        shutil.rmtree(directory, ignore_errors=True)  # with what killed processes had not given its name yet


def local_directory(store: Store, key: str) -> Path | None:
    """Returns the path of a directory that the store leaves there when it is empty; None for an object store."""
    return store.root.directory / key if store.root.scheme in ("file", "pvc") else None


def require_writable(store: Store, key: str) -> None:
    """Writes and deletes a small object, to find out.

    Raises:
        StorageError: When nothing can be written, or not safely.
    """
    probe = _below(key, f"{PROBE_PREFIX}{secrets.token_hex(8)}")
    require_conditional_writes(store, key)
    store.put_bytes(probe, b"1", if_none_match=store.takes_conditions)
    try:
        store.delete(probe)
    except StorageError as error:
        _LOG.warning("old checkpoints will stay, as nothing can be deleted in %s: %s", store.uri(key), error)


@contextlib.contextmanager
def aside() -> Iterator[Path]:
    """Yields a temporary directory, locked while its process lives.

    Raises:
        OSError: When there is no place for one.
    """
    while True:
        path = Path(tempfile.mkdtemp(prefix=_ASIDE))
        with contextlib.suppress(FileNotFoundError):  # another process took it for a leftover
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                break
            os.close(lock)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def delete_leftovers() -> None:
    """Deletes the temporary directories that killed processes left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_ASIDE}*"):
        with contextlib.suppress(OSError):  # in use, or another user's
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)


def _names_below(store: Store, key: str) -> list[tuple[str, int, int]]:
    """Returns the directory, step and number of every checkpoint."""
    directories = [info.key.rstrip("/") for info in store.list(key, recursive=False) if info.is_directory]
    found = [(name, _NAME.fullmatch(PurePosixPath(name).name)) for name in directories]
    return [(name, int(match[1]), int(match[2], 16)) for name, match in found if match]


def _examined(one: Saved) -> Saved:
    try:
        manifest = read_manifest(one.uri)
    except ObjectNotFound:
        return one
    except (AccessDenied, StorageUnavailable):
        raise
    except StorageError as error:
        return replace(one, fault=str(error))
    if manifest.get("step") != one.step or not isinstance(manifest.get("identity"), dict):
        return replace(one, fault=f"its {MANIFEST} does not say what was saved")
    return replace(one, identity=manifest["identity"])


def _below(key: str, name: str) -> str:
    return f"{key}/{name}" if key else name
