"""Whole pages: one file, no scripts, nothing fetched; light and dark as the reader prefers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from shipway.components.common.reports.markup import element, join, slug

__all__ = ["Content", "html_page", "style_sheet"]

Content = str | Markup | Sequence[str | Markup]
"""What a section holds: text (escaped, one paragraph each) or ``Markup`` (as it is)."""


def html_page(title: str, sections: Sequence[tuple[str, Content]], *, subtitle: str = "") -> str:
    """Returns a complete HTML document, the same bytes for the same arguments.

    >>> html_page("Training", [("Curves", line_chart({"loss": [(1, 0.7), (2, 0.5)]}, title="Loss"))])

    Args:
        title: The page's heading and the window's title.
        sections: Heading and content of each part; an empty heading is left out.
        subtitle: A line under the heading.
    """
    parts = [
        element("section", element("h2", heading) if heading else None, _content(content), id=slug(heading))
        for heading, content in sections
    ]
    template = _templates().get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, style=style_sheet(), body=join(parts))


@cache
def style_sheet() -> Markup:
    """Returns the style sheet that the charts and tables need, for pages that are not made by :func:`html_page`."""
    return Markup(_templates().get_template("style.css.j2").render())  # noqa: S704  a constant file of this package


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _content(content: Content) -> Markup:
    if isinstance(content, str):
        content = [content]
    return join(part if isinstance(part, Markup) else element("p", escape(part)) for part in content)
