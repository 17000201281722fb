"""Quarantined rows: one line each, which opens to the whole row and why it was caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import bar_chart, element, join
from shipway.components.data.validation.report.words import counted, shown

__all__ = ["quarantine_section"]

_SHOWN_ROWS, _SHOWN_CELLS = 200, 4000
_LONGEST_CELL = 80
_OWN = ("quarantine_row", "quarantine_rule", "quarantine_column", "quarantine_value")

Json = Mapping[str, Any]


def quarantine_section(quarantine: Json, lines: Sequence[Json], findings: Sequence[Json]) -> Markup:
    """Returns how many rows each rule caught, and samples of them.

    Args:
        quarantine: ``{"rows", "by_rule": {rule: rows}}``, as in ``anomalies.json``.
        lines: Lines of the quarantine: one per row and reason.
        findings: ``anomalies`` of ``anomalies.json``, for the reasons in words.
    """
    by_rule = sorted(quarantine["by_rule"].items(), key=lambda item: (-item[1], item[0]))
    parts = [bar_chart([(shown(rule), rows) for rule, rows in by_rule], title="Rows by the rule that caught them")]
    reasons = {(f["check"], f["feature"]): f["description"] for f in findings}
    rows: dict[Any, list[Json]] = {}
    for line in lines:
        rows.setdefault(line["quarantine_row"], []).append(line)
    chosen = _of_every_rule(rows, _SHOWN_CELLS // max((len(lines[0]) - len(_OWN) if lines else 1), 1))
    if chosen:
        heads = (element("span", head) for head in ("row", "caught by", "column", "value"))
        parts.append(element("div", *heads, class_="sample heads", aria_hidden="true"))
        parts.append(element("div", *(_row(number, rows[number], reasons) for number in chosen), class_="samples"))
    if len(chosen) < quarantine["rows"]:
        note = (
            f"{counted(len(chosen), 'row')} of {quarantine['rows']:,} shown; the quarantine's Parquet files have all."
        )
        parts.append(element("p", note, class_="muted"))
    return join(parts)


def _of_every_rule(rows: Mapping[Any, Sequence[Json]], most: int) -> list[Any]:
    """Returns the numbers of the rows to show, in rising order: every rule in turn gives one."""
    waiting: dict[str, list[Any]] = {}
    for number, lines in rows.items():
        waiting.setdefault(str(lines[0]["quarantine_rule"]), []).append(number)
    longest = max(map(len, waiting.values()), default=0)
    turns = [numbers[turn] for turn in range(longest) for numbers in waiting.values() if turn < len(numbers)]
    return sorted(turns[: max(1, min(most, _SHOWN_ROWS))])


def _row(number: Any, lines: Sequence[Json], reasons: Mapping[tuple[str, str], str]) -> Markup:
    first = lines[0]
    more = f" and {counted(len(lines) - 1, 'more reason')}" if len(lines) > 1 else ""
    summary = element(
        "summary",
        element("span", f"{number:,}", class_="number"),
        element("span", element("code", shown(first["quarantine_rule"])), more),
        element("span", shown(first["quarantine_column"]) if first["quarantine_column"] else "the whole row"),
        element("span", _value(first["quarantine_value"]) if first["quarantine_column"] else "", class_="value"),
        class_="sample",
    )
    caught = {name for line in lines for name in _columns(line)}
    cells = [
        element(
            "div", element("dt", shown(name)), element("dd", _value(value)), class_="caught" if name in caught else None
        )
        for name, value in first.items()
        if name not in _OWN
    ]
    why = [_reason(line, reasons) for line in lines]
    return element("details", summary, element("ul", *why), element("dl", *cells, class_="cells"), class_="sampled")


def _columns(line: Json) -> list[str]:
    """Returns the columns that a reason names: one, or several parted by commas."""
    named = str(line["quarantine_column"] or "")
    return [named] if named in line else [part.strip() for part in named.split(",")]


def _reason(line: Json, reasons: Mapping[tuple[str, str], str]) -> Markup:
    rule, column = str(line["quarantine_rule"]), str(line["quarantine_column"] or "")
    where = [" in ", element("b", shown(column)), ": ", _value(line["quarantine_value"])] if column else []
    said = reasons.get((rule, column))
    return element("li", element("code", shown(rule)), *where, f". {shown(said.strip(), 600)}" if said else None)


def _value(value: Any) -> Markup:
    if value is None:
        return element("span", "missing", class_="muted")
    return element("span", shown(value, _LONGEST_CELL))
