"""From stores to files: every byte checked before a file has its name."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path, PurePosixPath

from shipway.components.common.errors import (
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    UnsafeName,
)
from shipway.components.common.storage.backends.local_files import file_errors
from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums, file_checksums, mismatch
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.manifests import MANIFEST, Entry, entries_of, manifest_of
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.partial import (
    PartialFile,
    part_names,
    partial_directory,
    write_file,
    write_in_place,
)
from shipway.components.common.storage.readings import checked_bytes, decisive_checksums, fill
from shipway.components.common.storage.store import Store

__all__ = ["Transfer", "download", "get_file"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What was moved.

    Attributes:
        files: How many files there are.
        bytes: Their size in all.
        moved_bytes: What crossed the network for them; less where some were there already, more where tries failed.
        unchanged: How many of the files were there already.
    """

    files: int
    bytes: int
    moved_bytes: int
    unchanged: int = 0


def download(uri: str | Path, path: str | Path, options: Options | None = None) -> Transfer:
    """Writes an object to a file, or all that lies below a directory to a directory.

    The file or directory appears when it is complete and every checksum was right. A kill loses nothing: run it
    again. The files of a published version are those of its manifest, compared by SHA-256.

    Args:
        uri: The object or directory. With a slash at its end it is a directory, even where an object has its name.
        path: The file or directory to write. A file is replaced; a directory must be empty or not exist yet.
        options: How to go about it.

    Raises:
        ObjectNotFound: When there is nothing.
        IntegrityError: When bytes are still wrong in a second reading; nothing of them is kept.
        UnsafeName: When a name would leave the directory, or is one of both a file and a directory.
        StorageError: When ``path`` is a directory that is not empty, or the store or disk fails.
    """
    effort = Effort(options)
    store, key = open_store(uri, effort)
    target = Path(path)
    if key and not str(uri).endswith("/"):
        try:
            info = store.stat(key)
        except ObjectNotFound:
            if not store.has_directories:
                raise
        else:
            if target.is_dir():
                raise InputError(f"{target} is a directory, and {store.uri(key)} a file; name a file to write")
            effort.total_bytes = info.size
            get_file(store, key, target, info=info)
            return Transfer(1, info.size, effort.moved_bytes)
    with file_errors(store.uri(key), target):
        return _download_directory(store, key, target)


def _download_directory(store: Store, key: str, target: Path) -> Transfer:
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InputError(f"{target} exists and is not empty; remove it, or name another directory")
    files = _files(store, key)
    effort = store.effort
    effort.total_bytes = sum(file.info.size for file in files)
    with partial_directory(target) as aside:
        _remove_others(aside, {file.name for file in files})
        left = any(aside.iterdir())
        there = {file.name for file in files if left and _is_there(aside / file.name, file)}
        effort.advance(sum(file.info.size for file in files if file.name in there))

        def fetch(file: _File) -> None:
            get_file(store, file.info.key, aside / file.name, file.expected, file.info, in_place=True)

        todo = [file for file in files if file.name not in there]
        for directory in {(aside / file.name).parent for file in todo}:
            directory.mkdir(parents=True, exist_ok=True)
        effort.each_by_size(fetch, todo, lambda file: file.info.size)
    return Transfer(len(files), effort.total_bytes, effort.moved_bytes, len(there))


@dataclasses.dataclass(frozen=True)
class _File:
    name: str
    info: ObjectInfo
    expected: Checksums = NO_CHECKSUMS


