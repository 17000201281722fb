"""What changed in a column against the previous data, beyond the shape of its distribution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import MOVED_SHOWN, Finding, Moved
from shipway.components.data.validation.settings import CheckSettings, CheckSpec, Parameter

__all__ = ["DISTINCT_CHANGE", "MISSING_CHANGE", "NEW_VALUES", "distinct_change", "missing_change", "new_values"]

#: Standard errors of a share that are let pass on top: one sample in 30,000 lies beyond.
_ERRORS = 4.0
_LEAST_DISTINCT = 50

NEW_VALUES = CheckSpec(
    "new_values",
    "fail",
    "Strings are those of the previous data or the schema; a few others beyond what is to expect only warn",
    needs=("previous",),
    parameters={
        # Of the demo's flights up to 0.22 % a month have new destinations.
        "warn_share": Parameter(0.005, "share of values not seen before that is let pass", 0, 1),
        "max_share": Parameter(0.05, "share of values not seen before that only warns, beyond what is to expect", 0, 1),
    },
    per_feature=True,
)
MISSING_CHANGE = CheckSpec(
    "missing_change",
    "fail",
    "About as many values are missing or NaN as in the previous data",
    needs=("previous",),
    parameters={
        "max_change": Parameter(0.05, "change of the share of rows that is let pass at least", 0, 1),
        # In the demo, where 0.1 % is missing it changes by 0.03, where 10 % by 0.09, and where 75 % by 0.26.
        "max_spread": Parameter(0.5, "standard deviations sqrt(p (1 - p)) of the previous share p let pass on top", 0),
    },
    per_feature=True,
)
DISTINCT_CHANGE = CheckSpec(
    "distinct_change",
    "warn",
    "No column has many more distinct values, as when a name became a number of its own in each row",
    needs=("previous",),
    parameters={
        "max_ratio": Parameter(5.0, "times as many distinct numbers as before; more for more rows", 1),
        # The demo's months have up to 1.08 times the strings of those before.
        "max_string_ratio": Parameter(1.5, "the same of strings", 1),
    },
    per_feature=True,
)


def new_values(context: Context, settings: CheckSettings) -> Iterator[Finding]:
    """Yields a finding for every column of strings with too many values that were not there before.

    Some are to be expected: about as many as the previous data had values seen only once (Good 1953), and hardly any
    where it had each value often. Beyond that a few warn, and more than ``max_share`` have the check's severity.
    """
    listed = {domain.name: domain.value for domain in context.schema.string_domain}
    domains = {f.name: [*f.string_domain.value, *listed.get(f.domain, ())] for f in context.schema.feature}
    for name, before, after in _shared(context, settings):
        if not before["values"] or not after["values"] or before["kind"] != "string" or before["other"]:
            continue
        known = before["values"].keys() | set(domains.get(name, ()))
        total = sum(after["values"].values()) + after["other"]
        new = {value: count / total for value, count in after["values"].items() if value not in known}
        share = sum(new.values()) + after["other"] / total * (len(new) / len(after["values"]))
        expected = _unseen(before["values"])
        limit = _raised(settings.of(name)["max_share"] + expected, total)
        few = share <= limit
        if few:
            limit = max(settings.of(name)["warn_share"], expected + _ERRORS * math.sqrt(expected / total))
        if share > limit:
            top = sorted(new, key=lambda value: -new[value])[:MOVED_SHOWN]
            text = f"{share:.2%} of the values were not there before, above {limit:.2%}: {', '.join(map(repr, top))}."
            moved = tuple(Moved(value, 0.0, new[value]) for value in top)
            found = _finding(settings, name, "New values", text, share, limit, "share of values", moved)
            yield dataclasses.replace(found, severity="warn") if few else found


def _unseen(counts: Mapping[str, int]) -> float:
    """Returns the share of later values that may well be none of those counted."""
    once = sum(count == 1 for count in counts.values())
    return (once or 1 / min(counts.values())) / sum(counts.values())


def missing_change(context: Context, settings: CheckSettings) -> Iterator[Finding]:
    """Yields a finding for every column of which a quite different share is missing or NaN."""
    earlier_rows, rows = (context.previous_distributions or {})["rows"], context.distributions["rows"]
    if not earlier_rows or not rows:
        return
    for name, before, after in _shared(context, settings):
        own = settings.of(name)
        earlier, now = ((c["missing"] + c["nan"]) / n for c, n in ((before, earlier_rows), (after, rows)))
        limit = own["max_change"] + own["max_spread"] * math.sqrt(earlier * (1 - earlier))
        limit += _ERRORS * math.sqrt(earlier * (1 - earlier) * (1 / rows + 1 / earlier_rows))
        if abs(now - earlier) > limit:
            text = f"{earlier:.2%} were missing or NaN before, {now:.2%} are now: a change above {limit:.2%}."
            moved = (Moved("(missing)", earlier, now),)
            short = "More values missing" if now > earlier else "Fewer values missing"
            yield _finding(settings, name, short, text, abs(now - earlier), limit, "change of the share", moved)


def distinct_change(context: Context, settings: CheckSettings) -> Iterator[Finding]:
    """Yields a finding for every column whose number of distinct values exploded."""
    earlier_rows, rows = (context.previous_distributions or {})["rows"], context.distributions["rows"]
    for name, before, after in _shared(context, settings):
        if not before["distinct"] or not after["distinct"]:
            continue
        ratio = settings.of(name)["max_string_ratio" if after["kind"] == "string" else "max_ratio"]
        limit = ratio * before["distinct"] * max(1.0, rows / max(1, earlier_rows))
        limit = max(limit, _LEAST_DISTINCT)
        if after["distinct"] > limit:
            text = (
                f"{after['distinct']:,} distinct values after {before['distinct']:,}; up to {limit:,.0f} are let pass."
            )
            yield _finding(settings, name, "Many distinct values", text, after["distinct"], limit, "distinct values")


def _shared(context: Context, settings: CheckSettings) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yields the columns of one kind on both sides that the check is not off for."""
    before = (context.previous_distributions or {})["columns"]
    for name, after in context.distributions["columns"].items():
        same = name in before and before[name]["kind"] == after["kind"]
        if same and name != context.time_column and settings.of(name).severity != "off":
            yield name, before[name], after


def _raised(share: float, values: int) -> float:
    """Returns a share with what a sample of so many values may show above it by chance."""
    return share + _ERRORS * math.sqrt(max(0.0, share * (1 - share)) / values)


def _finding(
    settings: CheckSettings,
    name: str,
    short: str,
    text: str,
    value: float,
    limit: float,
    measure: str,
    moved: tuple[Moved, ...] = (),
) -> Finding:
    return Finding(settings.name, settings.of(name).severity, name, short, text, value, limit, measure, moved)
