"""Published versions: directories that never change, complete once their manifest is there.

Files come first and the manifest last, each only where there is none yet. So whoever finds a manifest finds all of
its files, and of two who publish different things under one name the second one is told.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shipway.components.common.errors import (
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    VersionConflictError,
)
from shipway.components.common.storage.capabilities import PROBE_PREFIX, require_conditional_writes
from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums, mismatch
from shipway.components.common.storage.downloads import Transfer
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.manifests import (
    MANIFEST,
    Entry,
    Manifest,
    digest_of,
    entries_of,
    entries_of_directory,
    manifest_of,
)
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uploads import holds, put_file

__all__ = ["Published", "publish_entries", "publish_version", "read_manifest", "required_entries", "verify"]

_RESERVED = {"digest", "files"}


@dataclasses.dataclass(frozen=True)
class Published:
    """A version that is published.

    Attributes:
        uri: Its directory.
        digest: ``sha256:<hex>`` of its content.
        manifest: What its ``MANIFEST.json`` holds.
        created: Whether this call published it; else it was there already.
        transfer: What was moved.
    """

    uri: str
    digest: str
    manifest: Manifest
    created: bool
    transfer: Transfer


def publish_version(
    directory: str | Path, uri: str, document: Mapping[str, Any] | None = None, options: Options | None = None
) -> Published:
    """Publishes a directory as a version that never changes; published again, it finds itself and sends nothing.

    Args:
        directory: What to publish; a ``MANIFEST.json`` in it is left out.
        uri: The version's directory, such as ``s3://models/flights/3f2a``.
        document: What the manifest should say besides ``digest`` and ``files``.
        options: How to go about it.

    Raises:
        InputError: When the directory holds no files.
        VersionConflictError: When something else is published there, or half published.
        CapabilityMissing: When the store ignores conditional writes; see :mod:`.capabilities`.
        StorageError: When the store fails; run it again to go on.
    """
    if taken := _RESERVED & set(document or {}):
        raise InputError(f"the manifest's {', '.join(sorted(taken))} cannot be given")
    source = Path(directory)
    entries = entries_of_directory(source)
    files = [entry.document() for entry in entries.values()]
    manifest = {**(document or {}), "digest": digest_of(entries.values()), "files": files}
    effort = Effort(options)
    store, key = open_store(uri, effort)

    def send(entry: Entry, target: str) -> None:
        put_file(store, source / entry.path, target, "", store.takes_conditions, entry.checksums)

    return publish_entries(store, key, manifest, entries, send)


def publish_entries(
    store: Store, key: str, manifest: Manifest, entries: Mapping[str, Entry], send: Callable[[Entry, str], None]
) -> Published:
    """Publishes files, which ``send`` writes to a key where there is none yet, and then their manifest.

    Raises:
        VersionConflictError, CapabilityMissing, StorageError: As :func:`publish_version`.
    """
    uri, effort = store.uri(key), store.effort
    effort.total_bytes = sum(entry.size for entry in entries.values())
    if published := _published(store, key, manifest, entries):
        return published
    require_conditional_writes(store, key)
    there = _unfinished(store, key, entries)
    effort.advance(sum(entries[name].size for name in there))

    def send_new(entry: Entry) -> None:
        target = f"{key}/{entry.path}" if key else entry.path
        try:
            send(entry, target)
        except PreconditionFailed:
            info = store.stat(target)
            if not _is_entry(store, info, entry):
                raise _conflict(uri, entry.path) from None

    missing = [entry for name, entry in entries.items() if name not in there]
    effort.each_by_size(send_new, missing, lambda entry: entry.size)
    if faults := _differences(store, key, entries, deep=False):
        raise IntegrityError(f"{uri} is not what was sent: {'; '.join(faults[:5])}; publish it again", uri)
    data = f"{json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)}\n".encode()
    try:
        store.put_bytes(f"{key}/{MANIFEST}" if key else MANIFEST, data, if_none_match=store.takes_conditions)
    except PreconditionFailed:
        if published := _published(store, key, manifest, entries):
            return published
        raise
    transfer = Transfer(len(entries), effort.total_bytes, effort.moved_bytes, len(there))
    return Published(uri, manifest["digest"], manifest, created=True, transfer=transfer)


def read_manifest(uri: str) -> Manifest:
    """Returns the manifest of a published version.

    Raises:
        ObjectNotFound: When there is none: nothing was published there, or it is not finished.
        IntegrityError: When it was changed.
        StorageError: When it is no manifest of a version.
    """
    store, key = open_store(uri)
    manifest = manifest_of(store, key)
    required_entries(manifest, store.uri(key))
    return manifest


def verify(uri: str, deep: bool = False, options: Options | None = None) -> Manifest:
    """Returns the manifest of a published version whose files are the ones that were published.

    Args:
        uri: The version's directory.
        deep: Whether to read every byte and compare SHA-256; else sizes are compared, and the CRC32C that stores keep.
            What a store keeps none of is read, unless it is a file of a file system.
        options: How to go about it.

    Raises:
        ObjectNotFound: When there is no manifest.
        IntegrityError: When a file is missing, changed or not in the manifest; the message names them.
    """
    effort = Effort(options)
    store, key = open_store(uri, effort)
    manifest = manifest_of(store, key)
    entries = required_entries(manifest, store.uri(key))
    effort.total_bytes = sum(entry.size for entry in entries.values())
    if faults := _differences(store, key, entries, deep):
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise IntegrityError(f"{store.uri(key)} is not what was published: {shown}; do not use it", store.uri(key))
    return manifest


def required_entries(manifest: Manifest, where: str) -> dict[str, Entry]:
    """Returns a manifest's entries.

    Raises:
        StorageError: When it is no manifest of a version.
    """
    entries = entries_of(manifest, where)
    if entries is None:
        raise StorageError(f"{where}/{MANIFEST} is not a version's: digest or files are missing or damaged", where)
    return entries


def _published(store: Store, key: str, manifest: Manifest, entries: Mapping[str, Entry]) -> Published | None:
    """Returns what is published at ``key``; None when nothing is."""
    uri = store.uri(key)
    try:
        found = manifest_of(store, key)
    except ObjectNotFound:
        return None
    if found.get("digest") != manifest["digest"]:
        raise VersionConflictError(
            f"{uri} is published and holds something else ({found.get('digest')}, not {manifest['digest']}); versions"
            " never change: publish under another name",
            uri,
        )
    if faults := _differences(store, key, entries, deep=False):
        raise IntegrityError(f"{uri} was changed after it was published: {'; '.join(faults[:5])}; do not use it", uri)
    size = sum(entry.size for entry in entries.values())
    return Published(uri, found["digest"], found, created=False, transfer=Transfer(len(entries), size, 0, len(entries)))


def _unfinished(store: Store, key: str, entries: Mapping[str, Entry]) -> set[str]:
    """Returns which files an earlier try has sent already."""
    listed = _listed(store, key)

    def check(name: str) -> None:
        if name not in entries or not _is_entry(store, _full(store, listed[name]), entries[name]):
            raise _conflict(store.uri(key), name)

    store.effort.each(check, listed)
    return set(listed)


def _conflict(uri: str, name: str) -> VersionConflictError:
    return VersionConflictError(
        f"{uri} is not published, but holds {name}, which is not part of what is published now; delete what an"
        " unfinished publishing has left there, or publish under another name",
        uri,
    )


def _listed(store: Store, key: str) -> dict[str, ObjectInfo]:
    prefix = f"{key}/" if key else ""
    found = {info.key.removeprefix(prefix): info for info in store.list(key)}
    return {name: info for name, info in found.items() if name != MANIFEST and not name.startswith(PROBE_PREFIX)}


def _full(store: Store, info: ObjectInfo) -> ObjectInfo:
    return info if info.checksums.crc32c else store.stat(info.key)


def _is_entry(store: Store, info: ObjectInfo, entry: Entry) -> bool:
    return holds(store, info, entry.size, lambda _like: entry.checksums)


def _differences(store: Store, key: str, entries: Mapping[str, Entry], deep: bool) -> list[str]:
    """Returns what is wrong with the files of a version, in words."""
    listed = _listed(store, key)
    faults = [f"{name} is missing" for name in entries.keys() - listed.keys()]
    faults += [f"{name} is not in the {MANIFEST}" for name in listed.keys() - entries.keys()]

    def compare(name: str) -> None:
        entry = entries[name]
        if listed[name].size != entry.size:
            faults.append(f"{name} has {listed[name].size:,} bytes instead of {entry.size:,}")
            return
        found = NO_CHECKSUMS if deep else _full(store, listed[name]).checksums
        if deep or not (found.crc32c or store.reads_are_cheap):
            found = _read(store, listed[name])
        if fault := mismatch(found, entry.checksums):
            faults.append(f"{name} has {fault}")

    store.effort.each(compare, sorted(entries.keys() & listed.keys()))
    return sorted(faults)


def _read(store: Store, info: ObjectInfo) -> Checksums:
    digest = hashlib.sha256()
    for chunk in store.read(info.key, 0, info.size, info.version):
        digest.update(chunk)
        store.effort.advance(len(chunk))
    return Checksums(sha256=digest.hexdigest())
