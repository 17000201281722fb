"""Columns in another unit than before, and columns under each other's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.shapes import distance, quantiles
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import follow_time, runs_on
from shipway.components.data.validation.settings import Parameter

__all__ = ["swapped_columns", "unit_change"]

_FACTORS = {
    1.609344: "miles to kilometres",
    1.852: "knots to kilometres per hour",
    3.28084: "metres to feet",
    2.54: "inches to centimetres",
    25.4: "inches to millimetres",
    2.2046226: "kilograms to pounds",
    3.6: "metres per second to kilometres per hour",
    2.2369363: "metres per second to miles per hour",
    33.863886: "inches of mercury to hectopascals",
    28.349523: "ounces to grams",
    3.7854118: "gallons to litres",
    4.184: "calories to joules",
    7.0: "weeks to days",
    12.0: "years to months",
    24.0: "days to hours",
    60.0: "a unit of time to one sixtieth",
    1440.0: "days to minutes",
    3600.0: "hours to seconds",
    86400.0: "days to seconds",
    1024.0: "a unit of memory to the next smaller",
    1048576.0: "a unit of memory to the second smaller",
    57.29577951: "radians to degrees",
    **{10.0**power: f"a factor of {10**power:,}" for power in (1, 2, 3, 4, 6, 9)},
}
_MAPS = [
    *((factor, 0.0, words) for factor, words in _FACTORS.items()),
    *((1 / factor, 0.0, f"{words}, backwards") for factor, words in _FACTORS.items()),
    (-1.0, 0.0, "the sign turned round"),
    (1.8, 32.0, "degrees Celsius to Fahrenheit"),
    (1 / 1.8, -32 / 1.8, "degrees Fahrenheit to Celsius"),
    (1.0, 273.15, "degrees Celsius to kelvin"),
    (1.0, -273.15, "kelvin to degrees Celsius"),
]

# Miles for kilometres move the distances of flights by 0.16. Months move dew points by up to 1.6.
_MOVED = 0.1
_MOVED_IN_TIME = 1.7


@check(
    "unit_change",
    "fail",
    needs=["previous"],
    parameters={
        "max_distance": Parameter(0.05, "distance of the converted previous distribution from the present one", 0, 1)
    },
)
def unit_change(view: View) -> Iterator[Finding]:
    """Columns of numbers in another unit than in the previous data: a factor, or degrees."""
    found = {}
    for name, before, after in view.shared("number"):
        earlier, points = quantiles(before), quantiles(after)
        if earlier is None or points is None:
            continue
        apart, conversion = _closest(earlier[5:96], points[5:96])
        moved = _apart(earlier[5:96], points[5:96])
        close = apart < view.settings.of(name)["max_distance"] and moved > max(_MOVED, 4 * apart)
        far_off = moved > max(_MOVED_IN_TIME, 4 * apart) and not runs_on(before, after)
        if close or far_off:
            found[name] = (apart, moved, conversion, earlier[50], points[50])
    # Of a whole year's temperatures 0.62 times are those of a December.
    seasonal = follow_time(view.context, list(found))
    for name, (apart, moved, (factor, offset, words), was, now) in found.items():
        if name in seasonal and moved < _MOVED_IN_TIME:
            continue
        formula = f"{factor:.6g} times the previous" + (f" {offset:+.6g}" if offset else "")
        description = f"The values look like {formula} ({words}): the median was {was:.6g} and is {now:.6g}."
        threshold = view.settings.of(name)["max_distance"]
        yield view.finding(
            name, "Another unit", description, value=apart, threshold=threshold, measure="distance when converted"
        )


def _closest(earlier: np.ndarray, points: np.ndarray) -> tuple[float, tuple[float, float, str]]:
    """Returns the conversion that brings the previous quantiles closest to the present ones, and how close."""
    # A few whole numbers, such as months, are multiples of others by chance.
    if min(len(np.unique(side[side != 0])) for side in (earlier, points)) < 8:
        return float("inf"), _MAPS[0]
    return min(
        (
            (_apart(np.sort(factor * earlier + offset), points), (factor, offset, words))
            for factor, offset, words in _MAPS
        ),
        key=lambda found: found[0],
    )


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the mean distance of two columns' quantiles in units of the second's spread and height."""
    middle = 0.25 * float(np.median(np.abs(other)))
    return float(np.mean(np.abs(one - other)) / max(other[-1] - other[0], middle, 1e-300))


@check(
    "swapped_columns",
    "fail",
    needs=["previous"],
    parameters={
        "min_distance": Parameter(0.3, "distance of a column from its own previous distribution", 0.05),
        "max_ratio": Parameter(0.25, "distance from the other's previous distribution, as a share of that", 0, 1),
    },
)
def swapped_columns(view: View) -> Iterator[Finding]:
    """Columns under each other's names: each looks as another one did in the previous data."""
    moved: dict[str, tuple[Mapping[str, Any], float]] = {}
    for kind in ("number", "string"):
        for name, before, after in view.shared(kind):
            apart = distance(before, after)
            if view.settings.of(name)["min_distance"] < apart < float("inf"):
                moved[name] = (after, apart)
    looks = {name: _looks_like(view, name, *moved[name], list(moved)) for name in moved}
    for cycle in _cycles(looks):
        description = ", ".join(f"{name} looks as {looks[name]} did" for name in cycle)
        for name in cycle:
            yield view.finding(
                name, "Swapped columns", f"{description}.", value=moved[name][1], measure="distance from before"
            )


def _looks_like(view: View, name: str, after: Mapping[str, Any], apart: float, others: list[str]) -> str:
    """Returns the column whose previous distribution is closest, when it is much closer than the column's own."""
    found = min(((distance(view.before[other], after), other) for other in others if other != name), default=None)
    return found[1] if found and found[0] < view.settings.of(name)["max_ratio"] * apart else ""


def _cycles(looks: Mapping[str, str]) -> Iterator[list[str]]:
    """Yields the closed chains in which each name leads to the next."""
    seen: set[str] = set()
    for start in looks:
        chain = [start]
        while (following := looks.get(chain[-1], "")) and following not in chain:
            chain.append(following)
        if following == start and start not in seen:
            seen.update(chain)
            yield chain
