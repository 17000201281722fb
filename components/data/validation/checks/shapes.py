"""What ``distributions.json`` says of one column, as numbers to reckon with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["decimals", "distance", "quantiles", "shares", "usual_values"]

_LEAST_DECIMALS, _MOST_DECIMALS = -6, 9


def quantiles(column: Mapping[str, Any] | None) -> np.ndarray | None:
    """Returns the 101 quantiles of a column of numbers; None when it is another or has no finite value."""
    points = (column or {}).get("quantiles")
    return np.asarray(points, float) if points else None


def usual_values(column: Mapping[str, Any]) -> np.ndarray:
    """Returns the different values among the quantiles from 2 % to 98 %."""
    points = quantiles(column)
    return np.empty(0) if points is None else np.unique(points[2:-2])


def shares(column: Mapping[str, Any] | None) -> dict[str, float]:
    """Returns the share of each listed value among all that are not missing."""
    values = (column or {}).get("values") or {}
    total = sum(values.values()) + ((column or {}).get("other") or 0)
    return {value: count / total for value, count in values.items()} if total else {}


def decimals(values: np.ndarray) -> np.ndarray:
    """Returns how many decimals each number needs, from -6 (a multiple of a million) to 9; large ones have fewer."""
    needed, whole = np.full(len(values), _MOST_DECIMALS), np.full(len(values), True)
    for count in range(_MOST_DECIMALS - 1, _LEAST_DECIMALS - 1, -1):
        scaled = values * 10.0**count
        whole &= np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(1, np.abs(scaled))
        needed[whole] = count
    return needed


def distance(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> float:
    """Returns how far two distributions lie apart: 0 for equal ones, about 1 and more for ones without overlap.

    For numbers the mean distance of their quantiles from 5 % to 95 %, in units of the spread between these; for
    texts half the sum of the shares' differences. Infinite when they cannot be compared.
    """
    first, second = quantiles(one), quantiles(other)
    if first is not None and second is not None:
        first, second = first[5:96], second[5:96]
        spread = max(first[-1] - first[0], second[-1] - second[0], 1e-9 * float(np.abs(first).max()), 1e-300)
        return float(np.mean(np.abs(first - second)) / spread)
    listed, others = shares(one), shares(other)
    if first is not None or second is not None or not listed or not others:
        return float("inf")
    return sum(abs(listed.get(value, 0) - others.get(value, 0)) for value in listed.keys() | others) / 2
