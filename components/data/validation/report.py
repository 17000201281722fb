"""The page that shows what the data looks like and where it departs from its schema."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import bar_chart, element, histogram, html_page, number, percent, table

__all__ = ["render"]

_SHOWN_BARS = 6


def render(anomalies: list[dict[str, str]], summary: dict[str, Any]) -> str:
    """Returns the page as HTML.

    Args:
        anomalies: ``{"feature", "kind", "short", "description"}`` each.
        summary: What ``summary.json`` holds.
    """
    if anomalies:
        rows = [[a["feature"], a["short"], a["description"]] for a in anomalies]
        verdict = table(["column", "anomaly", "what it means"], rows)
    else:
        verdict = element("p", "None: the data looks as its schema says.")
    columns = table(
        ["column", "type", "missing", "unique", "mean", "standard deviation", "least", "median", "largest", "values"],
        [_column(column, summary["rows"]) for column in summary["columns"]],
    )
    subtitle = f"{number(summary['rows'])} rows, {len(summary['columns'])} columns, {len(anomalies)} anomalies"
    return html_page("Data validation", [("Anomalies", verdict), ("Columns", columns)], subtitle=subtitle)


def _column(column: dict[str, Any], rows: int) -> list[Any]:
    numbers = [column[key] for key in ("unique", "mean", "std", "min", "median", "max")]
    return [column["name"], column["type"], percent(column["missing_fraction"]), *numbers, _picture(column, rows)]


def _picture(column: dict[str, Any], rows: int) -> Markup:
    if column["histogram"]:
        return histogram(column["histogram"])
    bars = [(top["value"], top["count"]) for top in (column["top_values"] or [])[:_SHOWN_BARS]]
    return bar_chart(bars, total=rows)
