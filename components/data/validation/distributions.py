"""Two columns of ``distributions.json`` side by side: their shares by category or bin, and their cumulative shares.

A column's missing values and NaN are bins of their own everywhere, so that shares sum to 1. Infinite values are not
in the quantiles; they count as if they were spread over the finite ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import InputError

__all__ = ["OTHER", "Cumulative", "Shares", "binned_shares", "category_shares", "read_distributions"]

MISSING, NAN, OTHER = "(missing)", "(NaN)", "(other values)"
_BINS = 10
_POINT_SHARE = 0.05
_MUCH = 10


def read_distributions(statistics: str | Path) -> dict[str, Any]:
    """Returns what a Statistics artifact holds in ``distributions.json``.

    Raises:
        InputError: When it holds none.
    """
    file = Path(statistics) / "distributions.json"
    if not file.exists():
        raise InputError(f"{file} does not exist; let generate_statistics describe the data again")
    distributions: dict[str, Any] = read_json(file)
    return distributions


@dataclasses.dataclass(frozen=True)
class Shares:
    """The same bins on both sides; each side's shares sum to 1, or are all 0 where that side has no rows."""

    bins: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray


@dataclasses.dataclass(frozen=True)
class Cumulative:
    """The share of a column's finite values at or below, and below, any number.

    From exact counts it is exact. From 101 quantiles it is within 0.01 of the truth: exact at the quantiles, straight
    lines between them, and a step where neighbouring quantiles are equal.

    Attributes:
        points: Where it is known, ascending.
        below: The share of values below each point.
        upto: The share at or below each.
        stepped: Whether it is flat between points rather than straight.
    """

    points: np.ndarray
    below: np.ndarray
    upto: np.ndarray
    stepped: bool

    @classmethod
    def of(cls, column: Mapping[str, Any]) -> Cumulative | None:
        """Returns that of a column of numbers; None when it has no finite value."""
        if column["values"] and not column["other"]:
            points = np.array([float(text) for text in column["values"]])
            order = np.argsort(points)
            counts = np.array(list(column["values"].values()), float)[order]
            upto = np.cumsum(counts) / counts.sum()
            return cls(points[order], np.append(0, upto[:-1]), upto, stepped=True)
        if not column["quantiles"]:
            return None
        quantiles = np.array(column["quantiles"], float)
        points, first = np.unique(quantiles, return_index=True)
        last = np.append(first[1:] - 1, len(quantiles) - 1)
        steps = len(quantiles) - 1
        return cls(points, first / steps, last / steps, stepped=False)

    def at(self, numbers: np.ndarray, *, inclusive: bool) -> np.ndarray:
        """Returns the share at or below each number, or below it."""
        index = np.searchsorted(self.points, numbers, side="right") - 1
        inside = np.clip(index, 0, len(self.points) - 1)
        following = np.clip(inside + 1, 0, len(self.points) - 1)
        share = self.upto[inside]
        if not self.stepped:
            gap = self.points[following] - self.points[inside]
            way = np.divide(numbers - self.points[inside], gap, out=np.zeros_like(share), where=gap > 0)
            share = share + np.clip(way, 0, 1) * (self.below[following] - self.upto[inside])
        hit = (index >= 0) & (self.points[inside] == numbers)
        exact = share if inclusive else np.where(hit, self.below[inside], share)
        return np.where(index < 0, 0.0, exact)

    def quantile(self, share: float) -> float:
        """Returns the least known or straight-line number that has at least ``share`` of the values at or below it."""
        index = int(np.searchsorted(self.upto, share - 1e-12))
        if self.stepped or index == 0 or share > self.below[index]:
            return float(self.points[index])
        low, high = self.upto[index - 1], self.below[index]
        way = (share - low) / (high - low)
        return float(self.points[index - 1] + way * (self.points[index] - self.points[index - 1]))


