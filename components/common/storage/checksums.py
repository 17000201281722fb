"""Checksums of objects: which ones a store or a manifest knows, and whether a file has them.

CRC32C is written as object stores report it: base64 of its four bytes, highest first. MD5 and SHA-256 are hexadecimal.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import google_crc32c

__all__ = [
    "NO_CHECKSUMS",
    "Checksums",
    "bytes_checksums",
    "combined_crc32c",
    "crc32c_of",
    "encoded_crc32c",
    "file_checksums",
    "mismatch",
]

_CHUNK_BYTES = 1 << 20
_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed


@dataclasses.dataclass(frozen=True)
class Checksums:
    """What is known of an object's bytes; "" where a checksum is not known.

    Attributes:
        crc32c: Base64 of four bytes.
        crc32: Base64 of four bytes; some S3 stores keep it.
        md5: 32 hexadecimal digits.
        sha256: 64 hexadecimal digits.
        md5_of_parts: S3's ETag of an object uploaded in parts, ``<hex>-<parts>``: the MD5 of the parts' MD5s.
        md5_part_bytes: The size of these parts; the last may be smaller.
    """

    crc32c: str = ""
    crc32: str = ""
    md5: str = ""
    sha256: str = ""
    md5_of_parts: str = ""
    md5_part_bytes: int = 0

    def __bool__(self) -> bool:
        """Whether there is any to check bytes by."""
        parts = self.md5_of_parts and self.md5_part_bytes
        return bool(self.crc32c or self.crc32 or self.md5 or self.sha256 or parts)

    def agree(self, other: Checksums) -> bool:
        """Returns whether the two know a checksum in common and differ in none."""
        names = ("crc32c", "crc32", "md5", "sha256", "md5_of_parts")
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        known = [(mine, others) for mine, others in pairs if mine and others]
        return bool(known) and all(mine == others for mine, others in known)

    def with_those_of(self, other: Checksums) -> Checksums:
        """Returns these checksums, and the other's where these know none."""
        return dataclasses.replace(other, **{k: v for k, v in dataclasses.asdict(self).items() if v})


NO_CHECKSUMS = Checksums()


def crc32c_of(data: bytes, before: int = 0) -> int:
    """Returns the CRC32C of bytes as a number, or of those ``before`` and these."""
    return int(google_crc32c.extend(before, data))  # type: ignore[no-untyped-call]


def encoded_crc32c(value: int) -> str:
    """Returns a CRC32C in base64."""
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


def combined_crc32c(parts: Iterable[tuple[int, int]]) -> int:
    """Returns the CRC32C of bytes that lie one after another, from each part's CRC32C and length.

    The same as zlib's ``crc32_combine``: the first value is taken through as many zero bytes as follow it, with
    matrices over GF(2) that are squared for each bit of the length.
    """
    whole = 0
    for value, length in parts:
        for bit in range(length.bit_length()):
            if length >> bit & 1:
                whole = _times(_zeros(bit), whole)
        whole ^= value
    return whole


@lru_cache(maxsize=64)
def _zeros(power: int) -> tuple[int, ...]:
    """Returns the matrix that takes a CRC32C through 2**power zero bytes, a number per column."""
    if power:
        half = _zeros(power - 1)
        return tuple(_times(half, column) for column in half)
    matrix = (_POLYNOMIAL, *(1 << bit for bit in range(31)))  # one zero bit
    for _ in range(3):
        matrix = tuple(_times(matrix, column) for column in matrix)
    return matrix


def _times(matrix: tuple[int, ...], vector: int) -> int:
    total, bit = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[bit]
        vector >>= 1
        bit += 1
    return total


def bytes_checksums(data: bytes, like: Checksums) -> Checksums:
    """Returns the checksums of bytes, of those kinds that ``like`` has."""
    return _stream_checksums(io.BytesIO(data), like)


def file_checksums(path: Path, like: Checksums) -> Checksums:
    """Returns the checksums of a file, of those kinds that ``like`` has."""
    if not like:
        return NO_CHECKSUMS
    with path.open("rb") as file:
        return _stream_checksums(file, like)


def _stream_checksums(stream: BinaryIO, like: Checksums) -> Checksums:
    crc32c, crc32 = 0, 0
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        if like.crc32c:
            crc32c = crc32c_of(chunk, crc32c)
        if like.crc32:
            crc32 = zlib.crc32(chunk, crc32)
        if like.md5:
            md5.update(chunk)
        if like.sha256:
            sha256.update(chunk)
    in_parts = like.md5_of_parts and like.md5_part_bytes
    return Checksums(
        crc32c=encoded_crc32c(crc32c) if like.crc32c else "",
        crc32=encoded_crc32c(crc32) if like.crc32 else "",
        md5=md5.hexdigest() if like.md5 else "",
        sha256=sha256.hexdigest() if like.sha256 else "",
        md5_of_parts=_md5_of(_part_md5s(stream, like.md5_part_bytes)) if in_parts else "",
        md5_part_bytes=like.md5_part_bytes,
    )


def _part_md5s(stream: BinaryIO, part_bytes: int) -> bytes:
    stream.seek(0)
    digests = []
    left, digest = part_bytes, hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(min(_CHUNK_BYTES, left)):
        digest.update(chunk)
        left -= len(chunk)
        if not left:
            digests.append(digest.digest())
            left, digest = part_bytes, hashlib.md5(usedforsecurity=False)
    if left < part_bytes:
        digests.append(digest.digest())
    return b"".join(digests)


def _md5_of(part_md5s: bytes) -> str:
    return f"{hashlib.md5(part_md5s, usedforsecurity=False).hexdigest()}-{len(part_md5s) // 16}"


def mismatch(found: Checksums, expected: Checksums) -> str:
    """Returns the names and values of what differs among the checksums that both know; "" when nothing does."""
    names = ("crc32c", "crc32", "md5", "sha256", "md5_of_parts")
    pairs = [(name, getattr(found, name), getattr(expected, name)) for name in names]
    return ", ".join(f"{name} {a} instead of {b}" for name, a, b in pairs if a and b and a != b)
