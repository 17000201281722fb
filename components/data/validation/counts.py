"""How many rows there are, now and before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import CheckSettings, CheckSpec, Parameter

__all__ = ["NUM_EXAMPLES", "ROW_COUNT_CHANGE", "num_examples", "row_count_change"]

_LEAST_SPAN = 1 / 20
_COMPARATORS = ("num_examples_drift_comparator", "num_examples_version_comparator")

NUM_EXAMPLES = CheckSpec(
    "num_examples",
    "fail",
    "There are as many rows as asked for, here and in the schema's dataset_constraints",
    parameters={
        "min_rows": Parameter(1, "rows that there must be", 0),
        "max_rows": Parameter(None, "rows that there may be; any number when not set", 0, kind=int),
    },
)
ROW_COUNT_CHANGE = CheckSpec(
    "row_count_change",
    "warn",
    "About as many rows as before: in as much time, where time_column holds times",
    needs=("previous",),
    parameters={
        # The demo's months have 0.92 to 1.08 times the flights per day of those before.
        "max_rate_ratio": Parameter(1.5, "times as many, or as few, rows per time as before", 1),
        # The previous data may well be all that there was, so that without times a ratio says little.
        "max_ratio": Parameter(100.0, "times as many, or as few, rows as before", 1),
    },
)


def num_examples(context: Context, settings: CheckSettings) -> Iterator[Finding]:
    """Yields findings about the number of rows; the schema's bounds on a fraction of earlier rows need those."""
    rows, constraints = context.distributions["rows"], context.schema.dataset_constraints
    least = max(settings["min_rows"], constraints.min_examples_count)
    given = (settings["max_rows"], constraints.max_examples_count or None)
    most = min((bound for bound in given if bound is not None), default=math.inf)
    if rows < least:
        text = f"The dataset has {rows:,} rows; there must be at least {least:,}."
        yield _finding(settings, "Too few rows" if rows else "No rows", text, rows, least, "rows")
    if rows > most:
        text = f"The dataset has {rows:,} rows; there may be at most {most:,}."
        yield _finding(settings, "Too many rows", text, rows, most, "rows")
    if earlier := (context.previous_distributions or {}).get("rows"):
        yield from _fractions(constraints, settings, rows, earlier)


def row_count_change(context: Context, settings: CheckSettings) -> Iterator[Finding]:
    """Yields a finding where there are many more or many fewer rows than before, or than before in as much time."""
    after, before = context.distributions, context.previous_distributions or {}
    if not after["rows"] or not before.get("rows"):
        return
    ratio = after["rows"] / before["rows"]
    limit, measure = settings["max_ratio"], "times the rows"
    earlier, now = (_span(side["columns"].get(context.time_column)) for side in (before, after))
    if earlier and now and now >= earlier * _LEAST_SPAN:
        ratio *= earlier / now
        limit, measure = settings["max_rate_ratio"], "times the rows per time"
    if max(ratio, 1 / ratio) > limit:
        text = f"{after['rows']:,} rows after {before['rows']:,}: {ratio:.3g} {measure}, beyond a factor of {limit:g}."
        yield _finding(settings, "Number of rows changed", text, ratio, limit, measure)


def _fractions(constraints: Any, settings: CheckSettings, rows: int, earlier: int) -> Iterator[Finding]:
    fraction = rows / earlier
    for name in _COMPARATORS:
        comparator = getattr(constraints, name)
        least, most = comparator.min_fraction_threshold, comparator.max_fraction_threshold
        low = comparator.HasField("min_fraction_threshold") and fraction < least
        if low or (comparator.HasField("max_fraction_threshold") and fraction > most):
            bound = f"at least {least:g}" if low else f"at most {most:g}"
            text = f"{rows:,} rows are {fraction:.4g} of the previous {earlier:,}; the schema's {name} wants {bound}."
            yield _finding(
                settings, "Number of rows changed", text, fraction, least if low else most, "fraction of rows"
            )


def _finding(settings: CheckSettings, short: str, text: str, value: float, threshold: float, measure: str) -> Finding:
    return Finding(settings.name, settings.severity, "", short, text, value, threshold, measure)


def _span(column: Mapping[str, Any] | None) -> float:
    """Returns how long a column of times is, from the quantiles, so that a few wild times do not matter."""
    if column is None or not column["quantiles"]:
        return 0.0
    quantiles = column["quantiles"]
    return float(quantiles[-2] - quantiles[1])
