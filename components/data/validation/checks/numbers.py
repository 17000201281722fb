"""Numbers that are none, stand for missing ones, or lie where no earlier one lay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import NUMBERS, Aggregate
from shipway.components.data.validation.checks.shapes import decimals, quantiles, usual_values
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = ["far_values", "lost_precision", "not_finite", "sentinels", "value_spikes"]

_NINES = [sign * (10**digits - 1) for digits in range(1, 10) for sign in (1, -1)]
_LIMITS = [-(2**15), 2**15 - 1, 2**16 - 1, -(2**31), 2**31 - 1, 2**32 - 1]
_SENTINELS = frozenset(map(float, [*_NINES, *_LIMITS, -1e30, 1e30, -1e20, 1e20]))
_FEW_TIMES = 0.05
_NOT_FINITE = Aggregate(("float",), "count(*) FILTER (NOT isfinite(CAST({c} AS DOUBLE)))")


@check(
    "not_finite",
    "fail",
    needs=["dataset"],
    parameters={"max_share": Parameter(0.0, "share of rows that is let pass", 0, 1)},
    aggregates=[_NOT_FINITE],
)
def not_finite(view: View) -> Iterator[Finding]:
    """NaN and infinity in columns of numbers."""
    counts = view.data.of(_NOT_FINITE)
    for column in view.columns("float"):
        if counts[column.name] > view.settings.of(column.name)["max_share"] * view.data.rows:
            rows = view.data.row_numbers(f"NOT isfinite(CAST({column.sql} AS DOUBLE))")
            yield from view.rows_caught(column.name, "NaN or infinity", "hold NaN or infinity.", rows)


@check(
    "sentinels",
    "warn",
    needs=["dataset"],
    parameters={"min_rows": Parameter(2, "rows with the number, from which it is odd", 1)},
)
def sentinels(view: View) -> Iterator[Finding]:
    """A number such as -999 far from all others, where a missing value may be meant."""
    for column in view.columns(*NUMBERS):
        points = quantiles(view.now.get(column.name))
        before = quantiles(view.before.get(column.name))
        known = () if before is None else (before[0], before[-1])
        for value in () if points is None else (float(points[0]), float(points[-1])):
            if value in _SENTINELS and value not in known and _stands_alone(view, column.sql, value):
                rows = view.data.row_numbers(f"{column.sql} = {value!r}")
                if len(rows) >= view.settings.of(column.name)["min_rows"]:
                    description = f"hold {value:.15g}, far from all others; a missing value may be meant."
                    yield from view.rows_caught(column.name, "A number for missing values", description, rows)


def _stands_alone(view: View, column: str, value: float) -> bool:
    others = f"{column} <> {value!r} AND isfinite(CAST({column} AS DOUBLE))"
    others += "".join(f" AND {column} <> {other!r}" for other in sorted(_SENTINELS) if abs(other) >= 99)
    ((low, high),) = view.data.query(f"SELECT min({column}), max({column}) FROM data WHERE {others}")  # noqa: S608
    if low is None:
        return False
    low, high = float(low), float(high)
    return max(low - value, value - high) > max(high - low, 1.0)


@check(
    "far_values",
    "warn",
    needs=["dataset", "previous"],
    parameters={"ranges": Parameter(5.0, "how many times the previous range a value may lie outside it", 0)},
)
def far_values(view: View) -> Iterator[Finding]:
    """Numbers many times farther out than any of the previous data."""
    for column in view.columns(*NUMBERS, "time"):
        points, before = quantiles(view.now.get(column.name)), quantiles(view.before.get(column.name))
        if points is None or before is None or before[-1] == before[0]:
            continue
        slack = view.settings.of(column.name)["ranges"] * (before[-1] - before[0])
        low, high = float(before[0] - slack), float(before[-1] + slack)
        if points[0] < low or points[-1] > high:
            number = f"CAST({f'epoch({column.sql})' if column.kind == 'time' else column.sql} AS DOUBLE)"
            rows = view.data.row_numbers(f"isfinite({number}) AND ({number} < {low!r} OR {number} > {high!r})")
            # Later data as a whole lies far after earlier data; a few rows of it do not.
            if column.kind == "time" and len(rows) > _FEW_TIMES * view.data.rows:
                continue
            description = (
                f"lie far outside the previous {before[0]:.6g} to {before[-1]:.6g}; "
                f"now there is {points[0] if points[0] < low else points[-1]:.6g}."
            )
            yield from view.rows_caught(column.name, "Values far out", description, rows)


@check(
    "value_spikes",
    "warn",
    needs=["previous"],
    parameters={"min_gain": Parameter(0.05, "how much the number's share of the values grew", 0.02, 1)},
)
def value_spikes(view: View) -> Iterator[Finding]:
    """One number that many rows hold now, and few did in the previous data."""
    for name, before, after in view.shared("number"):
        earlier, points = quantiles(before), quantiles(after)
        # Where numbers repeat anyway, as months do, other days hold other ones.
        if earlier is None or points is None or len(np.unique(earlier)) < 50:
            continue
        values, counts = np.unique(points, return_counts=True)
        most = counts.max()
        value, share = float(values[counts.argmax()]), (int(most) - 1) / 100
        gain = share - float(np.mean(earlier == value))
        threshold = view.settings.of(name)["min_gain"]
        # A month has its own frequent temperatures, but several of them.
        if gain > threshold and share > 3 * (share - gain) and most > 2 * np.sort(counts)[-2]:
            description = (
                f"About {share:.0%} of the values are {value:.6g}; in the previous data about {share - gain:.0%} were."
            )
            yield view.finding(
                name, "One value in many rows", description, value=gain, threshold=threshold, measure="share gained"
            )


@check(
    "lost_precision",
    "warn",
    needs=["previous"],
    parameters={"min_share": Parameter(0.5, "share of the previous numbers that had the decimals", 0.05, 1)},
)
def lost_precision(view: View) -> Iterator[Finding]:
    """Numbers with fewer decimals than in the previous data."""
    for name, before, after in view.shared("number"):
        earlier, points = usual_values(before), usual_values(after)
        if len(earlier) < 10 or len(points) < 2:
            continue
        had, have = _decimals_of_most(earlier, view.settings.of(name)["min_share"]), int(decimals(points).max())
        if have < had:
            description = f"No number has more than {have} decimals; in the previous data most had {had}."
            yield view.finding(name, "Fewer decimals", description, value=have, threshold=had, measure="decimals")


def _decimals_of_most(points: np.ndarray, share: float) -> int:
    ordered: Any = np.sort(decimals(points))[::-1]
    return int(ordered[int(np.ceil(share * len(ordered))) - 1])
