"""Times in another zone than before, and data that does not fill its month or week as the previous did."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = ["hours_of_day", "partial_period", "shifted_hours"]

_HOURS = 24
_DAY = 86_400.0
# How near to the turn of a month or week, in days, is at it: time zones differ.
_NEAR = {"month": 1.5, "week": 0.4}


def hours_of_day(data: Data) -> dict[str, list[int]]:
    """Returns how many times of each column of times lie in each hour of the day, in UTC; not of mere dates."""
    found = {}
    for column in data.columns:
        if column.kind == "time":
            time = f"CAST({column.sql} AS TIMESTAMPTZ)"
            hour = f"CAST(floor(epoch({time}) / 3600) AS BIGINT) % {_HOURS}"
            query = f"SELECT {hour} AS h, count(*) FROM data WHERE isfinite({time}) GROUP BY h"  # noqa: S608
            counts = np.zeros(_HOURS, np.int64)
            for number, count in data.query(query):
                counts[number % _HOURS] += count
            if np.count_nonzero(counts) > 1:
                found[column.name] = counts.tolist()
    return found


@check(
    "shifted_hours",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        # Clocks change by one hour for summer time.
        "min_hours": Parameter(2, "hours by which times must be off to be told", 1, 12),
        "max_ratio": Parameter(
            0.5, "distance from the previous hours when moved back, as a share of it as it is", 0, 1
        ),
    },
)
def shifted_hours(view: View) -> Iterator[Finding]:
    """Times whose hours of the day look as the previous ones moved, as in another time zone."""
    known = (view.context.previous_distributions or {}).get("relations", {}).get("hours", {})
    for name, counts in hours_of_day(view.data).items() if known else ():
        if name not in known or view.settings.of(name).severity == "off":
            continue
        before, now = (np.array(side) / sum(side) for side in (known[name], counts))
        apart = [float(np.abs(np.roll(before, hours) - now).sum()) / 2 for hours in range(_HOURS)]
        hours = int(np.argmin(apart))
        hours -= _HOURS if hours > _HOURS // 2 else 0
        settings = view.settings.of(name)
        noise = (_HOURS / min(sum(counts), sum(known[name]))) ** 0.5
        if abs(hours) >= settings["min_hours"] and min(apart) < settings["max_ratio"] * apart[0] and apart[0] > noise:
            description = f"The hours of the day look as the previous ones {hours:+d} h; is it another time zone?"
            yield view.finding(name, "Times moved by hours", description, value=hours, measure="hours")


@check("partial_period", "warn", needs=["previous", "time_column"], per_feature=False)
def partial_period(view: View) -> Iterator[Finding]:
    """Months or weeks that the data does not fill, where the previous data filled all of its own."""
    name = view.context.time_column
    ends = [_ends(columns.get(name)) for columns in (view.before, view.now)]
    if not all(ends):
        return
    for period, near in _NEAR.items():
        before, now = ([_off(period, end) for end in side] for side in ends)
        if max(before) <= near and min(now) <= near < max(now):
            first, last = (datetime.datetime.fromtimestamp(end, datetime.UTC) for end in ends[1])
            description = (
                f"The times run from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC and fill no whole {period}; "
                "the previous ones did. Are rows missing?"
            )
            yield view.finding(name, f"Part of a {period}", description, value=max(now), threshold=near, measure="days")
            return


def _ends(column: Mapping[str, Any] | None) -> Sequence[float]:
    """Returns the first and the last time in seconds; nothing without times, or with impossible ones."""
    quantiles: Sequence[float] = (column or {}).get("quantiles") or ()
    possible = bool(quantiles) and 0 < quantiles[0] < quantiles[-1] < 253_402_300_800
    return (quantiles[0], quantiles[-1]) if possible else ()


def _off(period: str, seconds: float) -> float:
    """Returns how many days a time lies from the nearest turn of a month or week."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "month":
        start = day.replace(day=1)
        end = (start + datetime.timedelta(days=32)).replace(day=1)
    else:
        start = day - datetime.timedelta(days=day.weekday())
        end = start + datetime.timedelta(days=7)
    return min((moment - start).total_seconds(), (end - moment).total_seconds()) / _DAY
