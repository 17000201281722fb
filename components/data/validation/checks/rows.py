"""Rows that are there twice, that earlier data had, or that are lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from shipway.components.data.database import identifier
from shipway.components.data.tables import require_columns
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import ROW, Data
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = ["described_rows", "duplicate_keys", "duplicate_rows", "repeated_rows", "row_count", "stale_rows"]

_HASHED_AT_ONCE = 200
_COMPARED_ROWS = 200_000
_KEPT_HASHES = 1000
_LARGEST = 2**64 - 1
# Among few rows, two or three are equal by chance.
_FEW = 2
_ERRORS = 4.0


@check("row_count", "fail", needs=["dataset"], per_feature=False)
def row_count(view: View) -> Iterator[Finding]:
    """The Dataset has as many rows as its statistics counted."""
    counted, rows = int(view.context.summary["rows"]), view.data.rows
    if rows != counted:
        description = (
            f"The Dataset has {rows:,} rows, its statistics counted {counted:,}: rows were lost or added since."
        )
        yield view.finding("", "Rows lost or added", description, value=rows, threshold=counted, measure="rows")


@check(
    "duplicate_rows",
    "warn",
    needs=["dataset"],
    parameters={
        # By chance, in narrow tables, a few rows are always equal: 11 of the demo's 327,346.
        "max_share": Parameter(0.01, "share of rows, beyond that of the previous data, that is let pass", 0, 1)
    },
    per_feature=False,
)
def duplicate_rows(view: View) -> Iterator[Finding]:
    """Rows equal to an earlier row in every column."""
    caught = repeated_rows(view.data, [column.sql for column in view.data.columns])
    before = (view.context.previous_distributions or {}).get("relations", {}).get("duplicate_share", 0.0)
    if len(caught) > max(_FEW, view.data.rows * (before + view.settings["max_share"])):
        yield from view.rows_caught("", "Duplicate rows", "repeat an earlier row in every column.", caught)


@check(
    "duplicate_keys",
    "fail",
    needs=["dataset", "key_columns"],
    parameters={"max_share": Parameter(0.0, "share of rows that is let pass", 0, 1)},
    per_feature=False,
)
def duplicate_keys(view: View) -> Iterator[Finding]:
    """Rows whose key columns repeat an earlier row's, or are empty; key columns that are gone."""
    keys = list(view.context.key_columns)
    require_columns(keys, view.known_names, "key_columns")
    lost = [key for key in keys if view.data.column(key) is None]
    for key in lost:
        yield view.finding(key, "No key", f"There is no column {key!r}, so that keys cannot be compared.")
    if lost:
        return
    names = [identifier(key) for key in keys]
    feature = keys[0] if len(keys) == 1 else ""
    missing = view.data.row_numbers(" OR ".join(f"{name} IS NULL" for name in names))
    yield from view.rows_caught(feature, "Key missing", f"have no value in {', '.join(keys)}.", missing)
    caught = np.setdiff1d(repeated_rows(view.data, names), missing)
    if len(caught) > view.data.rows * view.settings["max_share"]:
        yield from view.rows_caught(feature, "Duplicate keys", f"repeat an earlier row's {', '.join(keys)}.", caught)


def repeated_rows(data: Data, columns: list[str]) -> np.ndarray:
    """Returns the numbers of the rows equal to an earlier one in some columns.

    Rows count as equal when 64 bits of a hash are: among 100 million rows a false one is there with a chance of
    1 in 3,700.
    """
    key = _hashed(columns)
    repeated = f"SELECT {key} AS k, min({ROW}) AS first FROM data GROUP BY k HAVING count(*) > 1"  # noqa: S608
    if data.query(f"SELECT count(*) FROM ({repeated})") == [(0,)]:  # noqa: S608
        return np.empty(0, np.int64)
    query = f"SELECT {ROW} FROM data JOIN ({repeated}) ON {key} = k WHERE {ROW} <> first"  # noqa: S608
    return np.sort(data.database.execute(query).fetchnumpy()[ROW].astype(np.int64))


@check(
    "stale_rows",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        "max_share": Parameter(0.05, "share of rows that the previous data had, beyond what is to expect", 0, 1)
    },
    per_feature=False,
)
def stale_rows(view: View) -> Iterator[Finding]:
    """Rows that the previous data had already, as when a batch comes twice.

    Where rows repeat anyway, about as many are to be expected as the previous data had rows that repeat (Good 1953).
    """
    known = (view.context.previous_distributions or {}).get("relations", {}).get("rows")
    if not known or not known["hashes"] or not view.data.rows or not view.data.columns:
        return
    hashes, counts = _counted(view.data, min(known["upto"], _LARGEST // _parts(view.data)))
    rows = int(counts.sum())
    if not rows:
        return
    repeated = np.isin(hashes, np.array(known["hashes"], np.uint64))
    share, expected = float(counts[repeated].sum() / rows), 1 - known["single"]
    noise = _ERRORS * float((expected * (1 - expected) * (counts**2).sum()) ** 0.5 / rows)
    threshold = expected + view.settings["max_share"] + noise
    if share > threshold:
        description = (
            f"About {share:.1%} of the rows were in the previous data already; up to {threshold:.1%} are let pass. "
            "Where each dataset repeats earlier rows on purpose, set stale_rows to off."
        )
        yield view.finding(
            "", "Rows of the previous data", description, value=share, threshold=threshold, measure="share of rows"
        )


def described_rows(data: Data) -> dict[str, Any]:
    """Returns what tells later whether rows repeat: of many rows estimates from a part, chosen by content.

    Returns:
        ``duplicate_share``, of rows equal to an earlier one; and ``rows``: the ``single`` share, of rows that no other
        equals, and the least 1,000 ``hashes`` of the different rows, which are all that there are ``upto`` a number.
    """
    if not data.columns or not data.rows:
        return {"duplicate_share": 0.0}
    hashes, counts = _counted(data, _LARGEST // _parts(data))
    rows = max(1, int(counts.sum()))
    kept = np.sort(hashes)[:_KEPT_HASHES]
    upto = int(kept[-1]) if len(hashes) > _KEPT_HASHES else _LARGEST // _parts(data)
    single = float((counts == 1).sum() / rows)
    return {
        "duplicate_share": 1 - len(counts) / rows if len(counts) else 0.0,
        "rows": {"single": single, "upto": upto, "hashes": kept.tolist()},
    }


def _parts(data: Data) -> int:
    return max(1, data.rows // _COMPARED_ROWS)


def _counted(data: Data, upto: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different hashes of whole rows up to a number, and how many rows have each."""
    key = _hashed([column.sql for column in data.columns])
    query = f"SELECT {key} AS k, count(*) AS n FROM data WHERE k <= {upto}::UBIGINT GROUP BY k"  # noqa: S608
    found = data.database.execute(query).fetchnumpy()
    return found["k"].astype(np.uint64), found["n"].astype(np.int64)


def _hashed(columns: list[str]) -> str:
    parts = [columns[start : start + _HASHED_AT_ONCE] for start in range(0, len(columns), _HASHED_AT_ONCE)]
    return "hash(" + ", ".join(f"hash({', '.join(part)})" for part in parts) + ")"
