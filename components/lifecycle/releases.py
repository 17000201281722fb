"""Releases: versions that never change, named by content, and the aliases that point at them.

::

    <repository>/<model name>/<release>/model/…
                                       evaluation/…
                                       schema.pbtxt
                                       MANIFEST.json     written last
    <repository>/<model name>/aliases/<first 16 of the schema's digest>/champion.json

The repository is a directory, a claim or a bucket; all reading and writing goes through
:mod:`shipway.components.common.storage`. A release's name is 16 hex digits of a digest over its model's and its
schema's; the evaluation that blessed it first stays with it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipway.components.common import storage
from shipway.components.common.artifacts import file_digest, new_directory, read_json, write_json
from shipway.components.common.errors import (
    ConflictError,
    DataRejected,
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    VersionConflictError,
)
from shipway.components.common.model import verify_files
from shipway.components.common.storage.capabilities import require_conditional_writes
from shipway.components.lifecycle.places import alias_uri, local_directory, place_of, release_uri

__all__ = [
    "champion",
    "create_release",
    "describe",
    "move_champion",
    "protect",
    "read_release",
    "rejecting_changes",
    "schema_digest",
    "verify",
    "write_release",
]

SCHEMA = "schema.pbtxt"

_BLESSING = "evaluation/blessing.json"
_KEYS = ("name", "release", "digest", "model_digest", "schema_digest")
_READ_ONLY = 0o444
_OTHERS_SECONDS = 10
_TRIES = 10

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
        release_repository: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI; empty: ``releases`` below
            the run's root.

    Returns:
        ``release.json``: ``name``, ``release`` (its id), ``digest``, ``model_digest``, ``schema_digest``, ``uri``.

    Raises:
        DataRejected: When the evaluation does not bless this very model, or the release was changed.
        ConflictError: When a release with this id holds something else, or is being made with another evaluation.
        InputError: When an artifact is damaged, or there is no repository.
        StorageError: When the store fails; run it again to go on.
    """
    description = verify_files(model)
    blessing = read_json(Path(evaluation) / "blessing.json")
    _require_blessing(blessing, str(evaluation), description.name, description.digest)
    digests = {"model_digest": description.digest, "schema_digest": schema_digest(schema)}
    uri = release_uri(release_repository, model_name, **digests)
    try:
        manifest = verify(uri)
    except ObjectNotFound:
        with tempfile.TemporaryDirectory(prefix="shipway-release-") as temporary:
            aside = Path(temporary)
            shutil.copytree(model, aside / "model")
            shutil.copytree(evaluation, aside / "evaluation")
            shutil.copyfile(Path(schema) / SCHEMA, aside / SCHEMA)
            document = {"name": model_name, "release": uri.rpartition("/")[2], **digests, "blessing": blessing}
            manifest = _published(aside, uri, document)
    if any(manifest[key] != digest for key, digest in digests.items()):
        raise ConflictError(
            f"the release {uri} exists and holds another model or schema (model {manifest['model_digest']}, schema"
            f" {manifest['schema_digest']}); releases are never changed: release under another model_name"
        )
    return write_release(release, {**{key: manifest[key] for key in _KEYS}, "uri": uri})


def write_release(release: str | Path, document: Document) -> Document:
    """Writes a Release artifact, ``release.json``, and returns the document."""
    with new_directory(release) as directory:
        write_json(directory / "release.json", document)
    return document


def read_release(release: str | Path) -> Document:
    """Returns ``release.json`` of a Release artifact, after checking the release it points at.

    Raises:
        InputError: When there is no artifact.
        ObjectNotFound: When there is no release.
        DataRejected: When the release was changed, or its evaluation does not bless its model.
    """
    document: Document = read_json(Path(release) / "release.json")
    if describe(document["uri"])["digest"] != document["digest"]:
        raise DataRejected(f"the release {document['uri']} is not the one that was created; create it again")
    return document


def describe(uri: str) -> Document:
    """Returns what ``release.json`` says of a release, after checking it.

    Raises:
        InputError: When it is a published version, but no release.
        ObjectNotFound: When nothing is published there.
        DataRejected: When the release was changed, or its evaluation does not bless its model.
    """
    place = place_of(uri)
    manifest = verify(place)
    if missing := [key for key in _KEYS if key not in manifest]:
        raise InputError(
            f"{place} is no release: its manifest lacks {', '.join(missing)}; name one of create_release's"
        )
    store, key = storage.open_store(f"{place}/{_BLESSING}")
    _require_blessing(json.loads(store.get_bytes(key)[0]), place, manifest["name"], manifest["model_digest"])
    return {**{key: manifest[key] for key in _KEYS}, "uri": place}


