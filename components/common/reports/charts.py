"""Curves and intervals as SVG in a figure with a title and a legend.

Colours come from the page's style sheet, so that one picture serves light and dark; every series also has a
dash pattern of its own, so that no reader depends on colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports.markup import axis_ticks, element, finite, interval, join, number

__all__ = ["compare_training", "interval_chart", "line_chart", "roc_chart", "training_curves"]

_DASHES = (None, "7 4", "2 3", "9 3 2 3", "12 3", "4 2 1 2")
_COLOURS = len(_DASHES)
_MARKED_POINTS = 40
_COUNTED_TICKS = 12
_LONGEST_LABEL, _LETTER_WIDTH = 36, 7

Points = Sequence[tuple[float, float | None]]
History = Sequence[Mapping[str, Any]]


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    description: str = "",
) -> Markup:
    """Returns curves over one pair of axes.

    Args:
        series: Points ``(x, y)`` by name, in drawing order; a ``y`` of ``None`` or NaN interrupts the line.
        title: The figure's caption.
        x_label: What runs to the right, with its unit.
        y_label: What runs upwards, with its unit.
        description: What a reader who cannot see the picture should know; made from the last values when empty.
    """
    known = {name: _runs(points) for name, points in series.items()}
    flat = [point for runs in known.values() for run in runs for point in run]
    if not flat:
        return _figure(title, element("p", "No values were recorded.", class_="muted"))
    xs, ys = [x for x, _ in flat], [y for _, y in flat]
    frame = _Frame(640, 300, (min(xs), max(xs)), axis_ticks(min(ys), max(ys)))
    last = "; ".join(f"{name} ends at {number(runs[-1][-1][1])}" for name, runs in known.items() if runs)
    lines = [line for index, (name, runs) in enumerate(known.items()) for line in _line(frame, index, name, runs)]
    picture = frame.svg(lines, _x_ticks(xs), title, description or last, x_label, y_label)
    return _figure(title, picture, _legend(list(known)))


def roc_chart(curves: Sequence[Mapping[str, Any]], *, title: str = "ROC") -> Markup:
    """Returns ROC curves in a square, with the diagonal of chance.

    Args:
        curves: ``{"label", "fpr": [0 … 1], "tpr": [0 … 1]}`` each, as in ``roc_curves`` of ``metrics.json``; an
            optional ``"roc_auc"`` (a number, or ``{"value", "low", "high"}``) is shown in the legend.
        title: The figure's caption.
    """
    known = {}
    for curve in curves:
        points = _runs(list(zip(curve.get("fpr") or [], curve.get("tpr") or [], strict=False)))
        if points:
            known[_curve_name(curve)] = points
    if not known:
        return _figure(title, element("p", "No curves were recorded.", class_="muted"))
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    frame = _Frame(440, 420, (0.0, 1.0), ticks)
    lines = [element("path", d=_path(frame, [(0.0, 0.0), (1.0, 1.0)]), class_="chance")]
    for index, (name, runs) in enumerate(known.items()):
        lines += _line(frame, index, name, runs, marks=False)
    picture = frame.svg(
        lines, ticks, title, "; ".join(known) + ". The dotted diagonal is chance.",
        "false positive rate", "true positive rate",
    )  # fmt: skip
    return _figure(title, picture, _legend(list(known)), "square")


def training_curves(history: History) -> Markup:
    """Returns the curves of one training: the losses, and each other score in a chart of its own.

    Args:
        history: ``{"epoch", "loss", "validation_loss", "validation_roc_auc", …}`` per epoch, as in ``model.json``.
    """
    return compare_training({"": history})


def compare_training(histories: Mapping[str, History]) -> Markup:
    """Returns the curves of several trainings, the same score of all in one chart.

    Args:
        histories: Of each training by its name, as :func:`training_curves` takes them.
    """
    names = list(dict.fromkeys(key for history in histories.values() for row in history for key in row))
    losses = [name for name in names if name.endswith("loss")]
    others = [name for name in names if name not in losses and name != "epoch"]
    charts = []
    for title, keys in [("Loss", losses), *((_words(name), [name]) for name in others)]:
        series = {
            _series_name(training, key, len(keys)): [
                (float(row.get("epoch", index + 1)), finite(row.get(key))) for index, row in enumerate(history)
            ]
            for training, history in histories.items()
            for key in keys
            if any(finite(row.get(key)) is not None for row in history)
        }
        if series:
            charts.append(line_chart(series, title=title, x_label="epoch"))
    if not charts:
        return element("p", "No epochs were recorded.", class_="muted")
    return element("div", *charts, class_="charts")


def interval_chart(
    rows: Sequence[tuple[str, Any]], *, title: str, x_label: str = "", reference: float | None = None
) -> Markup:
    """Returns one dot with a whisker per row, for comparing measurements with their intervals.

    Args:
        rows: Name and ``{"value", "low", "high"}`` (or a bare number); rows without a value are left out.
        title: The figure's caption.
        x_label: What is measured, with its unit.
        reference: A value to mark with a dotted line, such as an AUC of 0.5.
    """
    known = [(name, *_bounds(metric)) for name, metric in rows if _bounds(metric)]
    if not known:
        return _figure(title, element("p", "No values were recorded.", class_="muted"))
    extent = [bound for _, *bounds in known for bound in bounds] + ([] if reference is None else [reference])
    ticks = axis_ticks(min(extent), max(extent), 6)
    names = [_shortened(name, _LONGEST_LABEL) for name, *_ in known]
    left, width, row_height, top = 24 + _LETTER_WIDTH * max(map(len, names)), 640, 26, 8
    bottom = top + row_height * len(known)
    span = (ticks[-1] - ticks[0]) or 1.0

    def x(value: float) -> float:
        return left + (value - ticks[0]) / span * (width - left - 24)

    parts = [element("path", d=f"M{x(tick):.1f} {top}V{bottom}", class_="grid") for tick in ticks]
    parts += [_text(x(tick), bottom + 18, number(tick), "middle") for tick in ticks]
    if reference is not None:
        parts.append(element("path", d=f"M{x(reference):.1f} {top}V{bottom}", class_="chance"))
    for index, (name, value, low, high) in enumerate(known):
        y = top + row_height * (index + 0.5)
        tip = element("title", f"{name}: {value:.4f} ({low:.4f} to {high:.4f})")
        whisker = element("path", d=f"M{x(low):.1f} {y:.1f}H{x(high):.1f}", class_="whisker s0")
        dot = element("circle", cx=x(value), cy=y, r=4.5, class_="dot s0")
        parts += [_text(left - 12, y + 4, names[index], "end"), element("g", tip, whisker, dot)]
    if x_label:
        parts.append(_text((left + width) / 2, bottom + 38, x_label, "middle", "axis-label"))
    description = "; ".join(f"{name} {value:.4f}" for name, value, *_ in known)
    picture = _svg(width, bottom + (46 if x_label else 26), title, description, parts)
    return _figure(title, picture)


class _Frame:
    """The plotting area of a chart: maps values to places and draws the axes."""

    def __init__(self, width: int, height: int, xs: tuple[float, float], y_ticks: Sequence[float]):
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = 62, width - 16, 12, height - 46
        self.x_low, self.x_high = xs if xs[1] > xs[0] else (xs[0] - 0.5, xs[1] + 0.5)
        self.y_ticks = y_ticks

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def svg(
        self,
        lines: Sequence[Markup],
        x_ticks: Sequence[float],
        title: str,
        description: str,
        x_label: str,
        y_label: str,
    ) -> Markup:
        parts = []
        for tick in self.y_ticks:
            parts.append(element("path", d=f"M{self.left} {self.y(tick):.1f}H{self.right}", class_="grid"))
            parts.append(_text(self.left - 8, self.y(tick) + 4, number(tick), "end"))
        shown = [tick for tick in x_ticks if self.x_low <= tick <= self.x_high]
        parts += [_text(self.x(tick), self.bottom + 18, number(tick), "middle") for tick in shown]
        parts.append(_text((self.left + self.right) / 2, self.height - 8, x_label, "middle", "axis-label"))
        middle = (self.top + self.bottom) / 2
        if y_label:
            turned = f"translate(14 {middle:.1f}) rotate(-90)"
            parts.append(element("text", y_label, transform=turned, text_anchor="middle", class_="axis-label"))
        return _svg(self.width, self.height, title, description, [*parts, *lines])


def _x_ticks(xs: Sequence[float]) -> list[float]:
    low, high = min(xs), max(xs)
    if high - low <= _COUNTED_TICKS and all(x == int(x) for x in xs):
        return [float(x) for x in range(int(low), int(high) + 1)]
    return axis_ticks(low, high, 7)


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """Returns the stretches of points between missing values."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        known_x, known_y = finite(x), finite(y)
        if known_x is None or known_y is None:
            runs.append([])
        else:
            runs[-1].append((known_x, known_y))
    return [run for run in runs if run]


