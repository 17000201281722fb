"""Bars, histograms and tables: small pictures that sit well in rows and cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports.markup import element, finite, join, number, percent

__all__ = ["bar_chart", "confusion_matrix", "histogram", "table"]

_WIDTH, _HEIGHT = 240, 64


def table(headers: Sequence[object], rows: Sequence[Sequence[Any]], *, caption: str = "") -> Markup:
    """Returns a table; numbers stand to the right, a table too wide for the page scrolls.

    Args:
        headers: One per column.
        rows: Cells of any kind: numbers are written for people, ``None`` as a dash, ``Markup`` as it is, all
            else as text.
        caption: What the table shows.
    """
    numeric = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(headers))]
    cells = [
        element("th", header, scope="col", class_="number" if n else None)
        for header, n in zip(headers, numeric, strict=True)
    ]
    head = element("thead", element("tr", *cells))
    body = element("tbody", *(element("tr", *map(_cell, row)) for row in rows))
    shown = element("table", element("caption", caption) if caption else None, head, body)
    return element("div", shown, class_="scroll", tabindex="0")


def bar_chart(bars: Sequence[tuple[str, Any]], *, title: str = "", total: float | None = None) -> Markup:
    """Returns horizontal bars with their labels and numbers.

    Args:
        bars: Label and size, in drawing order; sizes are zero or more.
        title: The figure's caption.
        total: What the shares refer to; when given, each bar shows its share of it beside the number.
    """
    sizes = [finite(size) or 0.0 for _, size in bars]
    longest = max(sizes, default=0.0) or 1.0
    entries = []
    for (label, size), known in zip(bars, sizes, strict=True):
        share = f" · {percent(known / total)}" if total else ""
        bar = element("rect", width=known / longest * _WIDTH, height=6, rx=1)
        entries.append(
            element(
                "li",
                element("span", label, class_="bar-label", title=label),
                element("span", f"{number(size)}{share}", class_="bar-number"),
                element(
                    "svg",
                    bar,
                    viewBox=f"0 0 {_WIDTH} 6",
                    preserveAspectRatio="none",
                    class_="bar s0",
                    aria_hidden="true",
                ),
            )
        )
    caption = element("figcaption", title) if title else None
    return element("figure", caption, element("ul", join(entries)), class_="bars")


def histogram(buckets: Sequence[Mapping[str, Any]], *, title: str = "") -> Markup:
    """Returns a small histogram whose areas are the counts.

    Args:
        buckets: ``{"low", "high", "count"}`` each, as in ``summary.json``, in rising order.
        title: The figure's caption and the picture's accessible name.
    """
    known = [
        (low, high, count)
        for low, high, count in ((finite(b.get("low")), finite(b.get("high")), finite(b.get("count"))) for b in buckets)
        if low is not None and high is not None and count is not None
    ]
    caption = element("figcaption", title) if title else None
    if not known:
        return element("figure", caption, element("p", "no values", class_="muted"), class_="histogram")
    first, last = known[0][0], known[-1][1]
    if last <= first:
        known = [(first, first + 1, sum(count for *_, count in known))]
    span = known[-1][1] - first
    heights = [count / max(high - low, span * 1e-3) for low, high, count in known]
    tallest = max(heights) or 1.0
    bars = []
    for (low, high, count), height in zip(known, heights, strict=True):
        size = height / tallest * _HEIGHT
        x, width = (low - first) / span * _WIDTH, max((high - low) / span * _WIDTH - 0.8, 0.6)
        tip = element("title", f"{number(low)} to {number(high)}: {number(count)}")
        bars.append(element("rect", tip, x=x, y=_HEIGHT - size, width=width, height=size))
    name = f"{title or 'Histogram'}: {number(first)} to {number(last)}"
    picture = element(
        "svg", element("title", name), *bars,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none", role="img", class_="s0",
    )  # fmt: skip
    ends = element("div", element("span", number(first)), element("span", number(last)), class_="ends")
    return element("figure", caption, picture, ends, class_="histogram")


def confusion_matrix(
    labels: Sequence[str], matrix: Sequence[Sequence[int]], *, title: str = "Confusion matrix"
) -> Markup:
    """Returns a table of counts coloured by the share of the true class.

    Args:
        labels: The classes, in the order of rows and columns.
        matrix: Counts; row: true class, column: predicted class.
        title: The table's caption.
    """
    head = element(
        "thead",
        element("tr", element("td"), element("th", "predicted", colspan=len(labels), scope="colgroup")),
        element("tr", element("th", "true", scope="col"), *(element("th", label, scope="col") for label in labels)),
    )
    rows = []
    for label, counts in zip(labels, matrix, strict=True):
        total = sum(counts)
        cells = []
        for count in counts:
            share = count / total if total else 0.0
            shade = f"--share:{share:.3f}"
            cells.append(element("td", number(count), element("small", percent(share)), class_="heat", style=shade))
        rows.append(element("tr", element("th", label, scope="row"), *cells))
    shown = element("table", element("caption", title), head, element("tbody", *rows), class_="confusion")
    return element("div", shown, class_="scroll", tabindex="0")


def _cell(value: Any) -> Markup:
    if _is_number(value):
        return element("td", number(value), class_="number")
    return element("td", number(value) if isinstance(value, bool) else value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
