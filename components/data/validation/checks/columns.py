"""Columns that say nothing, say the same as another, or miss what they used to say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import ROW, Aggregate, Column
from shipway.components.data.validation.checks.shapes import distance, quantiles, shares
from shipway.components.data.validation.checks.ties import ORDER
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import runs_on
from shipway.components.data.validation.settings import Parameter

__all__ = ["constant_columns", "identical_columns", "lost_categories"]

_FOLLOWS = 0.7
_NUMERIC = ("integer", "float", "boolean")
# Alike whatever the type of the number.
_PRINT = (
    Aggregate(_NUMERIC, f"bit_xor(hash(CAST({{c}} AS DOUBLE), {ROW}))"),
    Aggregate(("text", "time"), f"bit_xor(hash({{c}}, {ROW}))"),
)


@check("constant_columns", "warn")
def constant_columns(view: View) -> Iterator[Finding]:
    """Columns with one value in all rows, unless it was so in the previous data."""
    rows = view.context.distributions.get("rows", 0)
    for name, column in view.now.items():
        if view.settings.of(name).severity == "off" or rows < 2 or not _constant(column) or _expected(view, name):
            continue
        value = _only_value(column)
        varied = "; it varied in the previous data" if name in view.before else ""
        missing = " or is missing" if column.get("missing") else ""
        yield view.finding(name, "Constant column", f"Every value is {value}{missing}{varied}.")


def _expected(view: View, name: str) -> bool:
    """Says whether the column was constant before, counts on, or followed the time, as the number of a month does."""
    before = view.before.get(name)
    if before is None:
        return False
    followed = view.strengths_before.get(name, {})
    return (
        _constant(before)
        or runs_on(before, view.now[name])
        or max(followed.get(ORDER, 0.0), followed.get(view.context.time_column, 0.0)) > _FOLLOWS
    )


def _constant(column: Mapping[str, Any]) -> bool:
    points = quantiles(column)
    if points is not None:
        return bool(points[0] == points[-1]) and not column.get("nan")
    return len(column.get("values") or {}) == 1 and not column.get("other")


def _only_value(column: Mapping[str, Any]) -> str:
    points = quantiles(column)
    return f"{points[0]:.6g}" if points is not None else repr(next(iter(column["values"])))[:80]


@check(
    "identical_columns",
    "warn",
    needs=["dataset"],
    aggregates=_PRINT,
)
def identical_columns(view: View) -> Iterator[Finding]:
    """Columns equal to another in every row, unless both looked alike in the previous data."""
    constant = {name for name, column in view.now.items() if _constant(column)}
    alike: dict[Any, list[Column]] = defaultdict(list)
    for aggregate in _PRINT:
        prints = view.data.of(aggregate)
        for column in view.columns(*aggregate.kinds):
            if column.name not in constant and prints[column.name] is not None:
                alike[prints[column.name]].append(column)
    for first, *others in alike.values():
        for other in others:
            known = distance(view.before.get(first.name), view.before.get(other.name)) == 0
            if not known and view.data.rows > 1 and not _differ(view, first, other):
                description = f"{other.name} equals {first.name} in every row; leave one of them out."
                yield view.finding(other.name, "A copy of another column", description)


def _differ(view: View, first: Column, other: Column) -> bool:
    if (first.kind in _NUMERIC) != (other.kind in _NUMERIC) or (first.kind == "time") != (other.kind == "time"):
        return True
    one, two = (f"CAST({c.sql} AS DOUBLE)" if c.kind in _NUMERIC else c.sql for c in (first, other))
    query = f"SELECT 1 FROM data WHERE {one} IS DISTINCT FROM {two} LIMIT 1"  # noqa: S608
    return bool(view.data.query(query))


@check(
    "lost_categories",
    "warn",
    needs=["previous"],
    parameters={"min_expected": Parameter(50, "rows expected from the previous share, from which it is odd", 1)},
)
def lost_categories(view: View) -> Iterator[Finding]:
    """Categories of the previous data that are gone, where many rows would have been expected."""
    for name, before, after in view.shared("string"):
        values = after.get("values") or {}
        if after.get("other") or not values or name == view.context.label:
            continue
        least = view.settings.of(name)["min_expected"] / sum(values.values())
        lost = {v: share for v, share in shares(before).items() if v not in values and share > least}
        if lost:
            shown = ", ".join(f"{v!r} ({share:.2%})" for v, share in sorted(lost.items(), key=lambda i: -i[1])[:5])
            description = f"No row holds {shown} any more; the previous shares are in brackets."
            yield view.finding(
                name, "Lost categories", description, value=sum(lost.values()), threshold=least, measure="lost share"
            )
