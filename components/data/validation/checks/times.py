"""Times that cannot be, and days without the rows that they should have."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import numpy as np

from shipway.components.data.database import literal
from shipway.components.data.tables import require_columns
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import Aggregate, Column
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = ["future_times", "implausible_times", "time_gaps"]

# DuckDB compares no TIMESTAMP_NS, as pandas writes times, with other times.
_BEFORE_1900 = "{c}::TIMESTAMPTZ < TIMESTAMPTZ '1900-01-01'"
_AT_ZERO = "{c}::TIMESTAMPTZ = TIMESTAMPTZ '1970-01-01'"
_AFTER_2100 = "{c}::TIMESTAMPTZ >= TIMESTAMPTZ '2100-01-01'"
_NEAR_ZERO = "{c}::TIMESTAMPTZ BETWEEN TIMESTAMPTZ '1960-01-01' AND TIMESTAMPTZ '1980-12-31'"
_EARLY, _ZERO, _LATE, _NEAR = (
    Aggregate(("time",), f"count(*) FILTER ({condition})")
    for condition in (_BEFORE_1900, _AT_ZERO, _AFTER_2100, _NEAR_ZERO)
)
_TOO_MANY_DAYS = 100_000


@check(
    "future_times",
    "fail",
    needs=["dataset", "time_column"],
    parameters={"days": Parameter(1.0, "days ahead of now that are let pass: clocks and time zones differ", 0)},
    per_feature=False,
)
def future_times(view: View) -> Iterator[Finding]:
    """Rows of the future: time_column later than now."""
    column = _time_column(view)
    if column is not None:
        limit = view.context.now + datetime.timedelta(days=view.settings["days"])
        rows = view.data.row_numbers(f"{_time(column)} > {_moment(limit)}")
        yield from view.rows_caught(
            column.name, "Times in the future", f"are later than {limit:%Y-%m-%d %H:%M} UTC.", rows
        )


@check("implausible_times", "warn", needs=["dataset"], aggregates=[_EARLY, _ZERO, _LATE, _NEAR])
def implausible_times(view: View) -> Iterator[Finding]:
    """Times before 1900 or after 2100, and 1970-01-01 00:00 among later ones."""
    early, zero, late, near = (view.data.of(each) for each in (_EARLY, _ZERO, _LATE, _NEAR))
    for column in view.columns("time"):
        name = column.name
        lone_zeros = zero[name] if zero[name] == near[name] else 0
        for count, condition, short, words in (
            (early[name], _BEFORE_1900, "Times before 1900", "lie before 1900."),
            (lone_zeros, _AT_ZERO, "Times at zero", "hold 1970-01-01 00:00, where computers' clocks begin."),
            (late[name], _AFTER_2100, "Times after 2100", "lie after 2100."),
        ):
            if count:
                rows = view.data.row_numbers(condition.replace("{c}", column.sql))
                yield from view.rows_caught(name, short, words, rows)


@check(
    "time_gaps",
    "warn",
    needs=["dataset", "time_column"],
    parameters={
        "min_share": Parameter(0.2, "rows of a day as a share of the middle one of its weekday", 0, 1),
        "min_rows": Parameter(20.0, "rows of such a weekday, from which it is judged", 1),
    },
    per_feature=False,
)
def time_gaps(view: View) -> Iterator[Finding]:
    """Days without rows, or with far fewer than on such weekdays."""
    column = _time_column(view)
    days, counts = _daily(view, column) if column else (np.empty(0, "datetime64[D]"), np.empty(0))
    # The first and the last day are seldom whole.
    if column is None or len(days) < 7:
        return
    weekday = (days.astype(np.int64) + 3) % 7
    usual = np.empty(len(days))
    for each in range(7):
        usual[weekday == each] = np.median(counts[weekday == each]) if len(days) >= 28 else np.median(counts)
    share = counts / np.maximum(usual, 1)
    low = (usual >= view.settings["min_rows"]) & (share < view.settings["min_share"])
    low[[0, -1]] = False
    if low.any():
        worst = np.flatnonzero(low)[np.argsort(share[low], kind="stable")][:5]
        shown = ", ".join(f"{days[i]} ({counts[i]:,} for about {usual[i]:,.0f})" for i in worst)
        description = f"{int(low.sum())} of {len(days)} days have far fewer rows than others: {shown}."
        yield view.finding(
            column.name,
            "Days with too few rows",
            description,
            value=float(share[low].min()),
            threshold=view.settings["min_share"],
            measure="share of the usual rows",
        )


def _daily(view: View, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Returns every day from the first to the last, and its rows."""
    day = f"date_diff('day', DATE '1970-01-01', CAST({_time(column)} AS DATE))"
    query = f"SELECT {day} AS d, count(*) FROM data WHERE isfinite({_time(column)}) GROUP BY d ORDER BY d"  # noqa: S608
    found = np.asarray(view.data.query(query), np.int64).reshape(-1, 2)
    if not len(found) or found[-1, 0] - found[0, 0] > _TOO_MANY_DAYS:
        return np.empty(0, "datetime64[D]"), np.empty(0, np.int64)
    days = np.arange(found[0, 0], found[-1, 0] + 1)
    counts = np.zeros(len(days), np.int64)
    counts[found[:, 0] - days[0]] = found[:, 1]
    return days.astype("datetime64[D]"), counts


def _time_column(view: View) -> Column | None:
    """Returns the time column; None when it is gone, or holds neither times nor texts."""
    require_columns([view.context.time_column], view.known_names, "time_column")
    column = view.data.column(view.context.time_column)
    return column if column and column.kind in ("time", "text") else None


def _time(column: Column) -> str:
    cast = "CAST" if column.kind == "time" else "TRY_CAST"
    return f"{cast}({column.sql} AS TIMESTAMPTZ)"


def _moment(moment: datetime.datetime) -> str:
    return f"{literal(moment.astimezone(datetime.UTC).isoformat())}::TIMESTAMPTZ"
