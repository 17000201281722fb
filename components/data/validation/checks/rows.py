"""Rows that are there twice, and rows that are lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shipway.components.data.database import identifier
from shipway.components.data.tables import require_columns
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import ROW, Data
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = ["duplicate_keys", "duplicate_rows", "repeated_rows", "repeated_share", "row_count"]

_HASHED_AT_ONCE = 200
_COMPARED_ROWS = 200_000


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
    if len(caught) > view.data.rows * (before + view.settings["max_share"]):
        yield from view.rows_caught("", "Duplicate rows", "repeat an earlier row in every column.", caught)


@check(
    "duplicate_keys",
    "fail",
    needs=["dataset", "key_columns"],
    parameters={"max_share": Parameter(0.0, "share of rows that is let pass", 0, 1)},
    per_feature=False,
)
def duplicate_keys(view: View) -> Iterator[Finding]:
    """Rows whose key columns repeat an earlier row's, or are empty."""
    keys = list(view.context.key_columns)
    require_columns(keys, view.data.names, "key_columns")
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


def repeated_share(data: Data) -> float:
    """Returns the share of rows equal to an earlier one in every column, of many rows an estimate."""
    if not data.columns or not data.rows:
        return 0.0
    key, every = _hashed([column.sql for column in data.columns]), max(1, data.rows // _COMPARED_ROWS)
    compared = f"SELECT {key} AS k FROM data WHERE {key} % {every} = 0"  # noqa: S608
    ((rows, distinct),) = data.query(f"SELECT count(*), count(DISTINCT k) FROM ({compared})")  # noqa: S608
    return 1 - distinct / rows if rows else 0.0


def _hashed(columns: list[str]) -> str:
    parts = [columns[start : start + _HASHED_AT_ONCE] for start in range(0, len(columns), _HASHED_AT_ONCE)]
    return "hash(" + ", ".join(f"hash({', '.join(part)})" for part in parts) + ")"
