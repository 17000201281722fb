"""Reading objects and comparing their bytes: whole, or part by part into a file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator

from shipway.components.common.errors import IntegrityError
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
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.partial import PartialFile
from shipway.components.common.storage.store import Store

__all__ = ["checked_bytes", "content_crc32c", "decisive_checksums", "fill", "known_checksums"]

_LOG = logging.getLogger(__name__)


def checked_bytes(store: Store, info: ObjectInfo, expected: Checksums = NO_CHECKSUMS) -> bytes:
    """Returns a small object's bytes after checking them.

    Where neither the store nor the caller knows a checksum, the object is read twice and both readings compared.

    Raises:
        IntegrityError: When they are wrong.
    """
    data = store.whole(info.key, info.size, info.version)
    decisive = decisive_checksums(expected, info.checksums)
    if not decisive:
        again = store.whole(info.key, info.size, info.version)
        decisive = bytes_checksums(again, Checksums(sha256="?"))
    _compare(store, info, bytes_checksums(data, decisive), decisive)
    return data


def known_checksums(store: Store, info: ObjectInfo) -> Checksums:
    """Returns an object's checksums: what the store knows, else, where that costs little, of its bytes as read."""
    if info.checksums or not store.reads_are_cheap:
        return info.checksums
    return Checksums(crc32c=content_crc32c(store, info))


def content_crc32c(store: Store, info: ObjectInfo) -> str:
    """Returns the CRC32C of an object's bytes, read now."""
    value = 0
    for chunk in store.read(info.key, 0, info.size, info.version):
        value = crc32c_of(chunk, value)
    return encoded_crc32c(value)


def decisive_checksums(expected: Checksums, stored: Checksums) -> Checksums:
    """Returns the checksums to compare: those expected, and the cheapest that the store has."""
    crc32c = expected.crc32c or stored.crc32c
    cheap = Checksums(crc32c=crc32c) if crc32c else stored
    return expected.with_those_of(cheap) if expected else cheap


def fill(store: Store, info: ObjectInfo, partial: PartialFile, expected: Checksums) -> None:
    """Reads what is missing of a partial file, and checks it, as :func:`checked_bytes` does.

    Raises:
        IntegrityError: When the bytes are wrong.
    """
    parts = range(-(-info.size // partial.part_bytes))
    store.effort.advance(sum(partial.length(part) for part in partial.done))
    missing = [part for part in parts if part not in partial.done]
    _read_parts(store, info, partial, missing, partial.write, partial.finish_part)
    crc32c = combined_crc32c((partial.done[part], partial.length(part)) for part in parts)
    decisive = decisive_checksums(expected, info.checksums)
    if not decisive:
        _read_again(store, info, partial)
        return
    others = file_checksums(partial.aside, dataclasses.replace(decisive, crc32c=""))
    _compare(store, info, dataclasses.replace(others, crc32c=encoded_crc32c(crc32c)), decisive)


def _read_again(store: Store, info: ObjectInfo, partial: PartialFile) -> None:
    where = store.uri(info.key)
    _LOG.info("%s has no checksum: it is read a second time to compare", where)

    def compare(part: int, crc32c: int) -> None:
        if crc32c != partial.done[part]:
            raise IntegrityError(f"{where} has no checksum, and two readings of it differ; is it being written?", where)

    store.effort.advance(-info.size)
    _read_parts(store, info, partial, list(partial.done), lambda _position, _data: None, compare)


def _read_parts(
    store: Store,
    info: ObjectInfo,
    partial: PartialFile,
    parts: list[int],
    take: Callable[[int, bytes], None],
    finish: Callable[[int, int], None],
) -> None:
    """Reads parts side by side, or, where the server sends no parts, all of the object at once.

    Args:
        store: The store.
        info: The object.
        partial: How it is divided.
        parts: The parts that are wanted.
        take: Takes bytes and their position.
        finish: Takes a part that is complete, and its CRC32C.
    """

    def read(start: int, stop: int) -> None:
        crc32c = 0
        for part, position, data in _cut(store.read(info.key, start, stop, info.version), start, partial.part_bytes):
            take(position, data)
            crc32c = crc32c_of(data, crc32c)
            store.effort.advance(len(data))
            if position + len(data) == part * partial.part_bytes + partial.length(part):
                finish(part, crc32c)
                crc32c = 0

    def read_part(part: int) -> None:
        start = part * partial.part_bytes
        read(start, start + partial.length(part))

    if info.has_ranges:
        store.effort.each(read_part, parts)
    elif parts:
        read(0, info.size)


def _cut(chunks: Iterable[bytes], position: int, part_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Yields bytes with their part and position, cut where a part ends."""
    for chunk in chunks:
        rest = chunk
        while rest:
            part = position // part_bytes
            data = rest[: (part + 1) * part_bytes - position]
            yield part, position, data
            position, rest = position + len(data), rest[len(data) :]


def _compare(store: Store, info: ObjectInfo, found: Checksums, expected: Checksums) -> None:
    if fault := mismatch(found, expected):
        raise IntegrityError(f"{store.uri(info.key)} arrived damaged: {fault}; nothing was kept", store.uri(info.key))
