"""How far two distributions lie apart.

Shares ``p`` (before) and ``q`` (after) are those of the same bins; ``n`` and ``m`` are the rows behind them.

- ``l_infinity``: max abs(p - q), from 0 to 1 (Chebyshev distance; TFDV's ``infinity_norm``), over the
  categories that are known one by one.
- ``jensen_shannon``: mean of KL(p, (p+q)/2) and KL(q, (p+q)/2) in bits, from 0 to 1 (Lin 1991; TFDV uses the same
  base). The divergence, not its square root.
- ``kl``: KL(q, p) = sum of q log2(q / p) in bits, from 0, not symmetric (Kullback and Leibler 1951).
- ``psi``: sum of (q - p) ln(q / p), from 0, symmetric (population stability index, Siddiqi 2006; Jeffreys 1946).
- ``ks``: the largest gap between the cumulative shares of numbers, from 0 to 1 (Kolmogorov-Smirnov), missing values
  and NaN counted as larger than any number.

``kl`` and ``psi`` would be infinite where a bin is empty on one side only; half a row is added to every bin
(Krichevsky and Trofimov 1981), so they then grow with the logarithm of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from shipway.components.data.validation.distributions import OTHER, Cumulative, Shares
from shipway.components.data.validation.findings import MOVED_SHOWN, Moved

__all__ = ["MEASURES", "distance", "kolmogorov_smirnov", "moved", "noise"]

MEASURES = ("l_infinity", "jensen_shannon", "kl", "psi", "ks")


def distance(measure: str, shares: Shares, rows_before: int, rows_after: int) -> float:
    """Returns one of the measures but ``ks``, which needs more than shares; 0 when there are no bins."""
    p, q = shares.before, shares.after
    if not len(p):
        return 0.0
    if measure == "l_infinity":
        gaps = [abs(a - b) for name, a, b in zip(shares.bins, p, q, strict=True) if name != OTHER]
        return float(max(gaps, default=0.0))
    if measure == "jensen_shannon":
        middle = (p + q) / 2
        return float(min(1.0, max(0.0, (_kl_bits(p, middle) + _kl_bits(q, middle)) / 2)))
    p, q = ((side * rows + 0.5) / (rows + 0.5 * len(side)) for side, rows in ((p, rows_before), (q, rows_after)))
    if measure == "kl":
        return _kl_bits(q, p)
    return float(((q - p) * np.log(q / p)).sum())


def kolmogorov_smirnov(before: Mapping[str, Any], after: Mapping[str, Any], rows_before: int, rows_after: int) -> float:
    """Returns the two-sample statistic of two columns of numbers with their missing values.

    With exact counts it is exact. From 101 quantiles it is within 0.02 of that of the raw values (0.01 a side), and
    within what the quantiles themselves are off.
    """
    curves = [Cumulative.of(side) for side in (before, after)]
    present = [
        1 - (side["missing"] + side["nan"]) / rows if rows else 0.0
        for side, rows in ((before, rows_before), (after, rows_after))
    ]
    gaps = [abs(present[0] - present[1])]
    points = np.unique(np.concatenate([curve.points for curve in curves if curve] or [np.empty(0)]))
    for inclusive in (True, False):
        heights = [
            share * curve.at(points, inclusive=inclusive) if curve else np.zeros(len(points))
            for curve, share in zip(curves, present, strict=True)
        ]
        gaps.append(float(np.abs(heights[0] - heights[1]).max(initial=0.0)))
    return float(max(gaps))


def moved(shares: Shares) -> tuple[Moved, ...]:
    """Returns the bins whose shares changed most."""
    order = np.argsort(-np.abs(shares.after - shares.before), kind="stable")[:MOVED_SHOWN]
    pairs = ((shares.bins[i], float(shares.before[i]), float(shares.after[i])) for i in order)
    return tuple(Moved(*pair) for pair in pairs if pair[1] != pair[2])


def noise(measure: str, shares: Shares, rows_before: int, rows_after: int, chance: float) -> float:
    """Returns the distance that two samples of one population exceed with at most about ``chance``.

    For ``ks`` after Smirnov's asymptotic bound, for ``l_infinity`` the normal one over all bins, for the others
    from their asymptotic chi-squared laws (for ``psi`` Yurdakul 2018), rows taken as independent.

    Args:
        measure: One of :data:`MEASURES`.
        shares: The bins and what they hold.
        rows_before: How many rows are behind ``shares.before``.
        rows_after: How many are behind ``shares.after``.
        chance: Between 0 and 1.
    """
    if not rows_before or not rows_after:
        return math.inf
    bins = max(2, len(shares.bins))
    scale = 1 / rows_before + 1 / rows_after
    if measure == "ks":
        return math.sqrt(-math.log(chance / 2) / 2 * scale)
    if measure == "l_infinity":
        pooled = (shares.before * rows_before + shares.after * rows_after) / (rows_before + rows_after)
        widest = float((pooled * (1 - pooled)).max(initial=0.0))
        return NormalDist().inv_cdf(1 - chance / (2 * bins)) * math.sqrt(widest * scale)
    per_unit = {"psi": 1.0, "kl": 1 / (2 * math.log(2)), "jensen_shannon": 1 / (8 * math.log(2))}[measure]
    return per_unit * _chi_squared_quantile(1 - chance, bins - 1) * scale


def _kl_bits(p: np.ndarray, q: np.ndarray) -> float:
    held = p > 0
    return float((p[held] * np.log2(p[held] / q[held])).sum())


def _chi_squared_quantile(share: float, freedom: int) -> float:
    """By Wilson and Hilferty (1931): within 4 % in the upper tail from one degree of freedom on."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + NormalDist().inv_cdf(share) * math.sqrt(spread)) ** 3
