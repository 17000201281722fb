"""Where the records of a text table end: blocks of whole records, quoted line breaks respected.

Quotation marks follow Python's ``csv``: one at the beginning of a field opens it, two inside stand for one, any
other is text. Text after a closing one is refused: there a mark is missing more often than not, and records would
melt into each other without a word.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from shipway.components.common.errors import InputError

__all__ = [
    "BLOCK_BYTES",
    "RECORD_BYTES",
    "BrokenRow",
    "broken_row",
    "is_packed",
    "line_at",
    "opened",
    "record_blocks",
    "wide_cells",
]

BLOCK_BYTES = 1 << 20
"""Bytes read at once: small enough for a processor's cache, large enough for thousands of rows."""
RECORD_BYTES = 1 << 28
"""The longest record; a longer one is taken for a missing quotation mark or line break."""
_QUOTE, _NEWLINE = ord('"'), ord("\n")


_PACKED = b"\x1f\x8b"


def is_packed(file: Path) -> bool:
    """Tells whether a file is a gzip file, whatever its name."""
    with opened(file) as stream:
        return isinstance(stream, gzip.GzipFile)


@contextlib.contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Yields a file's bytes, unpacked when it is a gzip file, whatever its name.

    Raises:
        InputError: When it may not be read, or breaks while it is read.
    """
    position = 0
    try:
        with file.open("rb") as raw:
            packed = raw.read(len(_PACKED)) == _PACKED
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as stream:
                try:
                    yield cast(BinaryIO, stream)
                finally:
                    position = stream.tell()
    except PermissionError as error:
        raise InputError(f"{file} may not be read: {error.strerror}; let the step's user read it") from error
    except (OSError, EOFError, zlib.error) as error:
        place = f" after {position:,} unpacked bytes" if position else ""
        raise InputError(f"{file}: ends or breaks{place}: {error}; is it complete? fetch it again") from error


def record_blocks(
    file: Path, delimiter: str, start: int, stop: int | None, size: int = BLOCK_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Yields offsets and blocks of whole records, about ``size`` bytes each.

    Args:
        file: The file; offsets are those of its unpacked bytes.
        delimiter: Between fields, one ASCII character.
        start: Where a record begins.
        stop: Where a record ends; None for the file's end.
        size: Bytes of a block; a longer record makes a longer block.

    Raises:
        InputError: When a quotation mark is missing, a record is longer than 256 MiB, or the file breaks.
    """
    with opened(file) as stream:
        stream.seek(start)
        left = float("inf") if stop is None else stop - start
        offset, rest, want = start, b"", size
        while True:
            data = stream.read(int(min(want, left)))
            if not data and 0 < left < float("inf"):
                raise InputError(f"{file} became shorter while it was read; start again when nobody writes to it")
            left -= len(data)
            block = rest + data
            if not block:
                return
            last = not data or left == 0
            end = _whole(file, offset, block, delimiter, last=last)
            if end:
                block, rest, data = block[:end], block[end:], b""
                yield offset, block
                offset, want = offset + end, size
            elif len(block) >= RECORD_BYTES:
                raise InputError(
                    f"{file}, line {line_at(file, offset)}: a row of more than {RECORD_BYTES >> 20} MiB begins here; "
                    "is a quotation mark or a line break missing?"
                )
            else:
                rest, want = block, min(len(block), RECORD_BYTES - len(block))
            if last:
                return


def line_at(file: Path, offset: int) -> int:
    """Returns the number of the line, counted from 1, that holds a byte of the unpacked file."""
    line = 1
    with opened(file) as stream:
        while offset > 0 and (data := stream.read(min(offset, BLOCK_BYTES))):
            line += data.count(b"\n")
            offset -= len(data)
    return line


class BrokenRow(NamedTuple):
    """A row with a wrong number of fields, and its line, counted from 0 in its block."""

    line: int
    fields: int


def broken_row(block: bytes, delimiter: str, width: int) -> BrokenRow | None:
    """Returns the first row of a block that has not ``width`` fields; None when there is none."""
    with wide_cells():
        line = 0
        rows = csv.reader((text.decode("latin-1") for text in io.BytesIO(block)), delimiter=delimiter)
        for row in rows:
            if row and len(row) != width:
                return BrokenRow(line, len(row))
            line = rows.line_num
    return None


@contextlib.contextmanager
def wide_cells() -> Iterator[None]:
    """Lets Python's ``csv`` read cells as long as a record may be."""
    before = csv.field_size_limit(RECORD_BYTES * 2)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _whole(file: Path, offset: int, block: bytes, delimiter: str, *, last: bool) -> int:
    """Returns where the block's last whole record ends; 0 when none does."""
    if b'"' not in block:
        return len(block) if last else block.rfind(b"\n") + 1
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    if not _regular(data, quotes, delimiter) or (last and len(quotes) % 2):
        return _read_through(file, offset, block, delimiter, last=last)
    if last:
        return len(block)
    for place in range(len(quotes) // 2, -1, -1):
        start = int(quotes[2 * place - 1]) + 1 if place else 0
        end = int(quotes[2 * place]) if 2 * place < len(quotes) else len(block)
        if (newline := block.rfind(b"\n", start, end)) >= 0:
            return newline + 1
    return 0


def _regular(data: np.ndarray, quotes: np.ndarray, delimiter: str) -> bool:
    """Tells whether every other mark opens a field and every other one closes it, so that counting them is enough."""
    border = np.zeros(256, bool)
    border[[_QUOTE, _NEWLINE, ord("\r"), ord(delimiter)]] = True
    opening = quotes[::2][quotes[::2] > 0]
    closing = quotes[1::2][quotes[1::2] < len(data) - 1]
    return bool(border[data[opening - 1]].all() and border[data[closing + 1]].all())


def _read_through(file: Path, offset: int, block: bytes, delimiter: str, *, last: bool) -> int:
    """Returns what :func:`_whole` does, by reading every record: text holds quotation marks, or one is missing."""
    lines = block if last else block[: block.rfind(b"\n") + 1]
    consumed = end = 0

    def texts() -> Iterator[str]:
        nonlocal consumed
        for line in io.BytesIO(lines):
            consumed += len(line)
            yield line.decode("latin-1")

    with wide_cells():
        try:
            for _ in csv.reader(texts(), delimiter=delimiter, strict=True):
                end = consumed
        except csv.Error as error:
            if last or consumed < len(lines):
                raise InputError(
                    f"{file}, line {line_at(file, offset + end)}: {error}; is a quotation mark missing, or the file "
                    "cut off? mend the row that begins there"
                ) from error
    return end
