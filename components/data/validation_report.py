"""The page that shows what the data looks like and where it departs from its schema."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import bar_chart, element, histogram, html_page, number, percent, table

__all__ = ["render"]

_SHOWN_BARS = 10


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
        verdict = element("p", "No anomalies: the data looks as its schema says.")
    flagged = {a["feature"] for a in anomalies}
    columns = [_column(column, column["name"] in flagged) for column in summary["columns"]]
    headers = ["column", "type", "missing", "unique", "mean", "standard deviation", "least", "median", "largest", "values"]
    subtitle = f"{number(summary['rows'])} rows, {len(summary['columns'])} columns, {len(anomalies)} anomalies"
    return html_page(
        "Data validation", [("Anomalies", verdict), ("Columns", table(headers, columns))], subtitle=subtitle
    )
