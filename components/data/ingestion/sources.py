"""Where raw data comes from, and the digest of what it holds now.

A path, ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI names one file or a directory of files; an ``http(s)://``
address names one file. What a file is, its name tells: see :data:`SUFFIXES`. Everything else in a directory, and what
is hidden, is left alone.

The digest of files is taken over their bytes. That of what lies in a store is taken over what the store tells without
its bytes being read: names, sizes, versions (a generation, a strong ETag) and CRC32C; where a store tells no version,
as some web servers do not, over the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import ConflictError, InputError, ObjectNotFound
from shipway.components.common.progress import bytes_progress
from shipway.components.common.storage import Effort, ObjectInfo, Options, Store, open_store
from shipway.components.common.storage.downloads import get_file
from shipway.components.common.storage.uris import inside, parse_uri, shown

__all__ = ["SUFFIXES", "fetched", "file_name", "local_path", "resolve_data", "table_name"]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
"""The endings of the names of readable files; small and capital letters are the same."""

_SAFE_NAME = re.compile(r"\w[\w .+=-]*")


def resolve_data(data_uri: str) -> str:
    """Returns ``sha256:<hex>`` of what ``data_uri`` holds now.

    Args:
        data_uri: A path, or a ``file://``, ``pvc://``, ``gs://``, ``s3://`` or ``http(s)://`` URI.

    Raises:
        InputError: When it is misspelt, or nothing readable is there.
        StorageError: When a store has no such object, refuses it, or does not answer.
    """
    path = local_path(data_uri)
    if path:
        return _local_digest(_local_files(path.absolute()))
    store, objects = _stored(data_uri)
    told = _told_digest(objects)
    if told:
        return told
    with tempfile.TemporaryDirectory() as scratch:
        return _local_digest(_downloaded(data_uri, store, objects, Path(scratch)))


@contextlib.contextmanager
def fetched(data_uri: str, data_digest: str) -> Iterator[list[Path]]:
    """Yields the files behind ``data_uri``, which are the ones that ``data_digest`` was resolved from.

    What lies in a store is downloaded and verified, to a directory that is removed afterwards.

    Raises:
        ConflictError: When the source changed since ``data_digest`` was resolved, or while the block ran.
        InputError, StorageError: As :func:`resolve_data`.
    """
    path = local_path(data_uri)
    if not path:
        with tempfile.TemporaryDirectory() as scratch:
            yield _verified_download(data_uri, data_digest, Path(scratch))
        return
    files = _local_files(path.absolute())
    before = [_stamp(file) for file in files]
    _require_same(data_uri, _local_digest(files), data_digest)
    yield files
    if [_stamp(file) for file in files] != before:
        raise ConflictError(f"{data_uri} changed while it was read; run the pipeline again when nobody writes to it")


def local_path(uri: str) -> Path | None:
    """Returns the path of what lies in a file system here; None for what a store or a web server has.

    Raises:
        InputError: When it is no URI that can be read.
    """
    parsed = parse_uri(uri)
    if "://" not in uri:
        return Path(uri).expanduser()
    return parsed.directory / parsed.key if parsed.scheme in ("file", "pvc") else None


def file_name(uri: str) -> str:
    """Returns the last part of what a URI names; ``data`` for a whole bucket."""
    parsed = parse_uri(uri)
    web = parsed.scheme in ("http", "https")
    return PurePosixPath(unquote(parsed.key.partition("?")[0]) if web else parsed.key).name or "data"


def table_name(file: Path) -> str:
    """Returns the table's name: the file's name without its suffix.

    Raises:
        InputError: When the suffix is not one of :data:`SUFFIXES`, or the name cannot name a table.
    """
    suffix = _suffix(file.name)
    if not suffix:
        raise InputError(
            f"{file.name}: the ending of the name does not tell a readable format; give a file that ends in "
            f"{', '.join(SUFFIXES)} (unpack archives first)"
        )
    stem = file.name[: -len(suffix)]
    if not _SAFE_NAME.fullmatch(stem):
        raise InputError(
            f"{file.name!r} cannot name a table: rename it to letters, digits, blanks and _ . + = - before {suffix}"
        )
    return stem


def _local_files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if _is_readable(file.name) and file.is_file())
            if not files:
                raise InputError(f"{path} is a directory without readable files; expected {', '.join(SUFFIXES)}")
            return _distinct(files)
        if not path.exists():
            raise InputError(f"{path} does not exist; is data_uri spelt right, and reachable from where the step runs?")
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a directory; give one of those")
        return _distinct([path])
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror}; let the step's user read it") from error


def _is_readable(name: str) -> bool:
    return bool(_suffix(name)) and not name.startswith(".")


def _distinct(files: list[Path]) -> list[Path]:
    names: dict[str, Path] = {}
    for file in files:
        other = names.setdefault(table_name(file).casefold(), file)
        if other is not file:
            raise InputError(f"{other.name} and {file.name} would be one table; rename or move one of them")
    return files


def _suffix(name: str) -> str:
    return next((name[-len(s) :] for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")


def _local_digest(files: list[Path]) -> str:
    try:
        if len(files) == 1:
            return file_digest(files[0])
        listing = "".join(f"{file.name}\0{file_digest(file)}\n" for file in files)
    except PermissionError as error:
        raise InputError(f"{error.filename} may not be read; let the step's user read it") from error
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stored(data_uri: str) -> tuple[Store, dict[str, ObjectInfo]]:
    """Returns the store and the readable objects by the names of their files, in the names' order."""
    store, key = open_store(data_uri)
    name = file_name(data_uri)
    if store.root.scheme in ("http", "https"):
        table_name(Path(name))
        return store, {name: store.stat(key)}
    objects = {}
    if key and not data_uri.endswith("/"):
        with contextlib.suppress(ObjectNotFound):
            objects[name] = store.stat(key)
    if not objects:
        listed = {PurePosixPath(info.key).name: info for info in store.list(key, recursive=False)}
        if not listed:
            raise ObjectNotFound(f"{store.uri(key)} holds nothing; is data_uri spelt right?", store.uri(key))
        objects = {name: info for name, info in sorted(listed.items()) if _is_readable(name) and not info.is_directory}
        if not objects:
            raise InputError(f"{store.uri(key)} holds no readable files; expected {', '.join(SUFFIXES)}")
    _distinct([Path(name) for name in objects])
    return store, objects


