"""What the data looks like, and where it departs from its schema: a page, a few lines of Markdown, TFDV's own view."""

from __future__ import annotations

from shipway.components.data.validation.report.brief import markdown
from shipway.components.data.validation.report.page import render

__all__ = ["markdown", "render"]