def verify(uri: str) -> Document:
    """Returns the manifest of a release after comparing every file with it.

    In a directory every byte is read; of a store's files size and checksum are compared, and the bytes when they are
    fetched.

    Raises:
        ObjectNotFound: When there is no release, or it is not finished.
        DataRejected: When a file is missing, changed or not in the manifest.
    """
    with rejecting_changes():
        return storage.verify(uri, deep=local_directory(uri) is not None)


@contextlib.contextmanager
def rejecting_changes() -> Iterator[None]:
    """Raises DataRejected where the block finds that a release is not what was published."""
    try:
        yield
    except IntegrityError as error:
        raise DataRejected(
            f"the release was changed after it was made: {error}; create it again from the run"
        ) from error


def protect(uri: str) -> None:
    """Takes the right to write to a release's files away, where they lie in a directory that has such rights."""
    directory = local_directory(uri)
    for path in directory.rglob("*") if directory else ():
        if path.is_file():
            with contextlib.suppress(OSError):
                path.chmod(_READ_ONLY)


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
    alias = storage.read_alias(alias_uri(release_repository, model_name, schema))
    return alias.document if alias else None


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
    uri = alias_uri(release_repository, release["name"], release["schema_digest"])
    for _ in range(_TRIES):
        with contextlib.suppress(PreconditionFailed):  # somebody else was faster: look again
            return _moved(uri, release, expected)
    raise ConflictError(f"the champion of {release['name']} was moved by others {_TRIES} times meanwhile; run it again")


def _moved(uri: str, release: Document, expected: str | None) -> Document:
    found = storage.read_alias(uri)
    current: Document = found.document if found else {"uri": "", "digest": "", "generation": 0}
    if current["digest"] == release["digest"]:
        return current
    if expected is not None and current["uri"] != expected:
        raise ConflictError(
            f"the champion of {release['name']} is {current['uri'] or 'none'} by now, not {expected or 'none'},"
            " which this model was compared with; run the pipeline again to compare with the new one"
        )
    alias = {"uri": release["uri"], "digest": release["digest"], "generation": current["generation"] + 1}
    return storage.set_alias(uri, alias, found).document


def _require_blessing(blessing: Document, where: str, name: str, model_digest: str) -> None:
    if blessing["model_digest"] != model_digest:
        raise DataRejected(
            f"the evaluation at {where} is of another model ({blessing['model_digest']}) than"
            f" {name} ({model_digest}); evaluate this one"
        )
    if not blessing["blessed"]:
        reasons = "; ".join(reason["message"] for reason in blessing["reasons"] if not reason["passed"])
        raise DataRejected(f"the model {name} is not blessed and is not released: {reasons}")


def _published(aside: Path, uri: str, document: Document) -> Document:
    """Publishes a release; returns the manifest of whoever was first."""
    try:
        _claim(aside, uri)
        manifest = storage.publish_version(aside, uri, document).manifest
    except VersionConflictError as conflict:
        return _manifest_of_others(uri, conflict)
    protect(uri)
    return manifest


def _claim(aside: Path, uri: str) -> None:
    """Sends the blessing before everything else, so that of two evaluations of one model not each sends a half."""
    store, key = storage.open_store(uri)
    require_conditional_writes(store, key)
    with contextlib.suppress(PreconditionFailed):
        store.put_bytes(f"{key}/{_BLESSING}", (aside / _BLESSING).read_bytes(), if_none_match=store.takes_conditions)


def _manifest_of_others(uri: str, conflict: VersionConflictError) -> Document:
    until = time.monotonic() + _OTHERS_SECONDS
    while True:
        try:
            return verify(uri)
        except ObjectNotFound:
            if time.monotonic() > until:
                raise ConflictError(
                    f"the release {uri} was begun with another evaluation and is not finished; run it again in a while,"
                    f" and when nobody is at it, delete what lies there: {conflict}"
                ) from conflict
        time.sleep(0.5)
