"""Storage URIs, and which names out of a store are safe to use as paths."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from shipway.components.common.errors import InputError, UnsafeName

__all__ = ["SCHEMES", "StorageUri", "check_name", "inside", "parse_uri", "shown"]

SCHEMES = ("file", "pvc", "gs", "s3", "http", "https")
_CLAIM_ROOT_VARIABLE = "SHIPWAY_PVC_ROOT"
_CLAIM_ROOT = "/mnt/pvc"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LONGEST_NAME_BYTES = 1024
_MISSPELT = re.compile(r"(gs|s3|pvc|file|https?):", re.I)
_OTHER_NAMES = {"minio": "s3", "s3a": "s3", "s3n": "s3", "gcs": "gs"}


@dataclasses.dataclass(frozen=True)
class StorageUri:
    """Where something lies.

    Attributes:
        scheme: One of :data:`SCHEMES`.
        bucket: The bucket; the claim of ``pvc://``; the host, and port, of ``http(s)://``; "" for ``file://``.
        key: The name below it, without a slash in front or behind; of ``http(s)://`` with the query.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        if self.scheme in ("http", "https"):
            return f"{self.scheme}://{self.bucket}/{self.key}"
        return f"{self.root}/{quote(self.key, safe=_PLAIN) if self.scheme == 'file' else self.key}"

    @property
    def root(self) -> str:
        """The URI of the store: bucket, claim or host; ``file://`` for the file system."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def directory(self) -> Path:
        """The directory that the keys of a ``file://`` or ``pvc://`` URI are relative to.

        A claim is looked for where the pod mounts it: below ``/mnt/pvc``, or what SHIPWAY_PVC_ROOT names.
        """
        if self.scheme == "pvc":
            return Path(os.environ.get(_CLAIM_ROOT_VARIABLE) or _CLAIM_ROOT) / self.bucket
        return Path("/")


_PLAIN = "/ !$&'()*+,;=:@~-._[]{}|^"


def parse_uri(text: str | Path) -> StorageUri:
    """Returns the parts of a URI; a path without a scheme is a file.

    Raises:
        InputError: When it is empty, has another scheme, a password in it, or a name that cannot be one.
    """
    uri = str(text)
    if not uri.strip():
        raise InputError("the URI is empty; give a path, or a URI that starts with " + "://, ".join(SCHEMES) + "://")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if misspelt := _MISSPELT.match(uri):
            raise InputError(f"{shown(uri)} is neither a path nor a URI; did you mean {misspelt[1].lower()}://…?")
        return StorageUri("file", "", os.path.abspath(Path(uri).expanduser()).strip("/"))  # noqa: PTH100 - links stay
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        hint = f"; write {_OTHER_NAMES[scheme]}://, and set the endpoint in a profile" if scheme in _OTHER_NAMES else ""
        raise InputError(f"{scheme}:// is not known; it can be a path or one of {known}{hint}")
    if scheme in ("http", "https"):
        return _web_uri(uri)
    if scheme == "file":
        return _file_uri(uri)
    bucket, _, key = rest.partition("/")
    if not (_CLAIM if scheme == "pvc" else _BUCKET).fullmatch(bucket):
        what = "claim" if scheme == "pvc" else "bucket"
        raise InputError(
            f"{shown(uri)}: {bucket.rpartition('@')[2]!r} cannot name a {what}; write {scheme}://{what}/name"
        )
    parsed = StorageUri(scheme, bucket, key.rstrip("/"))
    if parsed.key and (fault := _fault_of(parsed.key)):
        raise InputError(f"{uri[:300]}: the name below {parsed.root} has {fault}, which Shipway takes for no name")
    return parsed


def _web_uri(uri: str) -> StorageUri:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{shown(uri)} is no usable address: {error}") from error
    if "@" in parts.netloc:
        raise InputError(f"{shown(uri)}: take user and password out of the address; put them into a profile")
    if not parts.hostname or port == 0:
        raise InputError(f"{shown(uri)} is no usable address: it names no host")
    key = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    return StorageUri(parts.scheme.lower(), parts.netloc.lower(), key)


def _file_uri(uri: str) -> StorageUri:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{uri}: a file:// URI cannot name a host; write file:///absolute/path")
    if parts.query or parts.fragment:
        raise InputError(f"{uri}: in a file:// URI write %3F for ? and %23 for #")
    return StorageUri("file", "", os.path.abspath("/" + unquote(parts.path)).strip("/"))  # noqa: PTH100


def shown(uri: str) -> str:
    """Returns a URI for messages: without user, password, query and fragment, which may hold secrets."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    host, slash, path = rest.partition("/")
    if scheme.lower() in ("http", "https"):
        path = path.partition("?")[0].partition("#")[0]
        host = host.partition("?")[0].partition("#")[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def check_name(name: str, where: str) -> str:
    """Returns a name that is safe to use below a directory.

    Args:
        name: As a store tells it, with ``/`` between directories.
        where: The URI it is below, for the message.

    Raises:
        UnsafeName: When it is absolute, has an empty part, ``.``, ``..`` or a control character, is no UTF-8 or is too
            long.
    """
    if fault := _fault_of(name):
        raise UnsafeName(f"{where} holds the name {name[:200]!r}, which has {fault}; rename or delete it there", where)
    return name


def _fault_of(name: str) -> str:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "an empty part, '.' or '..'"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "a control character"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "characters that are no UTF-8"
    if len(encoded) > _LONGEST_NAME_BYTES or any(len(part.encode()) > 255 for part in parts):
        return "more than 1,024 bytes, or 255 in a part"
    return ""


def inside(directory: Path, name: str, where: str) -> Path:
    """Returns the path of ``name`` below ``directory``, which no symbolic link on the way leads out of.

    Raises:
        UnsafeName: As :func:`check_name`, or when a link leads out.
    """
    path = directory / check_name(name, where)
    if not path.parent.resolve().is_relative_to(directory.resolve()):
        raise UnsafeName(f"{path} lies behind a symbolic link out of {directory}; remove the link", where)
    return path
