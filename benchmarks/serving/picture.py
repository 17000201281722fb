"""A few lines over one pair of axes, as SVG that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["line_picture"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 280, 60, 150, 20, 45
_COLOURS = ("#1f6feb", "#c2410c", "#15803d", "#7e22ce")


def line_picture(series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> str:
    """Returns the picture; its upward axis begins at 0.

    Args:
        series: Points by name.
        x_label: What runs to the right.
        y_label: What runs upwards.
    """
    most_x = max((x for points in series.values() for x, _ in points), default=0.0) or 1.0
    most_y = max((y for points in series.values() for _, y in points), default=0.0) * 1.1 or 1.0
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = _TOP + inner_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12" fill="#57606a">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT + inner_width / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="{_LEFT - 45}" y="{_TOP + 4}">{escape(y_label)}</text>',
    ]
    for part in range(5):
        y, x = bottom - inner_height * part / 4, _LEFT + inner_width * part / 4
        parts.append(f'<path d="M{_LEFT} {y}H{_LEFT + inner_width}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{most_y * part / 4:.0f}</text>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{most_x * part / 4:.3g}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = (f"{_LEFT + inner_width * x / most_x:.1f},{bottom - inner_height * y / most_y:.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(places)}"/>')
        label_y = _TOP + 16 * (number + 1)
        parts.append(f'<text x="{_LEFT + inner_width + 10}" y="{label_y}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
