"""The evaluation as a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.components.common import reports
from shipway.components.common.reports.page import Content

__all__ = ["evaluation_page"]


def evaluation_page(metrics: Mapping[str, Any], blessing: Mapping[str, Any]) -> str:
    """Returns the HTML page of an Evaluation."""
    model = metrics["model"]
    matrix = metrics["confusion_matrix"]
    curves = [*metrics["roc_curves"]]
    if len(curves) == 1:
        curves = [{**curves[0], "roc_auc": metrics["overall"]["roc_auc"]}]
    sections: list[tuple[str, Content]] = [
        ("Verdict", _verdict(blessing)),
        ("Metrics", _overall(metrics)),
        ("Curves", [reports.roc_chart(curves), reports.confusion_matrix(matrix["labels"], matrix["matrix"])]),
    ]
    if metrics["slices"] or metrics["slices_left_out"]:
        sections.append(("Slices", _slices(metrics)))
    subtitle = f"{model['framework']}, {reports.number(metrics['rows'])} test rows, {model['digest']}"
    return reports.html_page(f"Evaluation of {model['name']}", sections, subtitle=subtitle)


def _verdict(blessing: Mapping[str, Any]) -> Content:
    headline = "Blessed: it may be released." if blessing["blessed"] else "Not blessed: it may not be released."
    rows = [["passed" if r["passed"] else "failed", r["check"], r["message"]] for r in blessing["reasons"]]
    return [headline, reports.table(["", "check", "why"], rows)]


def _overall(metrics: Mapping[str, Any]) -> Content:
    rows = [
        [_title(name), reports.interval(metric), metrics["baseline"][name], metrics["interval_methods"][name]]
        for name, metric in metrics["overall"].items()
    ]
    shown: list[Any] = [reports.table(["metric", "value (95 % interval)", "chance", "interval"], rows)]
    if champion := metrics["champion"]:
        difference = [[reports.interval(champion["roc_auc"]), reports.interval(champion["gain"]), champion["digest"]]]
        headers = ["champion's ROC AUC", "gain over it (paired interval)", "champion"]
        shown.append(reports.table(headers, difference))
    return shown


def _slices(metrics: Mapping[str, Any]) -> Content:
    overall = metrics["overall"]["roc_auc"]
    rows = [("all rows", overall)]
    rows += [(f"{s['column']} = {s['value']} ({s['rows']:,})", s["metrics"]["roc_auc"]) for s in metrics["slices"]]
    omitted = [
        f"{entry['column']}: {entry['values']:,} values left out: few rows, one class, or not among the largest."
        for entry in metrics["slices_left_out"]
    ]
    return [reports.interval_chart(rows, title="ROC AUC by slice", reference=overall["value"]), *omitted]


def _title(name: str) -> str:
    return name.replace("_", " ").replace("roc auc", "ROC AUC").replace("pr auc", "PR AUC").replace("brier", "Brier")
