"""The files below a directory, in the order of their keys, and what the errors of a file system mean."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from shipway.components.common.errors import (
    AccessDenied,
    CapabilityMissing,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    UnsafeName,
)

__all__ = ["LOCK_NAME", "PART_NAME", "file_errors", "regular", "walked"]

LOCK_NAME = ".shipway.lock"
PART_NAME = ".shipway-{}.part"
_OURS = re.compile(r"\.shipway(\.lock|-[0-9a-f]{16}\.part)")

_DENIED = (AccessDenied, "this user may not; give it the permission, or run as another one")
_FULL = (StorageError, "no space is left; make room, or use another directory")
_AGAIN = (StorageUnavailable, "the file system did not answer as it must")
_MEANINGS: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOENT: (ObjectNotFound, "there is no such file"),
    errno.ENOTDIR: (ObjectNotFound, "a file is where the path needs a directory"),
    errno.EEXIST: (StorageError, "a file is where a directory must be; remove it, or take another name"),
    errno.EISDIR: (StorageError, "a directory is where the file must be; take another name"),
    errno.ENAMETOOLONG: (StorageError, "the name is longer than the file system takes; take a shorter one"),
    errno.ELOOP: (StorageError, "its symbolic links lead in a circle; remove one of them"),
    errno.EROFS: (AccessDenied, "the file system is read-only; mount it to be written, or use another one"),
    errno.ENOLCK: (CapabilityMissing, "the file system cannot lock files; mount it with locks"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _DENIED),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY), _AGAIN),
}
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


@contextlib.contextmanager
def file_errors(uri: str, path: Path) -> Iterator[None]:
    """Raises the tree's errors, about ``uri``, for those of the file system in the block.

    Args:
        uri: What the caller named.
        path: Its path, for the message where the file system names none.
    """
    try:
        yield
    except OSError as error:
        cls, meaning = _MEANINGS.get(error.errno or 0, (StorageError, "the file system refused"))
        raise cls(f"{error.filename or path}: {meaning} ({error.strerror})", uri) from error


def regular(path: Path, uri: str) -> os.stat_result:
    """Returns what the file system says of a regular file, which a link may lead to.

    Raises:
        ObjectNotFound: When it is a directory.
        StorageError: When it is a pipe, a socket or a device; it was not opened.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ObjectNotFound(f"{path} is a directory, not a file", uri)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise StorageError(f"{path} is {kind}, which cannot be read as a file; remove it, or take another name", uri)
    return status


def walked(
    directory: Path, prefix: str, uri: str, recursive: bool, after: str = ""
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yields keys and what the file system says of the files; None for a directory, whose key ends with a slash.

    The keys come in order, and the names of only those directories are in memory that the current file lies in.
    What disappears meanwhile, and a directory that is not there, is left out.

    Args:
        directory: Where to begin.
        prefix: Its key, with a slash at the end, or "".
        uri: Its URI, for messages.
        recursive: Whether to go into directories instead of yielding them.
        after: The last key that is not wanted any more; "" from the start.

    Raises:
        UnsafeName: When a symbolic link leads out of ``directory``. Links within it are followed.
        StorageError: For what is neither a file nor a directory: a broken link, a pipe, a socket, a device.
    """
    return _below(directory, prefix, _Listed(Path(os.path.realpath(directory)), uri, recursive, after), ())


@dataclasses.dataclass(frozen=True)
class _Listed:
    top: Path
    uri: str
    recursive: bool
    after: str


def _below(
    directory: Path, prefix: str, listed: _Listed, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result | None]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = directory.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise UnsafeName(f"{directory} is a symbolic link to a directory that it lies in; remove it", listed.uri)
        for name in _names(directory, listed):
            key = prefix + name
            if name.endswith("/"):
                if key <= listed.after and not listed.after.startswith(key):
                    continue
                if listed.recursive:
                    yield from _below(directory / name, key, listed, (*above, here))
                elif key > listed.after:
                    yield key, None
            elif key > listed.after:
                with contextlib.suppress(FileNotFoundError):
                    yield key, regular(directory / name, listed.uri)


def _names(directory: Path, listed: _Listed) -> list[str]:
    """Returns the names in a directory in the order of the keys: directories count with their slash."""
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                continue
            if entry.is_symlink():
                _check_link(Path(entry.path), listed)
            names.append(f"{entry.name}/" if entry.is_dir() else entry.name)
    return sorted(names)


def _check_link(path: Path, listed: _Listed) -> None:
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(listed.top):
        raise UnsafeName(
            f"{path} is a symbolic link to {target}, out of {listed.top}: a symlink escape; remove the link, or put"
            " what it leads to in its place",
            listed.uri,
        )
    if not path.exists() and path.is_symlink():
        raise StorageError(f"{path} is a symbolic link to {target}, which is not there; remove the link", listed.uri)
