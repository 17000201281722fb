"""From files to stores: in parts that survive a kill, and an object only when every byte arrived."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

from shipway.components.common.errors import (
    AccessDenied,
    ConflictError,
    InputError,
    IntegrityError,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.checksums import (
    NO_CHECKSUMS,
    Checksums,
    bytes_checksums,
    combined_crc32c,
    crc32c_of,
    encoded_crc32c,
    file_checksums,
    mismatch,
)
from shipway.components.common.storage.downloads import Transfer
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.journal import Journal
from shipway.components.common.storage.manifests import files_below
from shipway.components.common.storage.objects import ObjectInfo, Upload
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.readings import known_checksums
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import check_name

__all__ = ["holds", "new_upload", "put_file", "send_file", "send_parts", "upload"]

_LOG = logging.getLogger(__name__)
_MOST_PARTS = 10_000
_MIB = 1 << 20


def upload(path: str | Path, uri: str, options: Options | None = None) -> Transfer:
    """Writes a file to an object, or all files below a directory to a directory; what is there already is not sent.

    A kill loses nothing: run it again. Other objects below the directory are left alone. Use publish_version for
    what others rely on.

    Args:
        path: The file or directory.
        uri: The object or directory to write.
        options: How to go about it.

    Raises:
        InputError: When there is no such file, or the directory is empty.
        StorageError: When the store fails.
    """
    effort = Effort(options)
    store, key = open_store(uri, effort)
    source = Path(path)
    if source.is_file():
        if not key:
            raise InputError(f"{uri} names a store and no object; give the object's name")
        effort.total_bytes = source.stat().st_size
        unchanged = send_file(store, source, key)
        return Transfer(1, effort.total_bytes, effort.moved_bytes, int(unchanged))
    files = files_below(source)
    if not files:
        raise InputError(f"{source} is no file, and no directory with files; there is nothing to upload")
    effort.total_bytes = sum(file.stat().st_size for file in files)
    prefix = f"{key}/" if key else ""
    unchanged_files: list[Path] = []

    def send(file: Path) -> None:
        if send_file(store, file, prefix + file.relative_to(source).as_posix()):
            unchanged_files.append(file)

    effort.each_by_size(send, files, lambda file: file.stat().st_size)
    return Transfer(len(files), effort.total_bytes, effort.moved_bytes, len(unchanged_files))


def put_file(
    store: Store,
    path: Path,
    key: str,
    if_match: str = "",
    if_none_match: bool = False,
    checksums: Checksums = NO_CHECKSUMS,
) -> ObjectInfo:
    """Writes a file to an object and returns what the store says of it.

    Args:
        store: The store.
        path: The file.
        key: The object.
        if_match: The version that is replaced; "" for any.
        if_none_match: Whether there must be none yet.
        checksums: What the file must have, if that is known.

    Raises:
        InputError: When the file cannot be read.
        ConflictError: When the file changed while it was sent.
        PreconditionFailed: When another version, or one at all, is there.
        IntegrityError: When something else arrived than was sent.
    """
    try:
        size, crc32c = path.stat().st_size, Checksums(crc32c=checksums.crc32c)
        if not crc32c:
            crc32c = file_checksums(path, Checksums(crc32c="?"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if size <= store.effort.options.part_bytes:
        data = path.read_bytes()
        _require_same(path, bytes_checksums(data, crc32c), crc32c)
        info = store.put_bytes(key, data, if_match, if_none_match)
        store.effort.advance(size)
        return info
    with path.open("rb") as file:

        def read(part: int) -> bytes:
            return os.pread(file.fileno(), prepared.part_bytes, part * prepared.part_bytes)

        prepared = new_upload(store, key, size, crc32c, if_match, if_none_match)
        try:
            return send_parts(store, prepared, read)
        except IntegrityError:
            _require_same(path, file_checksums(path, crc32c), crc32c)
            raise


def send_file(store: Store, path: Path, key: str, if_none_match: bool = False) -> bool:
    """Writes a file to an object unless it is there already; returns whether it was.

    Raises:
        PreconditionFailed: When there is another object, and there must be none.
    """
    with contextlib.suppress(ObjectNotFound):
        info = store.stat(key)
        if holds(store, info, path.stat().st_size, lambda like: file_checksums(path, like)):
            store.effort.advance(info.size)
            return True
    put_file(store, path, key, if_none_match=if_none_match)
    return False


def holds(store: Store, info: ObjectInfo, size: int, checksums: Callable[[Checksums], Checksums]) -> bool:
    """Returns whether an object has this size and these checksums.

    Args:
        store: The store.
        info: The object.
        size: In bytes.
        checksums: Returns the checksums of the kinds that it is given, as far as they are known.
    """
    if info.size != size:
        return False
    stored = known_checksums(store, info)
    return stored.agree(checksums(stored))


def _require_same(path: Path, found: Checksums, expected: Checksums) -> None:
    if found != expected:
        raise ConflictError(f"{path} changed while it was sent; send it again when nobody writes to it")


def new_upload(
    store: Store, key: str, size: int, checksums: Checksums, if_match: str = "", if_none_match: bool = False
) -> Upload:
    """Returns an upload that is not started, with parts as the operation wants them and stores take them."""
    check_name(key, store.uri(""))
    least = -(-size // _MOST_PARTS)
    part_bytes = max(store.effort.options.part_bytes, -(-least // _MIB) * _MIB)
    return Upload(key, size, part_bytes, checksums, if_match, if_none_match)


def send_parts(store: Store, prepared: Upload, read: Callable[[int], bytes]) -> ObjectInfo:
    """Sends an object in parts and returns what the store says of it.

    Which parts were sent is noted in the state directory, so that the next process goes on where this one was killed.

    Args:
        store: The store.
        prepared: From :func:`new_upload`.
        read: Returns a part's bytes.

    Raises:
        IntegrityError: When the parts are not the object that ``prepared`` has the checksum of.
        PreconditionFailed: When another version, or one at all, is there.
    """
    try:
        return _send_parts(store, prepared, read)
    except ObjectNotFound as error:
        _LOG.warning("%s; sending it from its start", error)
        return _send_parts(store, prepared, read)


def _send_parts(store: Store, prepared: Upload, read: Callable[[int], bytes]) -> ObjectInfo:
    with Journal(store.uri(prepared.key), prepared) as journal:
        sending, receipts = _begun(store, prepared, journal)
        store.effort.advance(sum(_length(sending, part) for part in receipts))

        def send(part: int) -> None:
            data = read(part)
            receipt = store.effort.persistently(store.uri(sending.key), lambda: store._send_part(sending, part, data))
            journal.note(part, crc32c_of(data))
            receipts[part] = receipt
            store.effort.moved(len(data), store.uri(sending.key))
            store.effort.advance(len(data))

        missing = [part for part in range(sending.parts) if part not in receipts]
        try:
            if store.sequential_parts:
                for part in missing:
                    send(part)
            else:
                store.effort.each(send, missing)
            return _finished(store, sending, journal, receipts)
        except (AccessDenied, StorageUnavailable):
            raise
        except (StorageError, OSError):
            journal.remove()
            store.effort.advance(-sum(_length(sending, part) for part in receipts))
            with contextlib.suppress(StorageError):
                store._abort_upload(sending)
            raise


def _begun(store: Store, prepared: Upload, journal: Journal) -> tuple[Upload, dict[int, str]]:
    """Returns the upload with its session, and the receipts of the parts that are known to have arrived."""
    uri = store.uri(prepared.key)
    if journal.session:
        earlier = dataclasses.replace(prepared, session=journal.session)
        try:
            sent = store.effort.persistently(uri, lambda: store._sent_parts(earlier))
        except ObjectNotFound:
            pass
        else:
            return earlier, {part: receipt for part, receipt in sent.items() if part in journal.parts}
    session = store.effort.persistently(uri, lambda: store._start_upload(prepared))
    journal.start(session)
    return dataclasses.replace(prepared, session=session), {}


def _finished(store: Store, sending: Upload, journal: Journal, receipts: dict[int, str]) -> ObjectInfo:
    pairs = [(journal.parts[part], _length(sending, part)) for part in range(sending.parts)]
    sent = Checksums(crc32c=encoded_crc32c(combined_crc32c(pairs)))
    uri = store.uri(sending.key)
    if fault := mismatch(sent, sending.checksums):
        raise IntegrityError(f"{uri}: what was read to be sent is damaged: {fault}; nothing was written", uri)
    finish: Callable[[], ObjectInfo] = lambda: store._finish_upload(sending, receipts)  # noqa: E731
    info = store.settled(sending.key, sending.size, lambda: sending.checksums, finish)
    journal.remove()
    return info


def _length(sending: Upload, part: int) -> int:
    return min(sending.part_bytes, sending.size - part * sending.part_bytes)
