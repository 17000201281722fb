"""Schemas that people wrote: where they lie, and the digest of what they say now."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import ConflictError, InputError
from shipway.components.data.schema.protos import schema_file

__all__ = ["curated_file", "resolve_schema"]


def resolve_schema(schema_uri: str) -> str:
    """Returns ``sha256:<hex>`` of a curated schema's bytes; empty for an empty ``schema_uri``.

    Raises:
        InputError: When the file cannot be read.
    """
    if not schema_uri:
        return ""
    file = _path(schema_uri)
    try:
        return file_digest(file)
    except OSError as error:
        raise InputError(f"schema_uri {file} cannot be read: {error}; give a schema in protobuf text") from error


def curated_file(schema_uri: str, schema_digest: str = "") -> Path:
    """Returns where a curated schema lies, which still is the one that ``schema_digest`` was resolved from.

    Raises:
        InputError: When the file cannot be read.
        ConflictError: When it changed since ``schema_digest`` was resolved; an empty digest does not ask.
    """
    if resolve_schema(schema_uri) != schema_digest and schema_digest:
        raise ConflictError(f"schema_uri {schema_uri} changed while the pipeline ran; run it again")
    return _path(schema_uri)


def _path(schema_uri: str) -> Path:
    scheme, separator, _ = schema_uri.partition("://")
    if separator and scheme != "file":
        raise InputError(f"schema_uri={schema_uri}: {scheme}:// cannot be read; give a path or a file:// URI")
    path = Path(unquote(urlsplit(schema_uri).path)) if separator else Path(schema_uri).expanduser()
    return schema_file(path) if path.is_dir() else path
