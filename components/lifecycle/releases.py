"""Releases: immutable directories named by content, and the aliases that point at them.

::

    <repository>/<model name>/<release>/model/…
                                       evaluation/…
                                       schema.pbtxt
                                       MANIFEST.json     written last
    <repository>/<model name>/aliases/<first 16 of the schema's digest>/champion.json

A release's name is 16 hex digits of a digest over its model's and its schema's; the evaluation that blessed it first
stays with it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import google_crc32c

from shipway.components.common.artifacts import (
    directory_digest,
    file_digest,
    new_directory,
    read_json,
    write_json,
)
from shipway.components.common.errors import ConflictError, DataRejected, InputError
from shipway.components.common.model import verify_files

__all__ = ["champion", "create_release", "move_champion", "read_release", "schema_digest", "verify"]

MANIFEST = "MANIFEST.json"
SCHEMA = "schema.pbtxt"
ROOT_VARIABLE = "SHIPWAY_ROOT"

_ID_DIGITS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_READ_ONLY = 0o444

Document = dict[str, Any]


def create_release(
    model: str | Path,
    evaluation: str | Path,
    schema: str | Path,
    release: str | Path,
    model_name: str,
    release_repository: str = "",
) -> Document:
    """Publishes a blessed model; the same model and schema again find their release and change nothing.

    Args:
        model: The Model directory.
        evaluation: Its Evaluation.
        schema: The Schema directory of the data it takes.
        release: Where to write the artifact: ``release.json``.
        model_name: The name to release under.
        release_repository: The directory of releases; empty: ``releases`` below the run's root.

    Returns:
        ``release.json``: ``name``, ``release`` (its id), ``digest``, ``model_digest``, ``schema_digest``, ``uri``.

    Raises:
        DataRejected: When the evaluation does not bless this very model.
        ConflictError: When a release with this id holds something else.
        InputError: When an artifact is damaged, or there is no repository.
    """
    description = verify_files(model)
    blessing = _blessing(evaluation, description.name, description.digest)
    home = _home(release_repository, model_name)
    target = home / _release_name(description.digest, schema_digest(schema))
    with _locked(home):
        if not target.exists():
            _publish(target, model, evaluation, Path(schema) / SCHEMA, model_name, blessing)
    manifest = verify(str(target))
    found = (manifest["model_digest"], manifest["schema_digest"])
    if found != (description.digest, schema_digest(schema)):
        raise ConflictError(
            f"the release {target} exists and holds another model or schema (model {found[0]}, schema {found[1]});"
            " releases are never changed: release under another model_name"
        )
    keys = ("name", "release", "digest", "model_digest", "schema_digest")
    document = {**{key: manifest[key] for key in keys}, "uri": str(target)}
    with new_directory(release) as directory:
        write_json(directory / "release.json", document)
    return document


def read_release(release: str | Path) -> Document:
    """Returns ``release.json`` of a Release artifact, after checking the release it points at.

    Raises:
        InputError: When there is none.
        DataRejected: When the release was changed, or its evaluation does not bless its model.
    """
    document: Document = read_json(Path(release) / "release.json")
    manifest = verify(document["uri"])
    if manifest["digest"] != document["digest"]:
        raise DataRejected(f"the release {document['uri']} is not the one that was created; create it again")
    _blessing(_local(document["uri"]) / "evaluation", document["name"], manifest["model_digest"])
    return document


def verify(uri: str) -> Document:
    """Returns the manifest of a release after comparing every file with it.

    Raises:
        InputError: When there is no release.
        DataRejected: When a file is missing, changed or not in the manifest.
    """
    root = _local(uri)
    manifest: Document = read_json(root / MANIFEST)
    expected = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    actual = {entry["path"]: entry["sha256"] for entry in _files(root)}
    changed = sorted(path for path in expected.keys() | actual.keys() if expected.get(path) != actual.get(path))
    if changed or directory_digest(root, exclude={MANIFEST}) != manifest["digest"]:
        raise DataRejected(
            f"the release {uri} was changed after it was made: {', '.join(changed) or MANIFEST};"
            " do not deploy it; create it again from the run"
        )
    return manifest


def schema_digest(schema: str | Path) -> str:
    """Returns the digest of a Schema directory's schema."""
    path = Path(schema) / SCHEMA
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the output of infer_schema")
    return file_digest(path)


def champion(model_name: str, schema: str, release_repository: str = "") -> Document | None:
    """Returns the alias of the reigning release: ``uri``, ``digest``, ``generation``; ``None`` when there is none.

    Args:
        model_name: The name it was released under.
        schema: The schema's digest.
        release_repository: As for :func:`create_release`.
    """
    path = _alias(release_repository, model_name, schema)
    return read_json(path) if path.is_file() else None


