"""Where releases and aliases lie in their repository, and what documents call that."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from shipway.components.common.errors import InputError
from shipway.components.common.storage.uris import parse_uri, shown

__all__ = ["ROOT_VARIABLE", "alias_uri", "local_directory", "place_of", "release_uri"]

ROOT_VARIABLE = "SHIPWAY_ROOT"

_ID_DIGITS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def release_uri(repository: str, model_name: str, model_digest: str, schema_digest: str) -> str:
    """Returns where the release of a model and a schema lies.

    Args:
        repository: A path or URI; empty: ``releases`` below the run's root.
        model_name: The name to release under.
        model_digest: The model's digest.
        schema_digest: The schema's digest.

    Raises:
        InputError: When the name cannot be one, or there is no repository.
    """
    name = hashlib.sha256(f"{model_digest}\n{schema_digest}\n".encode()).hexdigest()[:_ID_DIGITS]
    return f"{_home(repository, model_name)}/{name}"


def alias_uri(repository: str, model_name: str, schema_digest: str) -> str:
    """Returns where the alias of the champion lies; arguments and errors as of :func:`release_uri`."""
    name = schema_digest.removeprefix("sha256:")[:_ID_DIGITS]
    return f"{_home(repository, model_name)}/aliases/{name}/champion.json"


def place_of(uri: str) -> str:
    """Returns a URI as documents have it: a plain path for a directory of this machine."""
    parsed = parse_uri(uri)
    return os.path.normpath(f"/{parsed.key}") if parsed.scheme == "file" else str(parsed).rstrip("/")


def local_directory(uri: str) -> Path | None:
    """Returns the directory that a path, a ``file://`` or a ``pvc://`` URI names; ``None`` for any other."""
    parsed = parse_uri(uri)
    return parsed.directory / parsed.key if parsed.scheme in ("file", "pvc") else None


def _home(repository: str, model_name: str) -> str:
    if not _NAME.fullmatch(model_name) or model_name == "aliases":
        raise InputError(
            f"{model_name!r} cannot name a model: use letters, digits, '.', '_' and '-', at most 128, no dot first"
        )
    return f"{_repository(repository).rstrip('/')}/{model_name}"


def _repository(repository: str) -> str:
    if repository:
        if parse_uri(repository).scheme in ("http", "https"):
            raise InputError(f"{shown(repository)} can only be read; give a path, pvc://, gs:// or s3:// for releases")
        return place_of(repository)
    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        raise InputError(
            f"no release_repository is given, and {ROOT_VARIABLE} names no root of local runs; give a path or URI"
        )
    return place_of(str(Path(root) / "releases"))
