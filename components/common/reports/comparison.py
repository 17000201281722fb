"""The same column in two or three sets of data, drawn over or beside one another.

The first set is drawn as an area, the others as lines, so that no reader depends on colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from shipway.components.common.reports.markup import element, finite, join, percent

__all__ = ["compared_bars", "compared_shares", "comparison_legend"]

_HEIGHT = 120
_BAR_SHARE = 0.72
_DASHES = (None, None, "4 3")


def compared_shares(
    series: Sequence[Sequence[float] | None], *, title: str, tips: Sequence[str] = (), apart: bool = False
) -> Markup:
    """Returns shares by bin or category in one picture, which stretches to the space it is given.

    Args:
        series: Each set's share in every bin, from 0 to 1; at most three sets, all with the same bins. ``None``
            where a set lacks the column.
        title: The picture's accessible name.
        tips: What to say of each bin under the pointer.
        apart: Draw the sets as bars beside one another, for categories, rather than as histograms over one another.
    """
    known = [shares for shares in series if shares]
    bins = len(known[0]) if known else 0
    tallest = max((share for shares in known for share in shares), default=0.0) or 1.0
    parts: list[Markup] = []
    for index, shares in enumerate(series):
        if not shares:
            continue
        tops = [round(_HEIGHT * (1 - share / tallest)) for share in shares]
        if apart:
            parts.append(element("path", d=_bars(tops, len(parts), len(known)), class_=f"bar s{index}"))
        else:
            style = f"{'step' if index else 'area'} s{index}"
            parts.append(element("path", d=_steps(tops), class_=style, stroke_dasharray=_DASHES[index]))
    for index, tip in enumerate(tips):
        parts.append(element("rect", element("title", tip), x=index, width=1, height=_HEIGHT))
    return element(
        "svg", element("title", title), *parts,
        viewBox=f"0 0 {bins} {_HEIGHT}", preserveAspectRatio="none", role="img", class_="compared",
    )  # fmt: skip


def _steps(tops: Sequence[int]) -> str:
    return f"M0 {_HEIGHT}{'h1'.join(f'V{top}' for top in tops)}h1V{_HEIGHT}"


def _bars(tops: Sequence[int], place: int, sets: int) -> str:
    width = _BAR_SHARE / sets
    first = (1 - _BAR_SHARE) / 2 + place * width
    return "".join(f"M{bin_ + first:.2f} {_HEIGHT}V{top}h{width:.2f}V{_HEIGHT}" for bin_, top in enumerate(tops))


def compared_bars(rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], *, of: str) -> Markup:
    """Returns a table with one bar and one percentage for each set in every row.

    Args:
        rows: Label and the sets' shares, each from 0 to 1; ``None`` where a set has none.
        names: The sets' names.
        of: What the labels are: ``value`` or ``bin``.
    """
    longest = max((finite(share) or 0.0 for _, shares in rows for share in shares), default=0.0) or 1.0
    head = [element("th", of, scope="col"), element("td")]
    head += [element("th", name, scope="col", class_="number") for name in names]
    body = []
    for label, shares in rows:
        bars = [
            element("i", class_=f"s{index}", style=f"width:{(finite(share) or 0.0) / longest * 100:.1f}%")
            for index, share in enumerate(shares)
            if share is not None
        ]
        cells = [element("td", percent(share), class_="number") for share in shares]
        body.append(element("tr", element("th", label, scope="row"), element("td", *bars), *cells))
    return element(
        "table", element("thead", element("tr", *head)), element("tbody", join(body)), class_="compared-bars"
    )


def comparison_legend(names: Sequence[str]) -> Markup:
    """Returns what the colours and lines of the sets mean."""
    entries = [
        element("li", compared_shares([None] * index + [(0.5, 1.0, 0.4)], title=name), name)
        for index, name in enumerate(names)
    ]
    return element("ul", join(entries), class_="legend")
