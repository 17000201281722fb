"""Schemas that people wrote: where they lie, and the digest of what they say now."""

from __future__ import annotations

import contextlib
import hashlib

from shipway.components.common.errors import ConflictError, InputError, ObjectNotFound
from shipway.components.common.storage import open_store
from shipway.components.data.ingestion.sources import local_path
from shipway.components.data.schema.protos import schema_file

__all__ = ["curated_text", "resolve_schema"]


def resolve_schema(schema_uri: str) -> str:
    """Returns ``sha256:<hex>`` of a curated schema's bytes; empty for an empty ``schema_uri``.

    Raises:
        InputError: When the file cannot be read.
        StorageError: When a store has no such object, refuses it, or does not answer.
    """
    return _digest(_content(schema_uri)[0]) if schema_uri else ""


def curated_text(schema_uri: str, schema_digest: str = "") -> tuple[str, str]:
    """Returns a curated schema, which still is the one that ``schema_digest`` was resolved from, and where it lies.

    Raises:
        InputError: When the file cannot be read.
        ConflictError: When it changed since ``schema_digest`` was resolved; an empty digest does not ask.
        StorageError: As :func:`resolve_schema`.
    """
    data, where = _content(schema_uri)
    if schema_digest and _digest(data) != schema_digest:
        raise ConflictError(f"schema_uri {where} changed while the pipeline ran; run it again")
    try:
        return data.decode(), where
    except UnicodeDecodeError as error:
        raise InputError(f"schema_uri {where} cannot be read: {error}; give a schema in protobuf text") from error


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _content(schema_uri: str) -> tuple[bytes, str]:
    """Returns the bytes of a schema, or of the one in a directory, and where it lies."""
    path = local_path(schema_uri)
    if path:
        file = schema_file(path) if path.is_dir() else path
        try:
            return file.read_bytes(), str(file)
        except OSError as error:
            raise InputError(f"schema_uri {file} cannot be read: {error}; give a schema in protobuf text") from error
    store, key = open_store(schema_uri)
    inside = f"{key}/schema.pbtxt".lstrip("/")
    for name in (inside,) if schema_uri.endswith("/") or not key else (key, inside):
        with contextlib.suppress(ObjectNotFound):
            return store.get_bytes(name)[0], store.uri(name)
    raise ObjectNotFound(
        f"schema_uri {store.uri(key)} is neither a schema nor a directory with a schema.pbtxt; is it spelt right?",
        store.uri(key),
    )
