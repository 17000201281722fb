"""The report of a run: one HTML file with everything a person wants to know of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shipway.pipelines.report.view import render

__all__ = ["write_report"]


def write_report(run: dict[str, Any], path: str | Path) -> None:
    """Writes the report of a run, replacing the file at once.

    The file stands alone (no scripts, nothing fetched) and is the same, byte for byte, for the same run and artifacts.

    Args:
        run: Content of ``run.json``; see :func:`shipway.pipelines.records.run_record`. Its tasks' artifacts are read
            where their URIs are paths of this machine; whatever is absent is left out.
        path: Where to write, usually ``report.html`` beside ``run.json``.
    """
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    aside.write_text(render(run), encoding="utf-8")
    aside.replace(target)
