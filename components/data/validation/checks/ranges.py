"""Numbers and times that lie where no earlier one lay."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import NUMBERS, Column
from shipway.components.data.validation.checks.shapes import quantiles
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import follow_time, runs_on
from shipway.components.data.validation.settings import Parameter

__all__ = ["far_values"]

_FEW_TIMES = 0.05
_CHANCE = 1e-4


@check(
    "far_values",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        "ranges": Parameter(0.5, "how many times the previous range a number may lie outside it", 0),
        # Rain of a month reaches 5.1 times that of the month before.
        "time_ranges": Parameter(5.0, "the same for times and for numbers that follow the time", 0),
        "tails": Parameter(
            2.0, "how many times the way from the 90 % quantile to the end, a few numbers may lie beyond the end", 0
        ),
    },
)
def far_values(view: View) -> Iterator[Finding]:
    """Numbers far outside the range of the previous data, or on the other side of zero where none lay."""
    columns = {column.name: column for column in view.columns(*NUMBERS, "time") if _passes(view, column, "ranges")}
    seasonal = follow_time(view.context, [name for name, column in columns.items() if column.kind != "time"])
    for name, column in columns.items():
        timed = column.kind == "time" or name in seasonal
        if timed and not _passes(view, column, "time_ranges"):
            continue
        number = f"CAST({f'epoch({column.sql})' if column.kind == 'time' else column.sql} AS DOUBLE)"
        rows = _beyond(view, name, number, timed=timed)
        # Later data as a whole lies far after earlier data; a few rows of it do not.
        if column.kind == "time" and len(rows) > _FEW_TIMES * view.data.rows:
            continue
        before, now = view.before[name]["quantiles"], view.now[name]["quantiles"]
        end = now[0] if before[0] - now[0] > now[-1] - before[-1] else now[-1]
        description = f"lie far outside the previous {before[0]:.6g} to {before[-1]:.6g}; now there is {end:.6g}."
        yield from view.rows_caught(name, "Values far out", description, rows)


def _passes(view: View, column: Column, parameter: str) -> bool:
    """Says whether the least or the largest value passes a limit."""
    after, before = view.now.get(column.name, {}), view.before.get(column.name, {})
    points, earlier = quantiles(after), quantiles(before)
    if points is None or earlier is None or earlier[-1] == earlier[0]:
        return False
    if column.kind != "time" and runs_on(before, after):
        return False
    ranges, tails = (view.settings.of(column.name)[each] for each in (parameter, "tails"))
    return any(
        side[-1] > min(_limits(known, ranges, tails))
        for side, known in ((points, earlier), (_turned(points), _turned(earlier)))
    )


def _beyond(view: View, name: str, number: str, *, timed: bool) -> np.ndarray:
    """Returns the rows that lie beyond the previous range, when they are many, or far beyond its tail."""
    earlier = np.asarray(view.before[name]["quantiles"], float)
    ranges, tails = (view.settings.of(name)[each] for each in ("time_ranges" if timed else "ranges", "tails"))
    (high, highest), (low, lowest) = (_limits(side, ranges, tails) for side in (earlier, _turned(earlier)))
    wide = f"isfinite({number}) AND ({number} > {high!r} OR {number} < {-low!r})"
    ((different,),) = view.data.query(f"SELECT count(DISTINCT {number}) FROM data WHERE {wide}")  # noqa: S608
    earlier_rows = (view.context.previous_distributions or {})["rows"]
    # That all of k numbers beyond the end are among the later rows has a chance of share ** k. Equal ones, such as the
    # rain of one hour, count once.
    share = view.data.rows / (view.data.rows + earlier_rows)
    if timed or different > math.log(_CHANCE) / math.log(share):
        return view.data.row_numbers(wide)
    return view.data.row_numbers(f"isfinite({number}) AND ({number} > {highest!r} OR {number} < {-lowest!r})")


def _limits(points: np.ndarray, ranges: float, tails: float) -> tuple[float, float]:
    """Returns how high many numbers may lie, and how high single ones may, after quantiles.

    Single ones must lie beyond the first limit, or on zero's other side, and also beyond the tail's reach: as much
    farther in distance, or in orders of magnitude.
    """
    top, near = float(points[-1]), float(points[90])
    many = top + ranges * float(points[-1] - points[0])
    reach = top + tails * (top - near)
    if 0 < near < top:
        reach = max(reach, top * math.exp(min(600.0, tails * math.log(top / near))))
    other_side = math.inf if top > 0 else 0.0 if top == 0 else -1e-300
    return many, max(reach, min(many, other_side))


def _turned(points: np.ndarray) -> np.ndarray:
    turned: np.ndarray = -points[::-1]
    return turned
