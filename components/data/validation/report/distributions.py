"""The columns side by side: one line each, which opens to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import (
    compared_bars,
    compared_shares,
    comparison_legend,
    element,
    join,
    number,
    percent,
    table,
)
from shipway.components.data.validation.report.columns import ColumnView, DataSet
from shipway.components.data.validation.report.shapes import Shape, shape_of
from shipway.components.data.validation.report.words import counted, shown

__all__ = ["distributions_section", "place_of"]

_SHOWN_COLUMNS = 500
_FEWEST_BARS = 5
_QUANTILES = (("least", 0), ("5 %", 5), ("median", 50), ("95 %", 95), ("largest", 100))
_KINDS = {"INT": "whole number", "FLOAT": "number", "STRING": "text", "BYTES": "bytes", "STRUCT": "structure"}


def place_of(view: ColumnView) -> str:
    """Returns the anchor of a column's details."""
    return f"column-{view.place}"


def distributions_section(views: Sequence[ColumnView], sets: Sequence[DataSet]) -> Markup:
    """Returns the legend, the controls and one line per column.

    Args:
        views: The columns in the order to show them in; beyond 500, those at the end are left out and counted.
        sets: This data, and what it is held against.
    """
    lines = join(_line(view) for view in views[:_SHOWN_COLUMNS])
    left_out = len(views) - _SHOWN_COLUMNS
    note = f"{counted(left_out, 'more column')} that moved less are left out here; distributions.json has them."
    heads = ["column", "values", "missing", "moved"] if len(sets) > 1 else ["column", "values", "missing", ""]
    return join(
        [
            comparison_legend([f"{data.name} ({counted(data.rows, 'row')})" for data in sets]),
            _controls(len(views[:_SHOWN_COLUMNS]), compared=len(sets) > 1),
            element("div", *(element("span", head) for head in heads), class_="line heads", aria_hidden="true"),
            element("div", lines, id="lines"),
            element("p", note, class_="muted") if left_out > 0 else "",
        ]
    )


def _controls(shown_columns: int, *, compared: bool) -> Markup:
    """Returns what the page's script brings to life; without it, it stays hidden and all columns are shown."""
    orders = [("change", "strongest change first")] if compared else []
    orders += [("anomalies", "anomalies first"), ("missing", "most missing first"), ("name", "by name")]
    orders += [("data", "as in the data")]
    toggles = [("changed", "only changed")] if compared else []
    toggles += [("anomalies", "only with anomalies")]
    return element(
        "form",
        element("input", type="search", name="find", placeholder="Find a column", aria_label="Find a column"),
        element("select", *(element("option", text, value=v) for v, text in orders), name="sort", aria_label="Order"),
        *(
            element("label", element("input", type="checkbox", name="only", value=value), text)
            for value, text in toggles
        ),
        element("output", counted(shown_columns, "column"), aria_live="polite"),
        id="controls",
        hidden=True,
    )


def _line(view: ColumnView) -> Markup:
    shape = shape_of(view.columns)
    summary = element(
        "summary",
        element("span", element("b", shown(view.name)), element("small", _kind(view)), _tags(view), class_="who"),
        element("span", *_small_picture(view, shape), class_="values"),
        _missing(view),
        _moved(view),
        class_="line",
    )
    return element(
        "details", summary, element("div", _details(view, shape), id=place_of(view), class_="inside"),
        class_="column",
        data_name=shown(view.name).lower(),
        data_place=view.place,
        data_moved=f"{view.moved:.4f}",
        data_missing=f"{view.missing[0] or 0:.4f}",
        data_worst=view.worst or None,
        data_changed=view.changed,
    )  # fmt: skip


def _kind(view: ColumnView) -> str:
    if not view.summary:
        return "not in this data"
    kind = str(view.summary["type"])
    unique = view.summary.get("unique")
    return _KINDS.get(kind, kind.lower()) + (f", {counted(unique, 'value')}" if isinstance(unique, int) else "")


def _tags(view: ColumnView) -> Markup:
    tags = []
    for severity, style in (("fail", "bad"), ("warn", "warn")):
        if count := sum(finding["severity"] == severity for finding in view.findings):
            tags.append((f"{count} {severity}", style))
    if view.status:
        tags.append((view.status, "calm"))
    elif view.changed:
        tags.append(("changed", "calm"))
    return join(element("em", text, class_=style) + " " for text, style in tags)