def _files(store: Store, key: str) -> list[_File]:
    """Returns what a directory holds: by its manifest where it is a published version, else by the listing."""
    prefix = f"{key}/" if key else ""
    listed = {info.key.removeprefix(prefix): info for info in store.list(key)}
    if not listed:
        raise ObjectNotFound(f"{store.uri(key)} holds nothing; is it spelt right?", store.uri(key))
    for name in listed:
        if taken := [part for part in part_names(PurePosixPath(name)) if part in listed]:
            where = store.uri(prefix + taken[0])
            raise UnsafeName(f"{where} has the name that {name} beside it has on its way; rename one of them", where)
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if "/".join(parents[:depth]) in listed:
                both = store.uri(prefix + "/".join(parents[:depth]))
                raise UnsafeName(f"{both} is both a file and a directory; rename one of them", both)
    if MANIFEST not in listed:
        return [_File(name, info) for name, info in listed.items()]
    entries = entries_of(manifest_of(store, key), store.uri(key))
    if entries is None:
        return [_File(name, info) for name, info in listed.items()]
    if missing := sorted(entries.keys() - listed.keys()):
        raise IntegrityError(f"{store.uri(key)} lacks {', '.join(missing[:5])} of its {MANIFEST}", store.uri(key))
    files = [_File(name, _sized(listed[name], entry, store), entry.checksums) for name, entry in entries.items()]
    return [_File(MANIFEST, listed[MANIFEST]), *files]


def _sized(info: ObjectInfo, entry: Entry, store: Store) -> ObjectInfo:
    if info.size != entry.size:
        where = store.uri(info.key)
        raise IntegrityError(f"{where} has {info.size:,} bytes, and {entry.size:,} in the {MANIFEST}", where)
    return info


def _remove_others(aside: Path, names: set[str]) -> None:
    for path in [path for path in aside.rglob("*") if path.is_symlink() or path.is_file()]:
        name = path.relative_to(aside).as_posix()
        part_of = path.with_name(path.name.removesuffix(".json").removesuffix(".part").removeprefix("."))
        if name not in names and part_of.relative_to(aside).as_posix() not in names:
            path.unlink()
    for path in sorted(aside.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _is_there(path: Path, file: _File) -> bool:
    """Whether an earlier process left the file complete, which takes a checksum to tell."""
    if not path.is_file() or path.stat().st_size != file.info.size:
        return False
    expected = decisive_checksums(file.expected, file.info.checksums)
    return bool(expected) and not mismatch(file_checksums(path, expected), expected)


def get_file(
    store: Store,
    key: str,
    path: Path,
    expected: Checksums = NO_CHECKSUMS,
    info: ObjectInfo | None = None,
    in_place: bool = False,
) -> ObjectInfo:
    """Writes an object to a file, which appears when it is complete and its checksums are right.

    Where neither the store nor the caller knows a checksum, the object is read twice and both readings compared.

    Args:
        store: The store.
        key: The object.
        path: The file; replaced if there is one.
        expected: What the caller knows of the bytes; compared besides what the store says.
        info: What a listing said of it, to save asking.
        in_place: Whether ``path`` is in a directory that is itself aside, so that a small file needs no name aside.

    Raises:
        ObjectNotFound: When there is none.
        IntegrityError: When the bytes are still wrong in a second reading.
        PreconditionFailed: When it was replaced while it was read, twice.
    """
    with file_errors(store.uri(key), path):
        try:
            return _get_file(store, key, path, expected, info or store.stat(key), in_place)
        except (IntegrityError, PreconditionFailed) as error:
            _LOG.warning("%s; reading it from its start", error)
            return _get_file(store, key, path, expected, store.stat(key), in_place)


def _get_file(store: Store, key: str, path: Path, expected: Checksums, info: ObjectInfo, in_place: bool) -> ObjectInfo:
    if not (expected or info.checksums):
        info = store.stat(key)
    if info.size <= store.effort.options.part_bytes:
        data = checked_bytes(store, info, expected)
        (write_in_place if in_place else write_file)(path, data)
        store.effort.advance(info.size)
        return info
    identity = f"{store.uri(key)} {info.version} {info.size}" if info.version else ""
    partial = PartialFile(path, info.size, store.effort.options.part_bytes, identity)
    try:
        fill(store, info, partial, expected)
        partial.publish()
    except (IntegrityError, PreconditionFailed):
        partial.discard()
        store.effort.advance(-sum(partial.length(part) for part in partial.done))
        raise
    finally:
        partial.close()
    return info
