"""One dot a trial: what a hyperparameter was, or when the trial was, and how good it turned out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports.markup import axis_ticks, element, number

__all__ = ["Dot", "dot_chart"]

Dot = tuple[Any, float, str]
"""What runs to the right (a number, or one of the categories), what runs upwards, and what to say under the pointer."""

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, WIDTH - 16, 12, HEIGHT - 46
LONGEST_LABEL = 14


def dot_chart(
    series: Mapping[str, Sequence[Dot]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    categories: Sequence[str] | None = None,
) -> Markup:
    """Returns dots over one pair of axes; the series differ in colour and in how much they are filled.

    Args:
        series: Dots by name; the first is filled, the second a ring, the third larger.
        title: The figure's caption.
        x_label: What runs to the right, with its unit.
        y_label: What runs upwards, with its unit.
        log: Whether the axis to the right is logarithmic.
        categories: The values of x where they are no numbers, in the order of the axis.
    """
    dots = [dot for part in series.values() for dot in part]
    if not dots:
        return element("p", f"{title}: no values were recorded.", class_="muted")
    axis = _Axis.of([dot[0] for dot in dots], log, categories)
    ticks = axis_ticks(min(y for _, y, _ in dots), max(y for _, y, _ in dots))

    def height(value: float) -> float:
        return BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP)

    parts = [element("title", title), element("desc", f"{len(dots)} trials.")]
    for tick in ticks:
        parts.append(element("path", d=f"M{LEFT} {height(tick):.1f}H{RIGHT}", class_="grid"))
        parts.append(_text(LEFT - 8, height(tick) + 4, number(tick), "end"))
    parts += [_text(axis.place(at), BOTTOM + 18, label, "middle") for at, label in axis.labels]
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 8, x_label, "middle", "axis-label"))
    turned = f"translate(14 {(TOP + BOTTOM) / 2:.1f}) rotate(-90)"
    parts.append(element("text", y_label, transform=turned, text_anchor="middle", class_="axis-label"))
    for index, part in enumerate(series.values()):
        for x, y, tip in part:
            parts.append(_dot(index, axis.place(axis.value(x)), height(y), tip))
    picture = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="plot")
    names = [name for name, part in series.items() if part]
    legend = _legend(series) if len(names) > 1 else None
    return element("figure", element("figcaption", title), legend, picture, class_="chart")


class _Axis:
    """The axis to the right."""

    def __init__(self, low: float, high: float, labels: list[tuple[float, str]], log: bool, names: Sequence[str]):
        self.labels, self._low, self._high, self._log, self._names = labels, low, high, log, list(names)

    @classmethod
    def of(cls, values: Sequence[Any], log: bool, categories: Sequence[str] | None) -> _Axis:
        if categories is not None:
            shown = [name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in categories]
            return cls(-0.5, len(categories) - 0.5, [(float(i), name) for i, name in enumerate(shown)], log, categories)
        if log:
            low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
            powers = range(low, max(high, low + 1) + 1)
            return cls(powers[0], powers[-1], [(float(p), number(10.0**p)) for p in powers], log, ())
        ticks = axis_ticks(min(values), max(values), 6)
        return cls(ticks[0], ticks[-1], [(tick, number(tick)) for tick in ticks], log, ())

    def value(self, x: Any) -> float:
        if self._names:
            return float(self._names.index(x))
        return math.log10(x) if self._log else float(x)

    def place(self, value: float) -> float:
        return LEFT + (value - self._low) / (self._high - self._low) * (RIGHT - LEFT)


def _dot(index: int, x: float, y: float, tip: str = "") -> Markup:
    ring = {"fill": "none", "stroke": "currentColor", "stroke-width": "1.5"} if index == 1 else {}
    style = ";".join(f"{name}:{value}" for name, value in ring.items()) or None
    about = element("title", tip) if tip else None
    return element("circle", about, cx=x, cy=y, r=6 if index == 2 else 4, class_=f"dot s{index}", style=style)


def _legend(series: Mapping[str, Sequence[Dot]]) -> Markup:
    entries = [
        element("li", element("svg", _dot(index, 14.0, 7.0), viewBox="0 0 28 14", class_="swatch"), name)
        for index, (name, part) in enumerate(series.items())
        if part
    ]
    return element("ul", *entries, class_="legend")


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> Markup:
    return element("text", text, x=float(x), y=float(y), text_anchor=anchor, class_=style)
