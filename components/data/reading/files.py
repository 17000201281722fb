"""Which files make a source, of what format, and what the names of their directories say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from shipway.components.common.errors import InputError

__all__ = ["FORMATS", "found_files", "partitions"]

FORMATS = {
    "parquet": re.compile(r"\.(parquet|pq)$", re.IGNORECASE),
    "csv": re.compile(r"\.[ct]sv(\.gz)?$", re.IGNORECASE),
    "tfrecord": re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE),
}
"""The endings of the names of readable files."""

_SUFFIXES = ".parquet, .csv, .tsv, .csv.gz, .tsv.gz, .tfrecord or .tfrecord.gz"
_MISSING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")


def found_files(root: Path, format: str) -> tuple[str, tuple[Path, ...]]:  # noqa: A002
    """Returns the format and the files, sorted by path.

    Args:
        root: A file, or a directory.
        format: One of :data:`FORMATS`; "" tells it from the names. With a format, files of any name are taken
            from a directory that holds none with a fitting name.

    Raises:
        InputError: When there is nothing readable, or files of several formats.
    """
    if format and format not in FORMATS:
        raise InputError(f"format {format!r} cannot be read; give {', '.join(FORMATS)}, or nothing")
    try:
        if not root.exists():
            raise InputError(f"{root} does not exist; is it spelt right, and reachable from where the step runs?")
        files = sorted(_visible(root)) if root.is_dir() else [root]
    except PermissionError as error:
        raise InputError(f"{error.filename} may not be read: {error.strerror}; let the step's user read it") from error
    named = [(_format_of(file), file) for file in files]
    if format and root.is_dir():
        fitting = [file for name, file in named if name == format] or files
        named = [(format, file) for file in fitting]
    elif format:
        named = [(format, root)]
    named = [(name, file) for name, file in named if name]
    if not named:
        what = "is a directory without readable files" if root.is_dir() else "has a name that tells no readable format"
        raise InputError(f"{root} {what}; expected {_SUFFIXES}, or say which format it is")
    for name, file in named:
        if name != named[0][0]:
            raise InputError(
                f"{root} holds {named[0][0]} ({named[0][1].name}) and {name} ({file.name}); say which format to read, "
                "or give each a directory"
            )
        if not file.is_file():
            raise InputError(f"{file} is neither a file nor a directory; give one of those")
    return named[0][0], tuple(file for _, file in named)


def partitions(root: Path, files: Sequence[Path]) -> list[tuple[tuple[pa.Field, str | int | None], ...]]:
    """Returns for each file the columns that its directories name (``key=value``), and their values.

    A column whose values are all whole numbers is ``int64``, any other is ``string``.

    Raises:
        InputError: When the files have not all the same keys.
    """
    found = [_keys(file.relative_to(root).parts[:-1]) if file != root else {} for file in files]
    names = list(found[0])
    for file, keys in zip(files, found, strict=True):
        if list(keys) != names:
            raise InputError(
                f"{file}: its directories name {list(keys) or 'no keys'}, those of {files[0]} {names or 'none'}; "
                "give all files the same"
            )
    fields, values = [], []
    for name in names:
        texts = [keys[name] for keys in found]
        whole = all(_WHOLE_NUMBER.fullmatch(text) for text in texts if text is not None) and any(texts)
        fields.append(pa.field(name, pa.int64() if whole else pa.string()))
        values.append([int(text) if whole and text is not None else text for text in texts])
    return [
        tuple((field, column[index]) for field, column in zip(fields, values, strict=True))
        for index in range(len(files))
    ]


def _visible(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for directory, directories, names in os.walk(root, onerror=refuse):
        directories[:] = [name for name in directories if not name.startswith((".", "_"))]
        yield from (Path(directory, name) for name in names if not name.startswith((".", "_")))


def _format_of(file: Path) -> str:
    return next((name for name, ending in FORMATS.items() if ending.search(file.name)), "")


def _keys(directories: Sequence[str]) -> dict[str, str | None]:
    pairs = [directory.split("=", 1) for directory in directories if "=" in directory]
    return {unquote(key): None if value == _MISSING else unquote(value) for key, value in pairs}