def _line(
    frame: _Frame, index: int, name: str, runs: list[list[tuple[float, float]]], marks: bool = True
) -> list[Markup]:
    colour = f"s{index % _COLOURS}"
    dash = _DASHES[index % _COLOURS]
    parts = [
        element("path", element("title", name), d=_path(frame, run), class_=f"line {colour}", stroke_dasharray=dash)
        for run in runs
    ]
    if marks and sum(map(len, runs)) <= _MARKED_POINTS:
        for x, y in (point for run in runs for point in run):
            tip = element("title", f"{name}: {number(y)} at {number(x)}")
            parts.append(element("circle", tip, cx=frame.x(x), cy=frame.y(y), r=3, class_=f"dot {colour}"))
    return parts


def _path(frame: _Frame, run: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in run)


def _bounds(metric: Any) -> tuple[float, float, float] | tuple[()]:
    value = finite(metric.get("value") if isinstance(metric, Mapping) else metric)
    if value is None:
        return ()
    low, high = (finite(metric.get(key)) if isinstance(metric, Mapping) else None for key in ("low", "high"))
    return value, value if low is None else low, value if high is None else high


def _curve_name(curve: Mapping[str, Any]) -> str:
    label = str(curve.get("label", ""))
    return f"{label}, AUC {interval(curve['roc_auc']).striptags()}" if curve.get("roc_auc") is not None else label


