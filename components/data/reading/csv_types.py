"""The types of CSV columns and their values, as TensorFlow Data Validation's own decoder finds them.

A column is ``null`` (every cell empty), ``int64``, ``float32`` or ``string``: the first that suits all its cells.
What a number is, Python says: ``int(cell)`` and ``float(cell)`` over the cell's bytes, so blanks around it, a plus
sign and single underscores between digits are allowed, ``nan`` and ``inf`` are floats, and hexadecimal is text. A
whole number beyond 64 bits makes its column text. An empty cell, quoted or not, is missing.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["KINDS", "converted", "has_odd_numbers", "kind_needed", "suspicious"]

KINDS = (pa.null(), pa.int64(), pa.float32(), pa.string())
"""The types, each wider than the one before."""

_NULL, _INT, _FLOAT, _STRING = range(4)
_INT64 = range(-(2**63), 2**63)
_LONG_CELL = 1000
_NUMERIC = b"0123456789+-._eEinftyINFTYaA \t\n\r\v\f"
_ALPHANUMERIC = np.array([chr(code).isalnum() and code < 128 for code in range(256)])


def converted(cells: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Returns the cells as values of a type; None when a cell does not suit it.

    Args:
        cells: Strings; a missing one is null.
        kind: One of :data:`KINDS`.
    """
    if kind == pa.string():
        return cells
    if kind == pa.null():
        return pa.nulls(len(cells)) if cells.null_count == len(cells) else None
    values = _cast(cells, kind)
    if values is None and KINDS[kind_needed(cells)] in KINDS[: KINDS.index(kind) + 1]:
        distinct = cells.dictionary_encode()
        read = int if kind == pa.int64() else float
        numbers = [read(cell.encode()) for cell in distinct.dictionary.to_pylist()]
        values = pa.array(numbers, kind).take(distinct.indices)
    return values


def kind_needed(cells: pa.Array) -> int:
    """Returns the place in :data:`KINDS` of the first type that suits all the cells."""
    needed = _NULL
    for cell in cells.unique().to_pylist():
        needed = max(needed, _kind(cell))
        if needed == _STRING:
            break
    return needed


def has_odd_numbers(block: bytes, kinds: Collection[pa.DataType]) -> bool:
    """Tells whether a block may hold what Arrow takes for a number and Python does not: ``0x1F``, ``nan(1)``."""
    if pa.int64() in kinds and _has_hexadecimal(block):
        return True
    return pa.float32() in kinds and b"(" in block and b"nan(" in block.lower()


def suspicious(numbers: pa.Array | pa.ChunkedArray) -> bool:
    """Tells whether there may be a whole number beyond 64 bits, which is text, among floats."""
    return bool(pc.any(pc.greater_equal(pc.abs(numbers), float(2**63))).as_py())


def _has_hexadecimal(block: bytes) -> bool:
    data = np.frombuffer(block, np.uint8)
    for mark in b"xX":
        places = np.flatnonzero(data == mark) if mark in block else np.array([], int)
        zeros = places[(places > 0) & (data[places - 1] == ord("0"))] - 1
        if (~_ALPHANUMERIC[np.where(zeros > 0, data[zeros - 1], 0)]).any():
            return True
    return False


def _kind(cell: str | None) -> int:
    if not cell:
        return _NULL
    text = cell.encode()
    if len(text) > _LONG_CELL and text.translate(None, _NUMERIC):
        return _STRING
    try:
        return _INT if int(text) in _INT64 else _STRING
    except ValueError:
        pass
    try:
        float(text)
    except ValueError:
        return _STRING
    return _FLOAT


def _cast(cells: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Returns the numbers where Arrow reads them as Python does; None to let Python look."""
    trimmed = pc.ascii_trim_whitespace(cells)
    try:
        numbers = trimmed.cast(pa.int64() if kind == pa.int64() else pa.float64())
    except pa.ArrowInvalid:
        return None
    mark = "x" if kind == pa.int64() else "("
    odd = pc.any(pc.match_substring(trimmed, mark, ignore_case=True)).as_py()
    if odd or (kind == pa.float32() and suspicious(numbers)):
        return None
    return numbers.cast(kind)
