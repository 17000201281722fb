"""Numbers that are none, stand for missing ones, repeat, or are rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import NUMBERS, Aggregate
from shipway.components.data.validation.checks.shapes import decimals, quantiles, usual_values
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import follow_time
from shipway.components.data.validation.settings import Parameter

__all__ = ["lost_precision", "more_zeros", "not_finite", "sentinels", "value_spikes"]

_NINES = [sign * (10**digits - 1) for digits in range(1, 10) for sign in (1, -1)]
_LIMITS = [-(2**15), 2**15 - 1, 2**16 - 1, -(2**31), 2**31 - 1, 2**32 - 1]
_SENTINELS = frozenset(map(float, [*_NINES, *_LIMITS, -1e30, 1e30, -1e20, 1e20]))
_CHANCE = 1e-3
_ERRORS = 4.0
_SPIKE_ERRORS = 3.0
# Where n numbers had no zero, up to 3 / n may be zero all the same (Hanley and Lippman-Hand 1983).
_FEWEST_ZEROS = 3
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
    "more_zeros",
    "warn",
    needs=["previous"],
    parameters={
        "max_gain": Parameter(0.02, "gain of the zeros' share of the numbers that is let pass at least", 0, 1),
        "max_spread": Parameter(0.2, "standard deviations sqrt(p (1 - p)) of the previous share p let pass on top", 0),
    },
)
def more_zeros(view: View) -> Iterator[Finding]:
    """Many more zeros than in the previous data, where missing values may be meant."""
    sides = _zeros(view.context.previous_summary), _zeros(view.context.summary)
    found = {}
    for name in view.now:
        (zeros_before, numbers_before), (zeros, numbers) = (side.get(name, (0, 0)) for side in sides)
        settings = view.settings.of(name)
        if not numbers or not numbers_before or name == view.context.label or settings.severity == "off":
            continue
        was, share = zeros_before / numbers_before, zeros / numbers
        variance = was * (1 - was)
        threshold = settings["max_gain"] + settings["max_spread"] * variance**0.5
        threshold += _ERRORS * (variance * (1 / numbers + 1 / numbers_before)) ** 0.5
        if share - was > max(threshold, _FEWEST_ZEROS / numbers_before):
            found[name] = (was, share, threshold)
    for name in found.keys() - follow_time(view.context, list(found)):
        was, share, threshold = found[name]
        description = f"{share:.2%} of the numbers are 0 after {was:.2%}; a missing value may be meant."
        yield view.finding(
            name, "More zeros", description, value=share - was, threshold=threshold, measure="share gained"
        )


def _zeros(summary: Mapping[str, Any] | None) -> dict[str, tuple[int, int]]:
    """Returns how many zeros each column of numbers has, and how many numbers; lists hold more than there are rows."""
    rows = (summary or {}).get("rows", 0)
    return {
        column["name"]: (
            column["zeros"],
            max(rows - column["missing"], sum(bucket["count"] for bucket in column["histogram"])),
        )
        for column in (summary or {}).get("columns", ())
        if column["zeros"] is not None
    }


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
        if len(values) < 2:
            continue
        most = counts.max()
        value, share = float(values[counts.argmax()]), (int(most) - 1) / 100
        gain = share - float(np.mean(earlier == value))
        # Of a few rows some share a number by chance.
        chance = _SPIKE_ERRORS * (share * (1 - share) / view.context.distributions["rows"]) ** 0.5
        threshold = max(view.settings.of(name)["min_gain"], chance)
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
    parameters={"min_share": Parameter(0.5, "share of the previous numbers that had the digits", 0.05, 1)},
)
def lost_precision(view: View) -> Iterator[Finding]:
    """Numbers rounded to fewer digits than in the previous data."""
    for name, before, after in view.shared("number"):
        earlier, points = decimals(usual_values(before)), usual_values(after)
        if len(earlier) < 10 or len(points) < 2:
            continue
        had = int(np.sort(earlier)[-int(np.ceil(view.settings.of(name)["min_share"] * len(earlier)))])
        have = int(decimals(points).max())
        # Whether so many different numbers can be that round by chance.
        if have < had and float(np.mean(earlier <= have)) ** len(points) < _CHANCE:
            description = f"Every number is a multiple of {10.0**-have:g}; most of the previous ones were not."
            yield view.finding(name, "Fewer digits", description, value=have, threshold=had, measure="decimals")
