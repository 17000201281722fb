"""Directories as stores: ``file://`` and ``pvc://``, on local disks and on NFS.

A file appears under its name at once and complete: it is written aside, as ``.shipway-<hex>.part`` in the same
directory, synced, then linked, where there must be none yet, or renamed. Whoever replaces or deletes a file holds the
directory's ``.shipway.lock`` meanwhile, which is gone again afterwards. Neither name appears in a listing.

A directory knows no checksums, so its readers take two looks at a file. See :mod:`local_files` for the listing of
directories and for what the errors of the file system mean.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from pathlib import Path

from shipway.components.common.errors import (
    CapabilityMissing,
    IntegrityError,
    PreconditionFailed,
    StorageError,
    UnsafeName,
)
from shipway.components.common.storage.backends.local_files import LOCK_NAME, PART_NAME, file_errors, regular, walked
from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums, file_checksums, mismatch
from shipway.components.common.storage.objects import Listing, ObjectInfo, Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri

__all__ = ["LocalStore"]

_CHUNK_BYTES = 1 << 20
_PAGE_OBJECTS = 20_000
_WRITTEN = "written"
_CANNOT_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalStore(Store):
    """The file system, or one claim."""

    reads_are_cheap = True

    def __init__(self, root: StorageUri, profile: Profile, workers: int = 8) -> None:  # noqa: ARG002
        super().__init__(root, profile)
        self._directory = root.directory

    def _path(self, key: str) -> Path:
        """Returns the path of a key; no link leads out of a claim."""
        uri, path = self.uri(key), self._directory / key
        if "\0" in key:
            raise UnsafeName(f"{uri!r} has a NUL in it, which no file's name has", uri)
        if self.root.scheme == "pvc":
            if not self._directory.is_dir():
                raise StorageError(
                    f"{uri}: the claim is not mounted at {self._directory}; mount it there, or let SHIPWAY_PVC_ROOT"
                    " name the directory that the claims are mounted below",
                    uri,
                )
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self._directory)):
                raise UnsafeName(f"{path} leads out of {self._directory}: a symlink escape; remove the link", uri)
        return path

    def _stat(self, key: str) -> ObjectInfo:
        path, uri = self._path(key), self.uri(key)
        with file_errors(uri, path):
            return _info(key, regular(path, uri))

    def _list(self, directory: str, recursive: bool, page: str) -> Listing:
        path, uri = self._path(directory), self.uri(directory)
        with file_errors(uri, path):
            found = walked(path, directory, uri, recursive, page)
            objects = tuple(
                _info(key, status) if status else ObjectInfo(key) for key, status in islice(found, _PAGE_OBJECTS)
            )
        return Listing(objects, objects[-1].key if len(objects) == _PAGE_OBJECTS else "")

    def _read(self, key: str, start: int, stop: int, version: str) -> Generator[bytes, None, None]:
        path, uri = self._path(key), self.uri(key)
        with file_errors(uri, path):
            regular(path, uri)
            with _opened(path, os.O_RDONLY) as file:
                expected = version or _version(os.fstat(file))
                while start < stop:
                    chunk = os.pread(file, min(_CHUNK_BYTES, stop - start), start)
                    if _version(os.fstat(file)) != expected:
                        raise _changed(path, uri)
                    if not chunk:
                        return
                    start += len(chunk)
                    yield chunk

    def _put(self, key: str, data: bytes, checksums: Checksums, if_match: str, if_none_match: bool) -> ObjectInfo:
        path, uri = self._path(key), self.uri(key)
        part = _part_path(path, secrets.token_hex(8))
        with file_errors(uri, path):
            _make_directory(path.parent)
            try:
                with _opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                    _write(file, data, 0)
                    _settle(file)
                    _place(part, file, path, uri, if_match, if_none_match)
                    return _info(key, os.fstat(file), checksums)
            finally:
                part.unlink(missing_ok=True)

    def _delete(self, key: str, if_match: str) -> None:
        path, uri = self._path(key), self.uri(key)
        with file_errors(uri, path), _locked(path.parent):
            if if_match and _version(path.stat()) != if_match:
                raise _changed(path, uri)
            path.unlink()
            _sync_directory(path.parent)

    # The part file has a byte for each part behind the object's own bytes, which tells whether the part was written.

    def _start_upload(self, upload: Upload) -> str:
        path, session = self._path(upload.key), secrets.token_hex(8)
        with file_errors(self.uri(upload.key), path):
            _make_directory(path.parent)
            with _opened(_part_path(path, session), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                os.ftruncate(file, upload.size + upload.parts)
        return session

    def _sent_parts(self, upload: Upload) -> dict[int, str]:
        path = self._path(upload.key)
        with file_errors(self.uri(upload.key), path), _opened(_part_path(path, upload.session), os.O_RDONLY) as file:
            if os.fstat(file).st_size == upload.size:  # finishing it had begun
                return dict.fromkeys(range(upload.parts), _WRITTEN)
            marks = os.pread(file, upload.parts, upload.size)
        return {part: _WRITTEN for part, mark in enumerate(marks) if mark}

    def _send_part(self, upload: Upload, part: int, data: bytes) -> str:
        path = self._path(upload.key)
        with file_errors(self.uri(upload.key), path), _opened(_part_path(path, upload.session), os.O_WRONLY) as file:
            _write(file, data, part * upload.part_bytes)
            _write(file, b"\1", upload.size + part)
        return _WRITTEN

    def _finish_upload(self, upload: Upload, receipts: Mapping[int, str]) -> ObjectInfo:
        path, uri = self._path(upload.key), self.uri(upload.key)
        part = _part_path(path, upload.session)
        if len(receipts) != upload.parts:
            raise StorageError(f"{uri}: {len(receipts)} of {upload.parts} parts are written; send the others too", uri)
        with file_errors(uri, path), _opened(part, os.O_RDWR) as file:
            if os.fstat(file).st_nlink == 1:  # else a process ended between linking it and removing it here
                os.ftruncate(file, upload.size)
                _settle(file)
                fault = mismatch(file_checksums(part, Checksums(crc32c="?")), upload.checksums)
                if fault:
                    part.unlink()
                    raise IntegrityError(f"{uri} was written damaged: {fault}; it was removed", uri)
            _place(part, file, path, uri, upload.if_match, upload.if_none_match)
            part.unlink(missing_ok=True)
            return _info(upload.key, os.fstat(file), upload.checksums)

    def _abort_upload(self, upload: Upload) -> None:
        path = self._path(upload.key)
        with file_errors(self.uri(upload.key), path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _part_path(path, upload.session).unlink()


def _place(part: Path, file: int, path: Path, uri: str, if_match: str, if_none_match: bool) -> None:
    """Gives a written file its name; ``part`` may still be there afterwards."""
    if if_none_match:
        try:
            path.hardlink_to(part)
        except FileExistsError as error:
            if os.fstat(file).st_nlink == 1:  # else it is this one: NFS may do a thing twice
                raise PreconditionFailed(f"{path} is there already", uri) from error
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            raise CapabilityMissing(
                f"{path}: this file system cannot link files ({error.strerror}), so that of two who create the same"
                " one both would win; use another one, or an object store",
                uri,
            ) from error
    elif if_match or os.path.lexists(path):
        with _locked(path.parent):
            _replace(part, file, path, uri, if_match)
    else:
        part.rename(path)
    _sync_directory(path.parent)


def _replace(part: Path, file: int, path: Path, uri: str, if_match: str) -> None:
    found = path.stat() if path.exists() else None
    if if_match and (not found or _version(found) != if_match):
        raise _changed(path, uri)
    if found:
        # Inodes are used again and clocks are coarse: a version never comes back this way.
        latest = max(time.time_ns(), found.st_mtime_ns + 1)
        os.utime(file, ns=(latest, latest))
    part.rename(path)


def _changed(path: Path, uri: str) -> PreconditionFailed:
    return PreconditionFailed(f"{path} is not, or no longer, the version that was expected; read it again", uri)


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def _info(key: str, status: os.stat_result, checksums: Checksums = NO_CHECKSUMS) -> ObjectInfo:
    modified = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return ObjectInfo(key, status.st_size, _version(status), modified, checksums)


def _part_path(path: Path, session: str) -> Path:
    return path.parent / PART_NAME.format(session)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds the directory's lock. A lock file without a name was its last holder's, and locks nobody out."""
    path = directory / LOCK_NAME
    while True:
        with _opened(path, os.O_RDWR | os.O_CREAT) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _settle(file: int) -> None:
    """Takes a file to the disk, with a time that is finer than what the kernel gives."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))
    os.fsync(file)


def _make_directory(directory: Path) -> None:
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    with _opened(directory, os.O_RDONLY) as file:
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that does not sync directories
                raise