def move_champion(release: Document, release_repository: str = "", expected: str | None = None) -> Document:
    """Makes a release the champion of its model name and schema; returns the alias.

    Args:
        release: As in ``release.json``.
        release_repository: As for :func:`create_release`.
        expected: The URI of the champion that this one was compared with, empty for none; when another one
            reigns by now nothing is moved. ``None`` does not ask.

    Raises:
        ConflictError: When another champion reigns than expected.
    """
    path = _alias(release_repository, release["name"], release["schema_digest"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        current: Document = read_json(path) if path.is_file() else {"uri": "", "digest": "", "generation": 0}
        if current["digest"] == release["digest"]:
            return current
        if expected is not None and current["uri"] != expected:
            raise ConflictError(
                f"the champion of {release['name']} is {current['uri'] or 'none'} by now, not {expected or 'none'},"
                " which this model was compared with; run the pipeline again to compare with the new one"
            )
        alias = {"uri": release["uri"], "digest": release["digest"], "generation": current["generation"] + 1}
        write_json(path, alias)
        return alias


def _blessing(evaluation: str | Path, name: str, model_digest: str) -> Document:
    blessing: Document = read_json(Path(evaluation) / "blessing.json")
    if blessing["model_digest"] != model_digest:
        raise DataRejected(
            f"the evaluation at {evaluation} is of another model ({blessing['model_digest']}) than"
            f" {name} ({model_digest}); evaluate this one"
        )
    if not blessing["blessed"]:
        reasons = "; ".join(reason["message"] for reason in blessing["reasons"] if not reason["passed"])
        raise DataRejected(f"the model {name} is not blessed and is not released: {reasons}")
    return blessing


def _publish(
    target: Path, model: str | Path, evaluation: str | Path, schema: Path, name: str, blessing: Document
) -> None:
    """Writes the release aside, its manifest last, and renames it into place; the caller holds the lock."""
    for left in target.parent.glob(f".{target.name}.*.part"):
        shutil.rmtree(left)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copytree(model, aside / "model")
        shutil.copytree(evaluation, aside / "evaluation")
        shutil.copyfile(schema, aside / SCHEMA)
        manifest = {
            "name": name,
            "release": target.name,
            "digest": directory_digest(aside),
            "model_digest": verify_files(aside / "model").digest,
            "schema_digest": file_digest(aside / SCHEMA),
            "blessing": blessing,
            "files": _files(aside),
        }
        write_json(aside / MANIFEST, manifest)
        for path in aside.rglob("*"):
            if path.is_file():
                path.chmod(_READ_ONLY)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _files(root: Path) -> list[Document]:
    paths = sorted(p for p in root.rglob("*") if p.is_file() and p != root / MANIFEST)
    return [
        {
            "path": path.relative_to(root).as_posix(),
            "size": path.stat().st_size,
            "crc32c": _crc32c(path),
            "sha256": file_digest(path),
        }
        for path in paths
    ]


def _crc32c(path: Path) -> str:
    """Returns the CRC32C as object stores report it: base64 of its four bytes, highest first."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode("ascii")


def _id(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_ID_DIGITS]


def _release_name(model_digest: str, schema: str) -> str:
    return hashlib.sha256(f"{model_digest}\n{schema}\n".encode()).hexdigest()[:_ID_DIGITS]


def _home(repository: str, model_name: str) -> Path:
    home = _model_directory(repository, model_name)
    home.mkdir(parents=True, exist_ok=True)
    return home


def _model_directory(repository: str, model_name: str) -> Path:
    if not _NAME.fullmatch(model_name) or model_name == "aliases":
        raise InputError(
            f"{model_name!r} cannot name a model: use letters, digits, '.', '_' and '-', at most 128, no dot first"
        )
    return _repository(repository) / model_name


def _alias(repository: str, model_name: str, schema: str) -> Path:
    return _model_directory(repository, model_name) / "aliases" / _id(schema) / "champion.json"


def _repository(repository: str) -> Path:
    if repository:
        return _local(repository)
    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        raise InputError(
            f"no release_repository is given, and {ROOT_VARIABLE} names no root of local runs; give a directory"
        )
    return Path(root).absolute() / "releases"


def _local(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        raise InputError(f"{uri}: releases are kept in directories; {parts.scheme}:// is not supported yet")
    return Path(unquote(parts.path) if parts.scheme else uri).absolute()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
