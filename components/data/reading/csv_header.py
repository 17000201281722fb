"""The first line of a CSV file: the names of its columns, and what is between them."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from shipway.components.common.errors import InputError
from shipway.components.data.reading.records import RECORD_BYTES, opened, wide_cells

__all__ = ["Header", "read_header", "require_same_names"]

_HEAD_BYTES = 1 << 16
_DELIMITERS = ",;\t|"


class Header(NamedTuple):
    """Column names in the file's order, the delimiter, and the offset of what follows in the unpacked file."""

    names: tuple[str, ...]
    delimiter: str
    end: int


def read_header(file: Path) -> Header:
    """Returns what the first line that is not blank says; a byte order mark is left out.

    The delimiter is the most frequent of comma, semicolon, tab and bar outside quotation marks; in a ``.tsv`` file
    it is the tab if there is one.

    Raises:
        InputError: When the file is empty, no UTF-8 text, or its first line does not name columns.
    """
    with opened(file) as stream:
        head = stream.read(_HEAD_BYTES)
        _check_head(file, head)
        end = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        stream.seek(end)
        first = b"\n"
        while first in (b"\n", b"\r\n"):
            first = stream.readline(RECORD_BYTES)
            end += len(first)

        def texts() -> Iterator[str]:
            nonlocal end
            yield first.decode()
            while line := stream.readline(RECORD_BYTES):
                end += len(line)
                yield line.decode()

        try:
            delimiter = _delimiter(file, first.decode())
            with wide_cells():
                names = tuple(next(csv.reader(texts(), delimiter=delimiter, strict=True)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{file}, line 1: {error}; expected a line of column names in UTF-8") from error
    _check_names(file, names)
    return Header(names, delimiter, end)


def require_same_names(file: Path, names: Sequence[str], other: Path, expected: Sequence[str]) -> None:
    """Checks that two files have the same columns; their order may differ.

    Raises:
        InputError: Naming the columns that only one of them has.
    """
    missing = [name for name in expected if name not in set(names)]
    more = [name for name in names if name not in set(expected)]
    if missing or more:
        found = [f"lacks {', '.join(map(repr, missing[:5]))}"] if missing else []
        found += [f"has {', '.join(map(repr, more[:5]))} besides"] if more else []
        raise InputError(
            f"{file}: {' and '.join(found)}, compared with {other}; give every file the same columns, or read the "
            "files one by one"
        )


def _check_head(file: Path, head: bytes) -> None:
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise InputError(f"{file}: is empty; expected a line of column names and rows below it")
    if b"\0" in head:
        raise InputError(f"{file}: is no text (it holds NUL bytes); expected CSV in UTF-8, or give Parquet as .parquet")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        line = head.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}, line {line}: is not UTF-8; convert it, for example: iconv -f latin1 -t utf-8"
        ) from error


def _delimiter(file: Path, line: str) -> str:
    counts = Counter(re.sub('"[^"]*"', "", line))
    if "\t" in counts and file.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return max(_DELIMITERS, key=lambda candidate: counts[candidate])


def _check_names(file: Path, names: tuple[str, ...]) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{file}, line 1: column {name!r} is named {count} times; give every column a name of its own")
    if all(re.fullmatch(r"\s*[+-]?[\d.]+(e[+-]?\d+)?\s*", name, re.IGNORECASE) for name in names):
        raise InputError(f"{file}, line 1: holds numbers; expected a first line of column names, add one")
