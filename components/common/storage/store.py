"""What every store can do, and what a backend must do for that.

Keys are names below the store's root with ``/`` between directories. A prefix is a directory: ``m/v1`` holds
``m/v1/a`` and never ``m/v10/a``. The end of a range is exclusive. A version is what preconditions compare: a
generation of gs, an ETag of S3 and the web, a file's identity, size and time.
"""

from __future__ import annotations

import abc
import copy
import io
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

from shipway.components.common.errors import (
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.checksums import (
    NO_CHECKSUMS,
    Checksums,
    bytes_checksums,
    crc32c_of,
    encoded_crc32c,
)
from shipway.components.common.storage.effort import Effort
from shipway.components.common.storage.objects import Listing, ObjectInfo, Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri, check_name

__all__ = ["Store"]

_LOG = logging.getLogger(__name__)
_SMALL_BYTES = 256 << 20
_READINGS = 5
_TELLING = Checksums(crc32c="?", md5="?")


class Store(abc.ABC):
    """One bucket, claim, host or file system. Threads may share it.

    A backend implements the methods that start with an underscore: each is one request and one try, and raises the
    tree's errors with the object's URI: StorageUnavailable where trying again may help (connection errors, timeouts,
    408, 425, 429 and 5xx; a short answer), ObjectNotFound, AccessDenied, PreconditionFailed, else StorageError.
    """

    sequential_parts = False
    """Whether the parts of an upload must come one after another."""

    has_directories = True
    """Whether it can list what is below a prefix."""

    reads_are_cheap = False
    """Whether reading an object costs about what a checksum of it does."""

    def __init__(self, root: StorageUri, profile: Profile) -> None:
        self.root = root
        self.profile = profile
        self.effort = Effort()

    def within(self, effort: Effort) -> Store:
        """Returns this store, its requests counted to ``effort``."""
        other = copy.copy(self)
        other.effort = effort
        return other

    @property
    def heeds_conditions(self) -> bool:
        """Whether it is known to honour conditions on writes; else that is tried out before something is published."""
        return False

    @property
    def takes_conditions(self) -> bool:
        """Whether what is published is written on conditions; the profile may give that up for a poor store."""
        return not self.profile.unconditional_publish

    def uri(self, key: str) -> str:
        """Returns an object's URI."""
        return str(StorageUri(self.root.scheme, self.root.bucket, key))

    def stat(self, key: str) -> ObjectInfo:
        """Returns an object's size, version and checksums.

        Raises:
            ObjectNotFound: When there is none.
        """
        return self.effort.persistently(self.uri(key), lambda: self._stat(key))

    def exists(self, key: str) -> bool:
        """Returns whether there is an object."""
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "", recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yields the objects below a directory; none where there is no such directory.

        Args:
            prefix: The directory; "" for the root.
            recursive: Whether to go into directories; else each is yielded once, its key ending with ``/``.

        Raises:
            UnsafeName: When a name is not safe to use as a path.
        """
        directory = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        where, page = self.uri(directory), ""
        while True:
            listing = self.effort.persistently(where, lambda page=page: self._list(directory, recursive, page))  # type: ignore[misc]
            for entry in listing.objects:
                if not entry.key.startswith(directory):
                    raise StorageUnavailable(f"{where}: the store listed {entry.key!r}, which is elsewhere", where)
                if entry.key != directory and not (recursive and entry.is_directory):
                    check_name(entry.key.removeprefix(directory).rstrip("/"), where)
                    yield entry
            page = listing.next_page
            if not page:
                return

    def read(self, key: str, start: int, stop: int, version: str = "") -> Iterator[bytes]:
        """Yields the bytes from ``start`` to before ``stop``; a connection that breaks is taken up where it broke.

        The bytes are not checked here: see :meth:`get_file` and :meth:`get_bytes`.

        Args:
            key: The object.
            start: First byte.
            stop: Byte after the last one.
            version: The version that it must be; "" for any.

        Raises:
            PreconditionFailed: When it is another version by now.
        """
        uri, position = self.uri(key), start
        while position < stop:
            stream, chunk = self.effort.persistently(uri, lambda at=position: self._begun(key, at, stop, version))  # type: ignore[misc]
            try:
                while chunk:
                    position += len(chunk)
                    self.effort.moved(len(chunk), uri)
                    yield chunk
                    chunk = next(stream, b"")
            except StorageUnavailable as error:
                self.effort.check(uri)
                _LOG.warning("%s; going on at byte %d", error, position)
            finally:
                stream.close()

    def whole(self, key: str, size: int, version: str = "") -> bytes:
        """Returns all bytes of an object that is small enough to be held, not checked."""
        return self.part(key, 0, size, version)

    def part(self, key: str, start: int, stop: int, version: str = "") -> bytes:
        """Returns a part of an object, as :meth:`read` yields it."""
        buffer = io.BytesIO()  # bytes.join would hold them twice
        for chunk in self.read(key, start, stop, version):
            buffer.write(chunk)
        return buffer.getvalue()

    def get_bytes(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Returns a small object, checked, and what it is.

        Raises:
            StorageError: When it is larger than 256 MiB.
            IntegrityError: When its bytes are not what its checksums say.
        """
        from shipway.components.common.storage import readings

        left = _READINGS
        while True:
            info = self.stat(key)
            if info.size > _SMALL_BYTES:
                raise StorageError(
                    f"{self.uri(key)} has {info.size:,} bytes, too many to be read at once", self.uri(key)
                )
            try:
                return readings.checked_bytes(self, info), info
            except (IntegrityError, PreconditionFailed) as error:
                left -= 1
                if not left:
                    raise
                _LOG.warning("%s; reading it once more", error)

    def put_bytes(self, key: str, data: bytes, if_match: str = "", if_none_match: bool = False) -> ObjectInfo:
        """Writes a small object at once and returns what the store says of it.

        Args:
            key: The object.
            data: Its bytes.
            if_match: The version that is replaced; "" for any.
            if_none_match: Whether there must be none yet.

        Raises:
            PreconditionFailed: When another version, or one at all, is there.
            IntegrityError: When something else arrived than was sent.
        """
        check_name(key, self.uri(""))
        checksums = Checksums(crc32c=encoded_crc32c(crc32c_of(data)))

        def attempt() -> ObjectInfo:
            info = self._put(key, data, checksums, if_match, if_none_match)
            self.effort.moved(len(data), self.uri(key))
            return info

        return self.settled(key, len(data), lambda: bytes_checksums(data, _TELLING), attempt)

    def delete(self, key: str, if_match: str = "") -> None:
        """Deletes an object; that there is none is no error.

        Raises:
            PreconditionFailed: When it is another version than ``if_match``.
        """
        try:
            self.effort.persistently(self.uri(key), lambda: self._delete(key, if_match))
        except ObjectNotFound:
            return

    def get_file(self, key: str, path: str | Path, expected: Checksums = NO_CHECKSUMS) -> ObjectInfo:
        """Writes an object to a file: see :func:`shipway.components.common.storage.downloads.get_file`."""
        from shipway.components.common.storage import downloads

        return downloads.get_file(self, key, Path(path), expected)

    def put_file(self, path: str | Path, key: str, if_match: str = "", if_none_match: bool = False) -> ObjectInfo:
        """Writes a file to an object: see :func:`shipway.components.common.storage.uploads.put_file`."""
        from shipway.components.common.storage import uploads

        return uploads.put_file(self, Path(path), key, if_match, if_none_match)

    def settled(
        self, key: str, size: int, checksums: Callable[[], Checksums], attempt: Callable[[], ObjectInfo]
    ) -> ObjectInfo:
        """Returns what a write returns, tried again where that is safe.

        A write with a precondition whose answer got lost may have happened: then the next try fails, and it is the
        content of the object that tells whose it is.
        """
        from shipway.components.common.storage import readings

        unsure = False

        def once() -> ObjectInfo:
            nonlocal unsure
            try:
                return attempt()
            except StorageUnavailable:
                unsure = True
                raise
            except PreconditionFailed:
                if unsure:
                    found = self._stat(key)
                    if found.size == size and readings.known_checksums(self, found).agree(checksums()):
                        return found
                raise

        return self.effort.persistently(self.uri(key), once)

    def _begun(self, key: str, start: int, stop: int, version: str) -> tuple[Generator[bytes, None, None], bytes]:
        stream = self._read(key, start, stop, version)
        chunk = next(stream, b"")
        if not chunk:
            raise StorageUnavailable(f"{self.uri(key)}: the answer ended {stop - start:,} bytes early", self.uri(key))
        return stream, chunk

    @abc.abstractmethod
    def _stat(self, key: str) -> ObjectInfo:
        """Returns the object with all checksums that the store knows."""

    @abc.abstractmethod
    def _list(self, directory: str, recursive: bool, page: str) -> Listing:
        """Returns a page; ``directory`` is "" or ends with a slash. Markers of empty directories may be left out."""

    @abc.abstractmethod
    def _read(self, key: str, start: int, stop: int, version: str) -> Generator[bytes, None, None]:
        """Yields chunks of at most a few MiB, none of them empty; never more than asked for."""

    @abc.abstractmethod
    def _put(self, key: str, data: bytes, checksums: Checksums, if_match: str, if_none_match: bool) -> ObjectInfo:
        """Writes an object in one request; whatever the store can check on arrival, it is asked to check.

        Raises IntegrityError, after deleting it, when the answer shows that something else arrived.
        """

    @abc.abstractmethod
    def _delete(self, key: str, if_match: str) -> None:
        """Deletes an object; ObjectNotFound may be raised when there is none."""

    @abc.abstractmethod
    def _start_upload(self, upload: Upload) -> str:
        """Returns the session of a new upload in parts: what :meth:`_send_part` needs, printable."""

    @abc.abstractmethod
    def _sent_parts(self, upload: Upload) -> dict[int, str]:
        """Returns the receipts, by part from 0, of what an earlier process has sent.

        Raises ObjectNotFound when the store has forgotten the session.
        """

    @abc.abstractmethod
    def _send_part(self, upload: Upload, part: int, data: bytes) -> str:
        """Sends one part; sent again it replaces the first. Returns its receipt."""

    @abc.abstractmethod
    def _finish_upload(self, upload: Upload, receipts: Mapping[int, str]) -> ObjectInfo:
        """Makes the parts an object, on the upload's conditions.

        Raises IntegrityError when the store says that something else arrived; there is no such object then.
        """

    @abc.abstractmethod
    def _abort_upload(self, upload: Upload) -> None:
        """Lets the store forget the parts; no error when it already has."""
