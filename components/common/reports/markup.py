"""Elements, numbers and axes: what the charts and tables are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

__all__ = ["axis_ticks", "duration", "element", "finite", "interval", "join", "number", "percent", "slug"]

_VOID = ("br", "hr", "img", "input")
_NONE = "\N{EN DASH}"


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Returns one element; children and attribute values that are no ``Markup`` are escaped.

    Args:
        tag: The element's name.
        children: Text, numbers or ``Markup``; ``None`` is left out.
        attributes: ``class_`` becomes ``class``, ``stroke_width`` becomes ``stroke-width``, floats are
            rounded to two decimals, ``None`` and ``False`` are left out, ``True`` stands without value.
    """
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        parts.append(" " + name.rstrip("_").replace("_", "-"))
        if value is not True:
            parts.append(f'="{escape(_attribute(value))}"')
    parts.append(">")
    if tag not in _VOID:
        parts.extend(str(escape(child)) for child in children if child is not None)
        parts.append(f"</{tag}>")
    return Markup("".join(parts))  # noqa: S704  every part was escaped above


def join(parts: Iterable[object]) -> Markup:
    """Returns the parts one after another, escaped where they are no ``Markup``."""
    return Markup("").join(escape(part) for part in parts)


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def finite(value: Any) -> float | None:
    """Returns ``value`` as a float; ``None`` where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def number(value: Any) -> str:
    """Returns a number for people: ``336,776``, ``0.6912``, ``1.2e-05``; a dash where there is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    known = finite(value)
    if known is None:
        return _NONE
    size = abs(known)
    if known == round(known) and size < 1e15:
        return f"{int(known):,}"
    if size >= 1000:
        return f"{known:,.0f}"
    if size >= 1e-3:
        return f"{known:.4g}"
    return f"{known:.2g}"


def percent(fraction: Any) -> str:
    """Returns a fraction between 0 and 1 as a percentage: ``2.3 %``; a dash where there is none."""
    known = finite(fraction)
    if known is None:
        return _NONE
    if 0 < abs(known) < 0.001:
        return "< 0.1 %"
    text = f"{known * 100:.1f}".removesuffix(".0")
    return f"{text} %"


def duration(seconds: Any) -> str:
    """Returns seconds for people: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``; a dash where there is none."""
    known = finite(seconds)
    if known is None:
        return _NONE
    if known < 9.95:
        return f"{known:.1f} s"
    whole = round(known)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def interval(metric: Any, digits: int = 4) -> Markup:
    """Returns a metric with its interval as markup, ``0.6912 (0.6871 to 0.6953)``.

    Args:
        metric: ``{"value", "low", "high"}`` as in ``metrics.json``, a bare number, or ``None``.
        digits: Digits after the point.
    """
    value = finite(metric.get("value") if isinstance(metric, dict) else metric)
    if value is None:
        return escape(_NONE)
    text = f"{value:.{digits}f}"
    low, high = (finite(metric.get(key)) if isinstance(metric, dict) else None for key in ("low", "high"))
    if low is None or high is None:
        return escape(text)
    return escape(text) + element("span", f" ({low:.{digits}f} to {high:.{digits}f})", class_="interval")


def slug(text: str) -> str:
    """Returns ``text`` as an anchor: small letters and digits, joined by hyphens."""
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    return "-".join(plain.split()) or "section"


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about ``count`` round numbers, evenly spaced, that reach from ``low`` or below to ``high`` or above."""
    if high <= low:
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    raw = (high - low) / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
