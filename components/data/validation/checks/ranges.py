"""Numbers and times that lie where no earlier one lay."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import NUMBERS, Column
from shipway.components.data.validation.checks.shapes import quantiles
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import clock, follow_time, runs_on
from shipway.components.data.validation.settings import Parameter

__all__ = ["far_values"]

_FEW_TIMES = 0.05
_CHANCE = 1e-5


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
        "max_share": Parameter(0.01, "share of rows anywhere outside it that is let pass in data without times", 0, 1),
    },
)
def far_values(view: View) -> Iterator[Finding]:
    """Numbers far outside the range of the previous data, or on the other side of zero where none lay."""
    columns = {column.name: column for column in view.columns(*NUMBERS, "time") if _grew(view, column)}
    seasonal = follow_time(view.context, [name for name, column in columns.items() if column.kind != "time"])
    for name, column in columns.items():
        rows = _far_in_time(view, column) if column.kind == "time" or name in seasonal else _far(view, column)
        before, now = view.before[name]["quantiles"], view.now[name]["quantiles"]
        end = now[0] if before[0] - now[0] > now[-1] - before[-1] else now[-1]
        description = f"lie far outside the previous {before[0]:.6g} to {before[-1]:.6g}; now there is {end:.6g}."
        yield from view.rows_caught(name, "Values far out", description, rows)


def _grew(view: View, column: Column) -> bool:
    """Says whether anything lies outside the previous range, and the column does not just run on."""
    after, before = view.now.get(column.name, {}), view.before.get(column.name, {})
    points, earlier = quantiles(after), quantiles(before)
    if points is None or earlier is None or earlier[-1] == earlier[0]:
        return False
    if column.kind != "time" and runs_on(before, after):
        return False
    return bool(points[0] < earlier[0] or points[-1] > earlier[-1])


def _far_in_time(view: View, column: Column) -> np.ndarray:
    earlier = np.asarray(view.before[column.name]["quantiles"], float)
    slack = view.settings.of(column.name)["time_ranges"] * float(np.ptp(earlier))
    rows = view.data.row_numbers(_outside(column, float(earlier[0]) - slack, float(earlier[-1]) + slack))
    # Later data as a whole lies far after earlier data; a few rows of it do not.
    few = column.kind != "time" or len(rows) <= _FEW_TIMES * view.data.rows
    return rows if few else np.empty(0, np.int64)


def _far(view: View, column: Column) -> np.ndarray:
    """Returns the rows outside the previous range when they are too many for chance, else those that lie far."""
    earlier, settings = np.asarray(view.before[column.name]["quantiles"], float), view.settings.of(column.name)
    rows = view.data.rows
    # That all of k numbers beyond the end are among the later rows has a chance of share ** k.
    share = rows / (rows + (view.context.previous_distributions or {})["rows"])
    many = math.log(_CHANCE) / math.log(share)
    limits = [(settings["ranges"], 0.0)] + ([] if clock(view.context) else [(0.0, settings["max_share"])])
    for ranges, max_share in limits:
        slack = ranges * float(np.ptp(earlier))
        outside = _outside(column, float(earlier[0]) - slack, float(earlier[-1]) + slack)
        # Equal numbers, such as the rain of one hour, count once.
        query = f"SELECT count(*), count(DISTINCT {_number(column)}) FROM data WHERE {outside}"  # noqa: S608
        ((count, different),) = view.data.query(query)
        if different > many and count > max_share * rows:
            return view.data.row_numbers(outside)
    lowest, highest = (_reach(side, settings["ranges"], settings["tails"]) for side in (-earlier[::-1], earlier))
    return view.data.row_numbers(_outside(column, -lowest, highest))


def _reach(points: np.ndarray, ranges: float, tails: float) -> float:
    """Returns how high single numbers may lie after quantiles.

    What lies higher is beyond the range and some, or on zero's other side, and also beyond what the tail may reach: as
    much farther in distance, or in orders of magnitude.
    """
    top, near = float(points[-1]), float(points[90])
    tail = top + tails * (top - near)
    if 0 < near < top:
        tail = max(tail, top * math.exp(min(600.0, tails * math.log(top / near))))
    other_side = math.inf if top > 0 else 0.0 if top == 0 else -1e-300
    return max(tail, min(top + ranges * float(np.ptp(points)), other_side))


def _number(column: Column) -> str:
    return f"CAST({f'epoch({column.sql})' if column.kind == 'time' else column.sql} AS DOUBLE)"


def _outside(column: Column, low: float, high: float) -> str:
    number = _number(column)
    return f"isfinite({number}) AND ({number} < {low!r} OR {number} > {high!r})"