def _series_name(training: str, key: str, keys: int) -> str:
    if not training:
        return _words(key)
    return training if keys == 1 else f"{training}, {_words(key).lower()}"


def _words(name: str) -> str:
    words = name.replace("_", " ").replace("roc auc", "ROC AUC").replace("pr auc", "PR AUC")
    return words[:1].upper() + words[1:]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> Markup:
    return element("text", text, x=float(x), y=float(y), text_anchor=anchor, class_=style) if text else Markup("")


def _svg(width: int, height: int, title: str, description: str, parts: Sequence[Markup]) -> Markup:
    head = [element("title", title), element("desc", description) if description else None]
    return element("svg", *head, *parts, viewBox=f"0 0 {width} {height}", role="img", class_="plot")


def _legend(names: Sequence[str]) -> Markup:
    entries = []
    for index, name in enumerate(names):
        line = element(
            "path", d="M1 5H27", class_=f"line s{index % _COLOURS}", stroke_dasharray=_DASHES[index % _COLOURS]
        )
        entries.append(
            element("li", element("svg", line, viewBox="0 0 28 10", class_="swatch", aria_hidden="true"), name)
        )
    return element("ul", join(entries), class_="legend")


def _figure(title: str, picture: Markup, legend: Markup | None = None, style: str = "") -> Markup:
    return element("figure", element("figcaption", title), legend, picture, class_=f"chart {style}".strip())
