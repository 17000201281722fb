"""What lies on both sides of a split: whole rows, keys, or moments; each makes a test easier than the future."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from shipway.components.common.errors import DataRejected
from shipway.components.data.database import connect, literals

__all__ = ["ON_LEAK", "Leaks", "leaked_keys", "leaked_moments", "leaked_rows", "settle_leaks"]

ON_LEAK = ("fail", "warn")

Array = np.ndarray[Any, Any]
Leaks = dict[str, dict[str, int]]
"""By split, and in it by what leaks, how many; the names are those of the artifacts' metadata."""

_LOG = logging.getLogger(__name__)

_TOLD = {
    "leaked_rows": "{count:,} rows of {split} are exact copies of rows of an earlier split; drop copies in "
    "transform_data's SQL (SELECT DISTINCT), or split by a group_column",
    "leaked_keys": "{count:,} keys of {split} occur in an earlier split too; split by group_column",
    "leaked_moments": "{count:,} rows of {split} are not later than the last row of the splits before; give "
    "split_data the time_column",
}


def leaked_rows(files: Sequence[Path], columns: Sequence[str], parts: dict[str, Array]) -> dict[str, int]:
    """Returns how many rows of each part but the first are equal to a row of an earlier part.

    Missing values are equal to each other, and so are NaNs. Rows are compared by a hash of 64 bits.

    Args:
        files: The Dataset's Parquet files, in order.
        columns: All of its columns.
        parts: By split, in order: the numbers of its rows in the files.
    """
    hashes, _ = _hashes(files, columns)
    return {split: int(np.isin(own, earlier).sum()) for split, own, earlier in _later(hashes, parts)}


def leaked_keys(files: Sequence[Path], columns: Sequence[str], parts: dict[str, Array]) -> dict[str, int]:
    """Returns how many different keys of each part but the first occur in an earlier part.

    Args:
        files: The Dataset's Parquet files, in order.
        columns: Those that together are the key; a key with a missing value is none.
        parts: By split, in order: the numbers of its rows in the files.
    """
    hashes, known = _hashes(files, columns)
    parts = {split: rows[known[rows]] for split, rows in parts.items()}
    return {split: int(np.isin(np.unique(own), earlier).sum()) for split, own, earlier in _later(hashes, parts)}


def leaked_moments(moments: dict[str, Array]) -> dict[str, int]:
    """Returns how many moments of each split but the first are not later than all of the splits before it."""
    counts: dict[str, int] = {}
    latest = None
    for split, own in moments.items():
        if latest is not None:
            counts[split] = int((own <= latest).sum())
        if len(own):
            latest = own.max() if latest is None else max(latest, own.max())
    return counts


def _hashes(files: Sequence[Path], columns: Sequence[str]) -> tuple[Array, Array]:
    """Returns a number per row that is the same for the same values, and which rows have all of them."""
    every = pq.read_schema(files[0]).names
    aliases = [f"c{place}" for place in range(len(every))]  # DuckDB takes names that differ in case for the same
    chosen = [aliases[every.index(name)] for name in columns]
    known = " AND ".join(f"{name} IS NOT NULL" for name in chosen)
    query = (
        f"SELECT hash({', '.join(chosen)}) AS hashed, {known} AS known "  # noqa: S608
        f"FROM read_parquet({literals(files)}, hive_partitioning=false) AS rows({', '.join(aliases)})"
    )
    with connect() as connection:
        found = connection.execute(query).fetchnumpy()
    return np.asarray(found["hashed"]), np.asarray(found["known"])


def _later(hashes: Array, parts: dict[str, Array]) -> list[tuple[str, Array, Array]]:
    """Returns for each part but the first its name, its hashes and those of all parts before it."""
    names = list(parts)
    return [
        (name, hashes[parts[name]], hashes[np.concatenate([parts[earlier] for earlier in names[:place]])])
        for place, name in enumerate(names)
        if place
    ]


def settle_leaks(leaks: Leaks, on_leak: str) -> list[str]:
    """Returns a sentence for each leak, and logs it.

    Raises:
        DataRejected: When ``on_leak`` is ``fail`` and there is one.
    """
    told = [
        _TOLD[kind].format(count=count, split=split)
        for split, counts in leaks.items()
        for kind, count in counts.items()
        if count
    ]
    if told and on_leak == "fail":
        raise DataRejected("; ".join(told))
    for sentence in told:
        _LOG.warning("%s", sentence)
    return told
