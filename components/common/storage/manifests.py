"""``MANIFEST.json``: what makes a directory a published version. It is written last and never changes.

``digest`` is ``sha256:<hex>`` over the sorted list of path and SHA-256 of every file but the manifest; ``files`` has a
``path``, ``size``, ``crc32c`` (base64) and ``sha256`` (``sha256:<hex>``) for each. Other members are the publisher's.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from shipway.components.common.errors import InputError, IntegrityError, ObjectNotFound, StorageError
from shipway.components.common.storage.checksums import Checksums, file_checksums
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import check_name

__all__ = [
    "MANIFEST",
    "Entry",
    "Manifest",
    "digest_of",
    "entries_of",
    "entries_of_directory",
    "files_below",
    "manifest_of",
]

MANIFEST = "MANIFEST.json"

Manifest = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file of a version: its path below it, size in bytes, and CRC32C and SHA-256."""

    path: str
    size: int
    checksums: Checksums

    def document(self) -> dict[str, Any]:
        """Returns it as it stands in the manifest."""
        sha256 = f"sha256:{self.checksums.sha256}"
        return {"path": self.path, "size": self.size, "crc32c": self.checksums.crc32c, "sha256": sha256}


def files_below(directory: Path) -> list[Path]:
    """Returns all files below a directory; links to files are followed.

    Raises:
        InputError: When there is something that is neither file nor directory, a link to a directory, or something
            that may not be read: nothing is left out silently.
    """

    def fail(error: OSError) -> NoReturn:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    found = []
    for top, directories, names in os.walk(directory, onerror=fail):
        for path in (Path(top, name) for name in (*directories, *names)):
            if path.is_symlink() and path.is_dir():
                raise InputError(f"{path} is a link to a directory; put what it leads to in its place")
            if not path.is_dir():
                if not path.is_file():
                    raise InputError(f"{path} is no regular file; remove it")
                found.append(path)
    return sorted(found)


def entries_of_directory(directory: Path) -> dict[str, Entry]:
    """Returns an entry for every file below a directory but its manifest, by path.

    Raises:
        InputError: When there is none, or something that is no regular file.
    """
    entries = {}
    for path in files_below(directory):
        name = path.relative_to(directory).as_posix()
        if name == MANIFEST:
            continue
        check_name(name, str(directory))
        checksums = file_checksums(path, Checksums(crc32c="?", sha256="?"))
        entries[name] = Entry(name, path.stat().st_size, checksums)
    if not entries:
        raise InputError(f"{directory} is no directory with files in it; there is nothing to publish")
    return entries


def digest_of(entries: Iterable[Entry]) -> str:
    """Returns the digest of a version from its files."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: Path(entry.path)):
        digest.update(f"{entry.path}\0sha256:{entry.checksums.sha256}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def manifest_of(store: Store, key: str) -> Manifest:
    """Returns the manifest of the version below ``key``.

    Raises:
        ObjectNotFound: When there is none: nothing was published there, or it is not finished.
        StorageError: When it is no JSON object.
    """
    name = f"{key}/{MANIFEST}" if key else MANIFEST
    try:
        data, _ = store.get_bytes(name)
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"{store.uri(key)} is no published version: it has no {MANIFEST}; was its publishing finished?",
            store.uri(key),
        ) from error
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise StorageError(f"{store.uri(name)} is no JSON: {error}", store.uri(name)) from error
    if not isinstance(manifest, dict):
        raise StorageError(f"{store.uri(name)} is no JSON object", store.uri(name))
    return manifest


def entries_of(manifest: Mapping[str, Any], where: str) -> dict[str, Entry] | None:
    """Returns the entries of a manifest by path; None for a ``MANIFEST.json`` that is something else.

    Raises:
        UnsafeName: When a path would leave the version's directory.
        IntegrityError: When the digest is not that of the files.
    """
    files = manifest.get("files")
    if not isinstance(files, list) or not isinstance(manifest.get("digest"), str):
        return None
    entries = {}
    for file in files:
        try:
            path, size, crc32c, sha256 = (file[name] for name in ("path", "size", "crc32c", "sha256"))
            base64.b64decode(crc32c, validate=True)
            checksums = Checksums(crc32c=crc32c, sha256=sha256.removeprefix("sha256:"))
            entries[check_name(path, where)] = Entry(path, int(size), checksums)
        except (AttributeError, KeyError, TypeError, ValueError, binascii.Error):
            return None
    if digest_of(entries.values()) != manifest["digest"]:
        raise IntegrityError(f"{where}/{MANIFEST} was changed: its digest is not that of its files", where)
    return entries