def _told_digest(objects: dict[str, ObjectInfo]) -> str:
    """Returns the digest of what the store tells; "" where that leaves a change unseen."""
    if not all(info.version for info in objects.values()):
        return ""
    fields = [(name, str(info.size), info.version, info.checksums.crc32c) for name, info in objects.items()]
    listing = "".join("\0".join(each) + "\n" for each in fields)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _verified_download(data_uri: str, data_digest: str, scratch: Path) -> list[Path]:
    store, objects = _stored(data_uri)
    told = _told_digest(objects)
    if told:
        _require_same(data_uri, told, data_digest)
    files = _downloaded(data_uri, store, objects, scratch)
    if not told:
        _require_same(data_uri, _local_digest(files), data_digest)
    return files


def _downloaded(data_uri: str, store: Store, objects: dict[str, ObjectInfo], scratch: Path) -> list[Path]:
    files = {name: inside(scratch, name, shown(data_uri)) for name in objects}
    with bytes_progress("downloading") as tell:
        effort = Effort(Options(progress=tell))
        effort.total_bytes = sum(info.size for info in objects.values())
        counted = store.within(effort)

        def fetch(name: str) -> None:
            info = objects[name]
            found = get_file(counted, info.key, files[name], info=info, in_place=True)
            if found.version != info.version:
                raise _changed(data_uri)

        effort.each_by_size(fetch, objects, lambda name: objects[name].size)
    return list(files.values())


def _require_same(data_uri: str, found: str, expected: str) -> None:
    if found != expected:
        raise _changed(data_uri, f" ({expected[:19]}…, now {found[:19]}…)")


def _changed(data_uri: str, how: str = "") -> ConflictError:
    return ConflictError(
        f"{shown(data_uri)} no longer holds what was resolved{how}; run the pipeline again to take the new content"
    )
