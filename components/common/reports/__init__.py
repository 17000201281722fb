"""Pages and charts for people: HTML and inline SVG without scripts, the same bytes for the same values.

Everything returned is ``markupsafe.Markup`` (a ``str``); whatever is put in and is no ``Markup`` is escaped.

>>> html_page("Evaluation", [
...     ("Curves", roc_chart(metrics["roc_curves"])),
...     ("Confusion", confusion_matrix(["late", "on time"], [[40, 10], [5, 145]])),
...     ("Slices", [table(["origin", "rows", "AUC"], [["EWR", 1200, 0.69]]), "Slices below 100 rows are left out."]),
... ])
"""

from __future__ import annotations

from shipway.components.common.reports.charts import (
    compare_training,
    interval_chart,
    line_chart,
    roc_chart,
    training_curves,
)
from shipway.components.common.reports.comparison import compared_bars, compared_shares, comparison_legend
from shipway.components.common.reports.markup import duration, element, finite, interval, join, number, percent, slug
from shipway.components.common.reports.page import html_page, style_sheet
from shipway.components.common.reports.tables import bar_chart, confusion_matrix, histogram, table

__all__ = [
    "bar_chart",
    "compare_training",
    "compared_bars",
    "compared_shares",
    "comparison_legend",
    "confusion_matrix",
    "duration",
    "element",
    "finite",
    "histogram",
    "html_page",
    "interval",
    "interval_chart",
    "join",
    "line_chart",
    "number",
    "percent",
    "roc_chart",
    "slug",
    "style_sheet",
    "table",
    "training_curves",
]
