"""The verdict in a few lines of Markdown, for the pipeline's UI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shipway.components.common.reports import number
from shipway.components.data.validation.report.page import verdict_of
from shipway.components.data.validation.report.words import counted, shown

__all__ = ["markdown"]

_SHOWN = 20
_SENTENCE = 200

Json = Mapping[str, Any]


def markdown(anomalies: Json, summary: Json) -> str:
    """Returns the verdict, the numbers, and up to 20 anomalies, failures first.

    Args:
        anomalies: What ``anomalies.json`` holds.
        summary: What ``summary.json`` holds.
    """
    verdict = verdict_of(anomalies)
    size = f"{counted(anomalies['rows'], 'row')}, {counted(len(summary['columns']), 'column')}"
    lines = [f"## Data validation: {verdict.words}", "", f"{_plain(verdict.sentence)} {size}."]
    findings = sorted(anomalies["anomalies"], key=lambda finding: (finding["severity"], finding["feature"]))
    if findings:
        lines += ["", "| severity | column | check | what was found |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(_cells(finding))} |" for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        lines += ["", f"{number(len(findings) - _SHOWN)} more are in the report."]
    return "\n".join(lines) + "\n"


def _cells(finding: Json) -> list[str]:
    column = finding["feature"] or "(all)"
    text = f"{finding['short']}: {finding['description'].strip()}"
    return [_plain(shown(part, _SENTENCE)) for part in (finding["severity"], column, finding["check"], text)]


def _plain(text: str) -> str:
    """Returns text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&$])", r"\\\1", text)
