"""Tables of every sort of column, made from a seed."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import numpy as np
import pyarrow as pa

__all__ = ["KINDS", "made_table"]

_SIZES = (1, 2, 7, 100, 569, 3000, 20_000)
_WORDS = ("", " ", "a", "A", "é", "日本", "🚢", "null", "0", 'quo"te', "two\nlines", "a" * 300)


def made_table(seed: int, rows: int | None = None, columns: int = 8) -> pa.Table:
    """Returns a table of a few columns of random sorts, with missing values, and a column ``weight``."""
    draw = np.random.default_rng(seed)
    rows = int(draw.choice(_SIZES)) if rows is None else rows
    kinds = [list(KINDS)[(seed + index * 7) % len(KINDS)] for index in range(columns)]
    made = {f"{kind}_{index}": _with_nulls(KINDS[kind](draw, rows), draw) for index, kind in enumerate(kinds)}
    return pa.table({**made, "weight": draw.integers(1, 9, rows) / 4})


def _with_nulls(column: pa.Array, draw: np.random.Generator) -> pa.Array:
    share = draw.choice([0.0, 0.0, 0.1, 0.9])
    return column.take(pa.array(np.arange(len(column)), mask=draw.random(len(column)) < share))


def _ints(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.integers(-50, 50, rows))


def _large_ints(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.integers(-(1 << 62), 1 << 62, rows))


def _small_ints(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.integers(0, 200, rows).astype(np.uint8))


def _floats(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.normal(3, 1e3, rows))


def _single_floats(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(np.round(draw.exponential(2, rows), 1).astype(np.float32))


def _not_numbers(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(np.where(draw.random(rows) < 0.3, np.nan, draw.integers(0, 5, rows)), from_pandas=False)


def _infinities(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.choice([np.inf, -np.inf, 1.0, 2.5, np.nan, 0.0], rows), from_pandas=False)


def _words(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.choice(_WORDS, rows).tolist(), pa.string())


def _ties(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array([f"v{index % 40}" for index in range(rows)])


def _codes(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array([f"code {number}" for number in draw.zipf(1.5, rows) % 900])


def _bytes(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array([bytes([value, 200]) for value in draw.integers(60, 70, rows)], pa.binary())


def _bools(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.random(rows) < 0.2)


def _dates(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array([datetime.date(int(year), 2, 3) for year in draw.integers(1, 9999, rows)], pa.date32())


def _times(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.integers(-(10**9), 10**9, rows) * 1000, pa.timestamp("ms", tz="UTC"))


def _constant(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array([7.25] * rows)


def _nulls(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.nulls(rows, pa.int64() if draw.random() < 0.5 else pa.string())


def _categories(draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(draw.choice(["low", "high"], rows).tolist()).dictionary_encode()


def _lists(kind: pa.DataType, values: Callable[[np.random.Generator, int], list[object]]) -> Callable[..., pa.Array]:
    def make(draw: np.random.Generator, rows: int) -> pa.Array:
        return pa.array([values(draw, int(length)) for length in draw.integers(0, 5, rows)], pa.list_(kind))

    return make


KINDS: dict[str, Callable[[np.random.Generator, int], pa.Array]] = {
    "ints": _ints, "large_ints": _large_ints, "small_ints": _small_ints, "floats": _floats,
    "single_floats": _single_floats, "not_numbers": _not_numbers, "infinities": _infinities, "words": _words,
    "ties": _ties, "codes": _codes, "bytes": _bytes, "bools": _bools, "dates": _dates, "times": _times,
    "constant": _constant, "nulls": _nulls, "categories": _categories,
    "int_lists": _lists(pa.int64(), lambda draw, length: draw.integers(0, 9, length).tolist()),
    "word_lists": _lists(pa.string(), lambda draw, length: draw.choice(_WORDS, length).tolist()),
    "float_lists": _lists(pa.float64(), lambda draw, length: draw.normal(0, 1, length).tolist()),
}  # fmt: skip
