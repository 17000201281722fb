"""The graph of a run's tasks as SVG: colour and mark by state, seconds on each node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import duration, element
from shipway.pipelines.report.layout import layered

__all__ = ["STATES", "family", "task_graph"]

STATES = {
    "SUCCEEDED": ("good", "✓", "succeeded"),
    "CACHED": ("calm", "↺", "cached"),
    "FAILED": ("bad", "✗", "failed"),
    "SKIPPED": ("idle", "○", "skipped"),
    "CANCELLED": ("warn", "■", "cancelled"),
    "RUNNING": ("warn", "…", "interrupted"),
}
"""By status: the style's name, the mark and the word."""

_NODE_WIDTH, _NODE_HEIGHT, _GAP, _ROW = 158.0, 44.0, 14.0, 70.0
_MARGIN = 4.0
_LONGEST_NAME = 21
_LEAST_WIDTH = 480.0


def task_graph(tasks: Sequence[dict[str, Any]]) -> Markup:
    """Returns the graph of the tasks of a run record (``name``, ``status``, ``seconds``, ``depends_on``, ``image``)."""
    layout = layered({task["name"]: task.get("depends_on") or [] for task in tasks}, _NODE_WIDTH, _GAP)
    states = {task["name"]: task.get("status") for task in tasks}
    edges = [
        element("path", d=_curve(xs, layout.centres[above][1]), class_="edge" + " idle" * (states[name] == "SKIPPED"))
        for (above, name), xs in layout.edges.items()
    ]
    nodes = [_node(task, *layout.centres[task["name"]]) for task in tasks]
    width, height = layout.width + 2 * _MARGIN, (layout.layers - 1) * _ROW + _NODE_HEIGHT + 2 * _MARGIN
    words = "; ".join(
        f"{task['name']} {STATES.get(states[task['name']] or '', ('', '', 'unknown'))[2]}" for task in tasks
    )
    size = f"max-width:{width:.0f}px;min-width:{min(width, _LEAST_WIDTH):.0f}px"
    head = element("title", "The pipeline's tasks"), element("desc", words)
    box = f"0 0 {width:.0f} {height:.0f}"
    picture = element("svg", *head, *edges, *nodes, viewBox=box, role="img", class_="graph", style=size)
    return element("div", picture, class_="scroll", tabindex="0")


def family(image: object) -> str:
    """Returns the last part of an image's name, without its tag: ``pytorch`` of ``shipway/pytorch:0.1.0``."""
    return str(image or "").split("@")[0].rsplit("/", 1)[-1].split(":")[0]


def _node(task: dict[str, Any], centre: float, layer: int) -> Markup:
    status = str(task.get("status"))
    style, mark, word = STATES.get(status, ("idle", "?", status.lower()))
    name = str(task.get("display_name") or task["name"])
    x, y = centre - _NODE_WIDTH / 2 + _MARGIN, layer * _ROW + _MARGIN
    detail = duration(task.get("seconds")) if status in ("SUCCEEDED", "FAILED") else word
    short = name if len(name) <= _LONGEST_NAME else f"{name[:12]}…{name[-8:]}"
    return element(
        "g",
        element("title", f"{name}: {word}, {duration(task.get('seconds'))}, {family(task.get('image'))}"),
        element("rect", x=x, y=y, width=_NODE_WIDTH, height=_NODE_HEIGHT, rx=7),
        element("path", d=f"M{x + 0.5:.1f} {y + 9:.1f}v{_NODE_HEIGHT - 18:.1f}", class_="stripe"),
        element("text", short, x=x + 12, y=y + 18, class_="name"),
        element("text", f"{mark} {detail}", x=x + 12, y=y + 35, class_="state"),
        element(
            "text", family(task.get("image")), x=x + _NODE_WIDTH - 10, y=y + 35, text_anchor="end", class_="family"
        ),
        class_=f"node {style}",
    )


def _curve(xs: Sequence[float], first_layer: int) -> str:
    """Returns the path of an edge: from the lower side of its first node to the upper side of its last."""
    places = [(x + _MARGIN, (first_layer + index) * _ROW + _MARGIN) for index, x in enumerate(xs)]
    x, y = places[0][0], places[0][1] + _NODE_HEIGHT
    parts = [f"M{x:.1f} {y:.1f}"]
    for index, (next_x, top) in enumerate(places[1:], start=1):
        bend = (top - y) / 2
        parts.append(f"C{x:.1f} {y + bend:.1f} {next_x:.1f} {top - bend:.1f} {next_x:.1f} {top:.1f}")
        x, y = next_x, top
        if index < len(places) - 1:
            y = top + _NODE_HEIGHT
            parts.append(f"V{y:.1f}")
    return "".join(parts)
