from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

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

PART = 5 << 20


def test_the_published_check_value() -> None:
    assert crc32c_of(b"123456789") == 0xE3069283
    assert encoded_crc32c(0xE3069283) == "4waSgw=="
    assert encoded_crc32c(0) == "AAAAAA=="


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_the_crc32c_of_parts_is_that_of_the_whole(parts: list[bytes]) -> None:
    assert combined_crc32c([(crc32c_of(part), len(part)) for part in parts]) == crc32c_of(b"".join(parts))


@given(st.binary(max_size=64), st.integers(0, 3 << 20), st.binary(max_size=64))
def test_long_parts(head: bytes, zeros: int, tail: bytes) -> None:
    middle = b"\0" * zeros
    parts = [head, middle, tail]
    assert combined_crc32c([(crc32c_of(part), len(part)) for part in parts]) == crc32c_of(head + middle + tail)


def test_parts_larger_than_memory() -> None:
    """A tebibyte, put together by halves or in one go."""
    value, length = crc32c_of(b"\xff" * 4096), 4096
    pieces = [(value, length)] * 64
    whole = combined_crc32c(pieces)
    assert (
        combined_crc32c([(combined_crc32c(pieces[:32]), 32 * length), (combined_crc32c(pieces[32:]), 32 * length)])
        == whole
    )
    tebibyte = (whole, 64 * length)
    while tebibyte[1] < 1 << 40:
        tebibyte = (combined_crc32c([tebibyte, tebibyte]), 2 * tebibyte[1])
    assert combined_crc32c([tebibyte, (0, 0)]) == tebibyte[0]
    assert combined_crc32c([tebibyte, tebibyte]) != tebibyte[0]


@given(st.binary(max_size=1000))
def test_each_kind(data: bytes) -> None:
    found = bytes_checksums(data, Checksums("?", "?", "?", "?"))
    assert found.crc32c == encoded_crc32c(google_crc32c.value(data))
    assert found.crc32 == encoded_crc32c(zlib.crc32(data))
    assert (found.md5, found.sha256) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
    assert bytes_checksums(data, NO_CHECKSUMS) == NO_CHECKSUMS
    assert bytes_checksums(data, Checksums(md5="?")) == Checksums(md5=found.md5)


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 7])
def test_an_etag_of_parts(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    digests = [hashlib.md5(data[start : start + PART]).digest() for start in range(0, size, PART)]
    wanted = f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"
    like = Checksums(md5_of_parts=wanted, md5_part_bytes=PART)
    assert bytes_checksums(data, like) == like
    assert not mismatch(bytes_checksums(data, like), like)
    changed = bytes_checksums(data[:-1] + b"?", like)
    assert mismatch(changed, like) == f"md5_of_parts {changed.md5_of_parts} instead of {wanted}"


def test_a_file_has_the_checksums_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    path.write_bytes(data)
    like = Checksums("?", "?", "?", "?", "?", 1 << 20)
    assert file_checksums(path, like) == bytes_checksums(data, like)


def test_whether_there_is_any_to_check_by() -> None:
    assert not NO_CHECKSUMS
    assert not Checksums(md5_of_parts="ab-2")
    assert Checksums(md5_of_parts="ab-2", md5_part_bytes=1)
    for name in ("crc32c", "crc32", "md5", "sha256"):
        assert Checksums(**{name: "x"})


def test_agreeing() -> None:
    one = Checksums(crc32c="a", md5="b")
    assert one.agree(Checksums(crc32c="a"))
    assert one.agree(Checksums(crc32c="a", sha256="c"))
    assert not one.agree(Checksums(crc32c="a", md5="other"))
    assert not one.agree(Checksums(crc32c="other"))
    assert not one.agree(Checksums(sha256="c")), "nothing in common tells nothing"
    assert not NO_CHECKSUMS.agree(NO_CHECKSUMS)


def test_adding_what_another_knows() -> None:
    one, other = Checksums(crc32c="a"), Checksums(crc32c="b", md5="m", md5_of_parts="p-1", md5_part_bytes=8)
    assert one.with_those_of(other) == Checksums(crc32c="a", md5="m", md5_of_parts="p-1", md5_part_bytes=8)
    assert one.with_those_of(NO_CHECKSUMS) == NO_CHECKSUMS.with_those_of(one) == one


def test_naming_what_differs() -> None:
    found, expected = Checksums(crc32c="a", md5="m", sha256="s"), Checksums(crc32c="b", md5="m", sha256="t")
    assert mismatch(found, expected) == "crc32c a instead of b, sha256 s instead of t"
    assert mismatch(found, Checksums(crc32="z")) == ""
