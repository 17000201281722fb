"""What a text table looks like: its delimiter and names, and where it is broken when DuckDB refuses it."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO, cast

from shipway.components.common.errors import InputError

__all__ = ["delimiter_of", "explain"]

_DELIMITERS = ",;\t|"
_HEAD_BYTES = 1 << 16


def delimiter_of(file: Path) -> str:
    """Returns the delimiter of a text table's first line, which holds the column names.

    Raises:
        InputError: When the file is empty, no UTF-8 text, or its first line does not name columns.
    """
    try:
        with _opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read: {error}; is it complete? fetch it again") from error
    if not head.strip():
        raise InputError(f"{file}: is empty; expected a line of column names and rows below it")
    if b"\0" in head:
        raise InputError(f"{file}: is no text (it holds NUL bytes); expected CSV in UTF-8, or give Parquet as .parquet")
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError as error:
        line = head.count(b"\n", 0, error.start) + 1
        raise InputError(_not_utf8(file, line)) from error
    first = text.lstrip("\r\n").splitlines()[0]
    counts = Counter(character for character in first if character in _DELIMITERS)
    delimiter = max(_DELIMITERS, key=lambda candidate: counts[candidate])
    _check_names(file, next(csv.reader([first], delimiter=delimiter)))
    return delimiter


def explain(file: Path, delimiter: str) -> str:
    """Returns what is wrong with a text table and in which line; ``""`` when nothing is found."""
    start = 1
    try:
        with _opened(file) as stream:
            rows = csv.reader(
                (line.decode().removeprefix("\ufeff") for line in stream), delimiter=delimiter, strict=True
            )
            width = len(next(rows))
            start = rows.line_num + 1
            for row in rows:
                if row and len(row) != width:
                    return _ragged(file, start, len(row), width)
                start = rows.line_num + 1
    except UnicodeDecodeError:
        return _not_utf8(file, rows.line_num + 1)
    except csv.Error as error:
        return f"{file}, line {start}: {error}; is a quotation mark missing, or the file cut off? mend that line"
    except (OSError, EOFError, zlib.error) as error:
        return f"{file}: ends or breaks after line {start - 1}: {error}; is the download complete? fetch it again"
    return ""


def _ragged(file: Path, line: int, found: int, expected: int) -> str:
    cut = _last_line_is_open(file) and found < expected
    next_step = "is the file cut off? fetch it again, or mend that line" if cut else "mend that line, or leave it out"
    fields = "1 field" if found == 1 else f"{found} fields"
    return f"{file}, line {line}: {fields} where the first line names {expected} columns; {next_step}"


def _last_line_is_open(file: Path) -> bool:
    with _opened(file) as stream:
        last = b""
        while chunk := stream.read(_HEAD_BYTES):
            last = chunk
    return not last.endswith((b"\n", b"\r"))


def _not_utf8(file: Path, line: int) -> str:
    return f"{file}, line {line}: is not UTF-8; convert it, for example: iconv -f latin1 -t utf-8"


def _check_names(file: Path, names: list[str]) -> None:
    repeated = [name for name, count in Counter(name.strip().casefold() for name in names).items() if count > 1]
    if repeated:
        raise InputError(
            f"{file}, line 1: column {repeated[0]!r} is named more than once (small and capital letters are the "
            "same); give every column a name of its own"
        )
    if all(_is_number(name) for name in names):
        raise InputError(f"{file}, line 1: holds numbers; expected a first line of column names, add one")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if file.name.lower().endswith(".gz") else file.open("rb")
