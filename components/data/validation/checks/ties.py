"""How strongly the columns of a sample hang together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shipway.components.data.validation.checks.bins import binned

__all__ = ["LEAST", "ORDER", "ROWS", "both_ways", "strengths"]

ORDER = "(row order)"
_BINS = 8
LEAST = 0.1
_MOST_COLUMNS = 300
ROWS = 20_000
_MOST_IN_A_BIN = 0.9
_AT_ONCE = 8192


def strengths(columns: dict[str, tuple[np.ndarray, bool]]) -> dict[str, dict[str, float]]:
    """Returns the strength of each pair's relation, each pair once, from 0 (independent) to 1.

    It is Cramér's V of eight bins each or, between numbers, Spearman's rank correlation without its sign where that
    is more; from at most about 20,000 rows and of the first 300 columns. Strengths below 0.1 are left out, and so are
    columns with nine tenths of their values in one bin. Every other column is tied to itself by 1. The column
    ``(row order)`` is the row's place.

    Args:
        columns: Values, and whether they are the codes of texts, by name, all of one length.
    """
    names = list(columns)[:_MOST_COLUMNS]
    rows = len(columns[names[0]][0]) if names else 0
    if not rows:
        return {}
    step = -(-rows // ROWS)
    taken = [(values[::step], text) for values, text in (columns[name] for name in names)]
    places = np.arange(len(taken[0][0]))
    taken.append((places, False))
    names.append(ORDER)
    codes = np.stack([binned(values, text=text, bins=_BINS) for values, text in taken])
    ranks = np.stack([np.zeros(len(places)) if text else _ranks(values) for values, text in taken])
    matrix = np.maximum(_cramers_v(codes), np.abs(ranks @ ranks.T)) * np.outer(*[_told(codes)] * 2)
    strong: dict[str, dict[str, float]] = {}
    for i, j in zip(*np.nonzero(np.triu(matrix >= LEAST)), strict=True):
        strong.setdefault(names[i], {})[names[j]] = round(float(matrix[i, j]), 4)
    return strong


def both_ways(pairs: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Returns pairs of which each is there once as pairs that are there in both directions."""
    ties: dict[str, dict[str, float]] = {}
    for one, others in pairs.items():
        for other, strength in others.items():
            ties.setdefault(one, {})[other] = ties.setdefault(other, {})[one] = strength
    return ties


def _cramers_v(codes: np.ndarray) -> np.ndarray:
    """Returns the bias-corrected Cramér's V of every pair of rows of ``codes``, by one product of indicators.

    The places where one of the two is missing do not count: a few that miss together would make them look tied.
    """
    columns, rows = codes.shape
    together = np.zeros((columns * _BINS, columns * _BINS))
    for start in range(0, rows, _AT_ONCE):
        part = codes[:, start : start + _AT_ONCE]
        indicators = (part[:, None, :] == np.arange(_BINS)[None, :, None]).reshape(columns * _BINS, -1)
        together += indicators.astype(np.float32) @ indicators.T.astype(np.float32)
    counts = together.reshape(columns, _BINS, columns, _BINS)
    of_first, of_second = counts.sum(axis=3, keepdims=True), counts.sum(axis=1, keepdims=True)
    total = np.maximum(1, counts.sum(axis=(1, 3)))
    expected = of_first * of_second
    terms = np.divide(counts**2, expected, out=np.zeros_like(counts), where=expected > 0)
    dependence = terms.sum(axis=(1, 3)) - 1
    used = [
        (side > 0).sum(axis=axis).squeeze(axis=squeezed)
        for side, axis, squeezed in ((of_first, 1, 2), (of_second, 3, 1))
    ]
    spare = np.maximum(1, total - 1)
    freedom = (used[0] - 1) * (used[1] - 1) / spare
    smaller = np.minimum(*(bins - (bins - 1) ** 2 / spare for bins in used)) - 1
    ratio = np.divide(np.maximum(0, dependence - freedom), smaller, out=np.zeros_like(dependence), where=smaller > 0)
    strength: np.ndarray = np.sqrt(np.minimum(1, ratio))
    return strength


def _told(codes: np.ndarray) -> np.ndarray:
    """Says of each row of ``codes`` whether its values lie in more than one bin, more or less."""
    sizes = np.stack([np.bincount(each[each < _BINS], minlength=_BINS) for each in codes])
    told: np.ndarray = sizes.max(axis=1) <= _MOST_IN_A_BIN * sizes.sum(axis=1)
    return told


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the values' ranks as a vector of length 1 around 0, that of equal ones in their middle, 0 for missing."""
    ranks, present = np.zeros(len(values)), np.isfinite(values)
    _, codes, counts = np.unique(values[present], return_inverse=True, return_counts=True)
    ranks[present] = (np.cumsum(counts) - counts / 2)[codes.reshape(-1)] - present.sum() / 2
    unit: np.ndarray = ranks / max(1e-300, float(np.linalg.norm(ranks)))
    return unit
