"""Where raw data comes from: a path, a ``file://`` or an ``http(s)://`` URI, and the digest of what it holds now.

A path or ``file://`` URI names one file or a directory of files; an ``http(s)://`` URI names one file. What a
file is, its name tells: see :data:`SUFFIXES`. Everything else in a directory, and what is hidden, is left alone.

The digest of files is taken over their bytes; that of a web address over its strong ETag and length, or over
the bytes where the server offers no strong ETag.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import ConflictError, InputError
from shipway.components.data.ingestion import web

__all__ = ["SUFFIXES", "fetched", "resolve_data", "table_name"]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
"""The endings of the names of readable files; small and capital letters are the same."""

_SAFE_NAME = re.compile(r"\w[\w .+=-]*")


def resolve_data(data_uri: str) -> str:
    """Returns ``sha256:<hex>`` of what ``data_uri`` holds now; equal contents give equal digests.

    Args:
        data_uri: Path, ``file://`` or ``http(s)://`` URI.

    Raises:
        InputError: When there is nothing readable.
        TransientError: When a server answers that trying later may help.
    """
    if not _is_remote(data_uri):
        return _local_digest(_local_files(data_uri))
    tagged = web.tag_digest(web.head(data_uri))
    if tagged:
        return tagged
    with tempfile.TemporaryDirectory() as scratch:
        return file_digest(_download(data_uri, Path(scratch)))


@contextlib.contextmanager
def fetched(data_uri: str, data_digest: str) -> Iterator[list[Path]]:
    """Yields the files behind ``data_uri``, which are the ones that ``data_digest`` was resolved from.

    A web address is downloaded aside, to a directory that is removed afterwards.

    Raises:
        ConflictError: When the source changed since ``data_digest`` was resolved, or while the block ran.
        InputError, TransientError: As :func:`resolve_data`.
    """
    if _is_remote(data_uri):
        with tempfile.TemporaryDirectory() as scratch:
            yield [_verified_download(data_uri, data_digest, Path(scratch))]
        return
    files = _local_files(data_uri)
    before = [_stamp(file) for file in files]
    _require_same(data_uri, _local_digest(files), data_digest)
    yield files
    if [_stamp(file) for file in files] != before:
        raise ConflictError(f"{data_uri} changed while it was read; run the pipeline again when nobody writes to it")


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


def _is_remote(data_uri: str) -> bool:
    scheme, separator, _ = data_uri.partition("://")
    if not data_uri.strip():
        raise InputError("data_uri is empty; give a path, a file:// or an http(s):// URI")
    if separator and scheme.lower() not in ("file", "http", "https"):
        raise InputError(f"{scheme}:// cannot be read; give a path, a file:// or an http(s):// URI")
    return bool(separator) and scheme.lower() != "file"


def _local_path(data_uri: str) -> Path:
    if "://" not in data_uri:
        return Path(data_uri).expanduser().absolute()
    parts = urlsplit(data_uri)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{data_uri}: a file:// URI cannot name a host; write file:///absolute/path")
    return Path(unquote(parts.path))


def _local_files(data_uri: str) -> list[Path]:
    path = _local_path(data_uri)
    try:
        if path.is_dir():
            files = sorted(f for f in path.iterdir() if _suffix(f.name) and not f.name.startswith(".") and f.is_file())
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


def _verified_download(data_uri: str, data_digest: str, scratch: Path) -> Path:
    promised = web.tag_digest(web.head(data_uri))
    if promised:
        _require_same(data_uri, promised, data_digest)
    file = _download(data_uri, scratch, expected_tag=promised)
    if not promised:
        _require_same(data_uri, file_digest(file), data_digest)
    return file


def _download(data_uri: str, scratch: Path, expected_tag: str = "") -> Path:
    file = Path(unquote(urlsplit(data_uri).path)).name
    name = f"{table_name(Path(file))}{_suffix(file)}"
    with (scratch / name).open("wb") as target:
        received = web.download(data_uri, target)
    tagged = web.tag_digest(received)
    if expected_tag and tagged:
        _require_same(data_uri, tagged, expected_tag)
    return scratch / name


def _require_same(data_uri: str, found: str, expected: str) -> None:
    if found != expected:
        raise ConflictError(
            f"{web.shown(data_uri)} no longer holds what was resolved ({expected[:19]}…, now {found[:19]}…); "
            "run the pipeline again to take the new content"
        )
