"""Columns of the sample cut into a few bins, so that columns of every kind can be related."""

from __future__ import annotations

import numpy as np

__all__ = ["binned", "table_of"]


def binned(values: np.ndarray, *, text: bool, bins: int) -> np.ndarray:
    """Returns each value's bin from 0; numbers by their quantiles, texts by frequency, rare ones together.

    Missing numbers have the last bin, ``bins``; missing texts are a text like any other.
    """
    if text:
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        return np.minimum(rank[codes.reshape(-1)], bins - 1)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(values), bins)
    edges = np.unique(np.quantile(values[finite], np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    # A value equal to an edge belongs below it, so that a frequent lowest value has a bin of its own.
    return np.where(finite, np.searchsorted(edges, values, side="left"), bins)


def table_of(first: np.ndarray, second: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns how often each pair of bins occurs, as ``rows`` by ``columns``."""
    return np.bincount(first * columns + second, minlength=rows * columns).reshape(rows, columns)