def _small_picture(view: ColumnView, shape: Shape | None) -> list[Markup]:
    if shape is None:
        return [element("small", "no values")]
    title = f"Values of {shown(view.name)}"
    if shape.ends:
        return [compared_shares(shape.series, title=title), _ends(shape)]
    named = slice(len(shape.labels) - shape.others)
    spare = max(0, _FEWEST_BARS - len(shape.labels[named]))
    series = [[*shares[named], *[0.0] * spare] if shares else None for shares in shape.series]
    below = [*shape.labels[named], *[""] * spare]
    labels = element("small", *(element("span", label) for label in below), class_="labels")
    return [compared_shares(series, title=title, apart=True), labels]


def _ends(shape: Shape) -> Markup:
    return element("small", *(element("span", end) for end in shape.ends), class_="ends")


def _missing(view: ColumnView) -> Markup:
    now, *others = view.missing
    was = [
        element("small", f"{data.name} {percent(share)}")
        for data, share in zip(view.sets[1:], others, strict=True)
        if share != now and share is not None
    ]
    return element("span", percent(now), *was, class_="missing", data_label="missing")


def _moved(view: ColumnView) -> Markup:
    if len(view.sets) == 1:
        return element("span")
    bar = element("i", style=f"width:{view.moved * 100:.1f}%")
    style = "moved far" if view.changed else "moved"
    return element("span", percent(view.moved), element("span", bar, class_="track"), class_=style, data_label="moved")


def _details(view: ColumnView, shape: Shape | None) -> Markup:
    names = [data.name for data in view.sets]
    left = [_large_picture(view, shape, names)] if shape else []
    left += [_finding(finding) for finding in view.findings]
    right = [_facts(view, names)]
    if view.comparisons:
        rows = [
            [
                shown(c["baseline"]),
                shown(c["measure"]),
                c["value"],
                c["threshold"],
                shown(c["note"]) if c["note"] else "",
            ]
            for c in view.comparisons
        ]
        right.append(table(["against", "measure", "value", "threshold", ""], rows))
    return join([element("div", *left), element("div", *right)])


def _large_picture(view: ColumnView, shape: Shape, names: Sequence[str]) -> Markup:
    if not shape.ends:
        rows = [
            (label, [shares[index] if shares else None for shares in shape.series])
            for index, label in enumerate(shape.labels)
        ]
        return compared_bars(rows, names, of="value")
    tips = [
        f"{label}: "
        + ", ".join(f"{name} {percent(s[index])}" for name, s in zip(names, shape.series, strict=True) if s)
        for index, label in enumerate(shape.labels)
    ]
    picture = compared_shares(shape.series, title=f"Shares of the values of {shown(view.name)}", tips=tips)
    return element("div", picture, _ends(shape), class_="large")


def _finding(finding: Any) -> Markup:
    style = "bad" if finding["severity"] == "fail" else "warn"
    text = shown(finding["description"].strip(), 600)
    return element(
        "p", element("em", finding["severity"], class_=style), element("b", shown(finding["short"])), " ", text
    )


def _facts(view: ColumnView, names: Sequence[str]) -> Markup:
    columns = view.columns
    rows: list[list[Any]] = [["missing", *map(percent, view.missing)]]
    if any(column and column["nan"] for column in columns):
        rows.append(["not a number", *(column and column["nan"] for column in columns)])
    if any(column and column["distinct"] is not None for column in columns):
        rows.append(["distinct", *(column and column["distinct"] for column in columns)])
    quantiles = [column["quantiles"] if column else None for column in columns]
    if any(quantiles):
        rows += [[name, *(q[place] if q else None for q in quantiles)] for name, place in _QUANTILES]
    head = element("tr", element("td"), *(element("th", name, scope="col", class_="number") for name in names))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", _cell(v), class_="number") for v in row[1:]))
        for row in rows
    ]
    facts = element("table", element("thead", head), element("tbody", *body), class_="facts")
    if view.summary.get("mean") is None:
        return facts
    mean, deviation = number(view.summary["mean"]), number(view.summary["std"])
    return join([facts, element("p", f"mean {mean}, standard deviation {deviation} in {names[0]}", class_="muted")])


def _cell(value: Any) -> Any:
    return value if isinstance(value, str) else number(value)
