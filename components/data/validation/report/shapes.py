"""How the values of one column are spread in two or three sets of data, over common bins, and how far they moved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from shipway.components.data.validation.distances import kolmogorov_smirnov, noise
from shipway.components.data.validation.distributions import Cumulative, category_shares
from shipway.components.data.validation.report.words import shown

__all__ = ["Shape", "distance_beyond_chance", "shape_of"]

_BINS = 36
_BARS = 8
_FEW_NUMBERS = 10
_TAIL = 0.5
_DIGITS = 6

# Of two samples of one population, one pair in a hundred lies farther apart; a total variation, 1.5 times its mean.
_CHANCE, _CHANCE_FACTOR = 0.01, 1.5

Column = Mapping[str, Any]
"""One column of ``distributions.json``."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shares of a column's values by bin or by category.

    Attributes:
        labels: One per bin or category.
        series: Each set's shares of its values; None for a set without values.
        ends: What stands below the least bin, the middle and the largest; empty for categories.
        others: Whether the last label stands for all categories that have none of their own.
    """

    labels: tuple[str, ...]
    series: tuple[tuple[float, ...] | None, ...]
    ends: tuple[str, ...] = ()
    others: bool = False


def shape_of(columns: Sequence[Column | None]) -> Shape | None:
    """Returns the common shape of one column in several sets; None when there is nothing to draw.

    A set in which the column is of another kind than in the first is left out.
    """
    kind = next((column["kind"] for column in columns if column), "")
    alike = [column if column and column["kind"] == kind and _present(column) else None for column in columns]
    known = [column for column in alike if column]
    if not known:
        return None
    if kind == "number" and not _few_numbers(known):
        return _binned(alike)
    return _counted(alike, numeric=kind == "number")


def distance_beyond_chance(now: Column, before: Column, rows: tuple[int, int]) -> float:
    """Returns the share of rows whose value surely moved, from 0 to 1: the distance less what chance alone explains.

    The distance is Kolmogorov and Smirnov's for numbers and the total variation for text, missing values being a
    value of their own. It is 1 where the kind changed.

    Args:
        now: The column today.
        before: The column to hold it against.
        rows: How many rows stand behind each.
    """
    if not all(rows):
        return 0.0
    if now["kind"] != before["kind"]:
        return 1.0
    shares = category_shares(before, now, rows[1], rows[0])
    if now["kind"] == "number":
        chance = noise("ks", shares, rows[1], rows[0], _CHANCE)
        return max(0.0, kolmogorov_smirnov(before, now, rows[1], rows[0]) - chance)
    middles = (shares.before + shares.after) / 2
    chance = float(np.sqrt(middles * (1 - middles) * sum(1 / n for n in rows)).sum()) / math.sqrt(2 * math.pi)
    return max(0.0, float(np.abs(shares.after - shares.before).sum()) / 2 - _CHANCE_FACTOR * chance)


def _present(column: Column) -> bool:
    return bool(column["quantiles"] if column["kind"] == "number" else column["values"])


def _few_numbers(columns: Sequence[Column]) -> bool:
    if not all(column["values"] and not column["other"] for column in columns):
        return False
    return len({value for column in columns for value in column["values"]}) <= _FEW_NUMBERS


def _binned(columns: Sequence[Column | None]) -> Shape | None:
    known = [column["quantiles"] for column in columns if column]
    low, high = min(_core(q)[0] for q in known), max(_core(q)[1] for q in known)
    if not math.isfinite(high - low):
        return None
    whole = all(value == int(value) for q in known for value in q)
    edges, width = _edges(low, high, whole)
    digits = next((n for n in range(_DIGITS + 1) if math.isclose(width * 10**n, round(width * 10**n))), _DIGITS + 1)
    labels = [_bin_name(a, b, digits, whole) for a, b in pairwise(edges)]
    if min(q[0] for q in known) < edges[0]:
        labels[0] = f"below {_place(edges[1], digits)}"
    if max(q[-1] for q in known) > edges[-1]:
        labels[-1] = f"{_place(edges[-2], digits)} and above"
    ends = tuple(_place(edges[index], digits) for index in (0, len(edges) // 2, -1))
    return Shape(tuple(labels), tuple(_shares(column, edges) if column else None for column in columns), ends)


def _core(quantiles: Sequence[float]) -> tuple[float, float]:
    """Returns the range that is worth drawing: outliers far beyond the middle 98 % fall into the outermost bins."""
    reach = _TAIL * (quantiles[99] - quantiles[1])
    if reach == 0:
        return quantiles[0], quantiles[-1]
    return max(quantiles[0], quantiles[1] - reach), min(quantiles[-1], quantiles[99] + reach)


def _edges(low: float, high: float, whole: bool) -> tuple[list[float], float]:
    """Returns round edges from ``low`` or below to ``high`` or above, and the bins' width."""
    raw = (high - low) / _BINS or abs(low) / 10 or 1.0
    magnitude = 10.0 ** math.floor(math.log10(raw))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    width = next(magnitude * factor for factor in factors if magnitude * factor >= raw * 0.999)
    width = max(1.0, width) if whole else width
    first = math.floor(low / width)
    last = math.floor(high / width) + 1 if whole else max(math.ceil(high / width), first + 1)
    return [index * width for index in range(first, last + 1)], width


def _shares(column: Column, edges: Sequence[float]) -> tuple[float, ...]:
    curve = Cumulative.of(column)
    if curve is None:
        return ()
    below = [0.0, *map(float, curve.at(np.array(edges[1:-1]), inclusive=False)), 1.0]
    return tuple(b - a for a, b in pairwise(below))


def _bin_name(low: float, high: float, digits: int, whole: bool) -> str:
    if whole:
        return _place(low, 0) if high - low == 1 else f"{_place(low, 0)} to {_place(high - 1, 0)}"
    return f"{_place(low, digits)} to {_place(high, digits)}"


def _place(value: float, digits: int) -> str:
    if abs(value) >= 1e15 or digits > _DIGITS:
        return f"{value:.4g}"
    return f"{value + 0.0:,.{digits}f}"


def _counted(columns: Sequence[Column | None], *, numeric: bool) -> Shape:
    """Returns the shares of the most frequent values, and of all others together."""
    totals = [_total(column) if column else 0 for column in columns]
    largest: dict[str, float] = {}
    for column, total in zip(columns, totals, strict=True):
        for value, count in column["values"].items() if column else ():
            largest[value] = max(largest.get(value, 0.0), count / total)
    chosen = sorted(largest, key=lambda value: (-largest[value], value))[: _FEW_NUMBERS if numeric else _BARS]
    if numeric:
        chosen.sort(key=float)
    rest = len(largest) > len(chosen) or any(column and column["other"] for column in columns)
    series: list[tuple[float, ...] | None] = []
    for column, total in zip(columns, totals, strict=True):
        counts = [column["values"].get(value, 0) for value in chosen] if column else []
        others = [total - sum(counts)] if rest else []
        series.append(tuple(count / total for count in counts + others) if column else None)
    return Shape((*map(shown, chosen), *(["all others"] if rest else [])), tuple(series), others=rest)


def _total(column: Column) -> int:
    return int(sum(column["values"].values()) + column["other"])
