"""Releases elsewhere than they were made: on this machine, for steps that need the files, and in other repositories."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipway.components.common import storage
from shipway.components.common.artifacts import new_directory
from shipway.components.common.errors import InputError, StorageError
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.state import cache_directory
from shipway.components.lifecycle import releases
from shipway.components.lifecycle.places import local_directory, release_uri

__all__ = ["download_release", "local_copy", "replicate_release"]

_LOG = logging.getLogger(__name__)
_ID_DIGITS = 16


def local_copy(uri: str) -> Path:
    """Returns a directory of this machine with a release's files.

    One that lies in a directory already is taken from there and not looked at: see
    :func:`shipway.components.lifecycle.releases.verify`. Others are fetched to ``releases/<16 of the digest>`` below
    the cache directory; every byte is compared with the manifest, each time anew.

    Raises:
        ObjectNotFound: When there is no release.
        DataRejected: When its bytes are not those of its manifest.
        InputError: When the cache directory cannot be written.
        StorageError: When the store fails; run it again to go on.
    """
    if directory := local_directory(uri):
        return directory
    with releases.rejecting_changes():
        digest: str = storage.read_manifest(uri)["digest"]
        target = cache_directory() / "releases" / digest.removeprefix("sha256:")[:_ID_DIGITS]
        with _alone(target):
            if not _holds(target, digest):
                shutil.rmtree(target, ignore_errors=True)
                storage.download(f"{uri.rstrip('/')}/", target)
    return target


def download_release(uri: str, model: str | Path, release: str | Path) -> tuple[dict[str, Any], ModelDescription]:
    """Writes a release's Model, and a Release artifact that points at it; returns what both say.

    Args:
        uri: The release.
        model: Where to write the Model.
        release: Where to write ``release.json``.

    Raises:
        ObjectNotFound: When there is no release.
        DataRejected: When it was changed, or its evaluation does not bless its model.
        InputError: When it is no release.
        StorageError: When the store fails; run it again to go on.
    """
    document = releases.describe(uri)
    source = local_copy(document["uri"]) / "model"
    with new_directory(model) as directory:
        # Without the modes: the release's files are read-only.
        shutil.copytree(source, directory, copy_function=shutil.copyfile, dirs_exist_ok=True)
        description = verify_files(directory)
    return releases.write_release(release, document), description


def replicate_release(uri: str, target_repository: str, release: str | Path) -> dict[str, Any]:
    """Copies a release to another repository, where it has the same names and digests; returns its ``release.json``.

    Args:
        uri: The release.
        target_repository: As for :func:`shipway.components.lifecycle.releases.create_release`.
        release: Where to write the ``release.json`` of the copy.

    Raises:
        ObjectNotFound: When there is no release.
        DataRejected: When it was changed, or its evaluation does not bless its model.
        ConflictError: When the target holds a release of the same model and schema with another evaluation.
        InputError: When it is no release, or the target cannot be written.
        StorageError: When a store fails; run it again to go on.
    """
    document = releases.describe(uri)
    names = (document[key] for key in ("name", "model_digest", "schema_digest"))
    target = release_uri(target_repository, *names)
    with releases.rejecting_changes():
        storage.replicate(document["uri"], target)
    releases.protect(target)
    return releases.write_release(release, {**document, "uri": target})


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Lets one process at a time make the copy that it is about."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise InputError(
            f"no place for the copy of a release at {target.parent} ({error.strerror}): set SHIPWAY_CACHE_DIR to one"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _holds(target: Path, digest: str) -> bool:
    if not target.is_dir():
        return False
    try:
        return bool(storage.verify(str(target), deep=True)["digest"] == digest)
    except StorageError as error:
        _LOG.warning("%s; fetching it again", error)
        return False