def category_shares(before: Mapping[str, Any], after: Mapping[str, Any], rows_before: int, rows_after: int) -> Shares:
    """Returns shares by category.

    A category that one side lists may be among the other's values beyond those listed, if it is not much more frequent
    than the rarest listed there: it then joins ``(other values)`` on both sides. Else it counts as absent, which is
    within that rarest share of the truth, so within 0.001 where 1,000 are listed.
    """
    sides = (before, after)
    listed = [side["values"] or {} for side in sides]
    totals = [max(1, sum(values.values()) + side["other"]) for values, side in zip(listed, sides, strict=True)]
    rarest = [
        min(values.values(), default=0) / total if side["other"] else 0.0
        for values, side, total in zip(listed, sides, totals, strict=True)
    ]

    def comparable(name: str) -> bool:
        present = [name in values for values in listed]
        if all(present):
            return True
        here, there = (0, 1) if present[0] else (1, 0)
        return bool(listed[here][name] / totals[here] > _MUCH * rarest[there])

    names = [name for name in dict.fromkeys([*listed[0], *listed[1]]) if comparable(name)]
    shares = []
    for values, side, rows in zip(listed, sides, (rows_before, rows_after), strict=True):
        kept = [values.get(name, 0) for name in names]
        rest = sum(values.values()) + side["other"] - sum(kept)
        shares.append(_with_missing(np.array([*kept, rest], float), side, rows))
    return _trimmed([*names, OTHER, MISSING, NAN], *shares)


def binned_shares(before: Mapping[str, Any], after: Mapping[str, Any], rows_before: int, rows_after: int) -> Shares:
    """Returns shares of numbers in the deciles of ``before``; a value that holds 5 % of it is a bin of its own."""
    cumulative = [Cumulative.of(side) for side in (before, after)]
    reference = cumulative[0] or cumulative[1]
    cuts = _cuts(reference) if reference else []
    shares = []
    for side, curve, rows in zip((before, after), cumulative, (rows_before, rows_after), strict=True):
        counts = np.zeros(len(cuts) + 1)
        if curve:
            at = [curve.at(np.array([value]), inclusive=inclusive)[0] for value, inclusive in cuts]
            counts = np.clip(np.diff([0.0, *at, 1.0]), 0, None)
        shares.append(_with_missing(counts, side, rows))
    return _trimmed([*_labels(cuts), MISSING, NAN], *shares)


def _cuts(reference: Cumulative) -> list[tuple[float, bool]]:
    """Where bins end: at numbers, with the number itself in the lower bin (True) or the upper one."""
    cuts: set[tuple[float, bool]] = set()
    for tenth in range(1, _BINS):
        value = reference.quantile(tenth / _BINS)
        cuts.add((value, True))
    masses = reference.upto - reference.below
    for value in reference.points[masses >= _POINT_SHARE]:
        cuts |= {(float(value), False), (float(value), True)}
    return sorted(cuts)


def _labels(cuts: Sequence[tuple[float, bool]]) -> list[str]:
    if not cuts:
        return ["all numbers"]
    first, last = cuts[0], cuts[-1]
    labels = [f"{'up to' if first[1] else 'below'} {first[0]:.6g}"]
    for (low, _), (high, included) in itertools.pairwise(cuts):
        between = f"{low:.6g} to {high:.6g}" if included else f"between {low:.6g} and {high:.6g}"
        labels.append(f"{low:.6g}" if low == high else between)
    return [*labels, f"above {last[0]:.6g}"]


def _with_missing(counts: np.ndarray, side: Mapping[str, Any], rows: int) -> np.ndarray:
    """Returns shares of the rows; the counts share what missing values and NaN leave."""
    if not rows:
        return np.zeros(len(counts) + 2)
    missing, nan = side["missing"] / rows, side["nan"] / rows
    total = counts.sum()
    present = counts / total * (1 - missing - nan) if total else counts
    return np.array([*present, missing, nan])


def _trimmed(bins: list[str], before: np.ndarray, after: np.ndarray) -> Shares:
    held = (before > 0) | (after > 0)
    return Shares(tuple(name for name, keep in zip(bins, held, strict=True) if keep), before[held], after[held])
