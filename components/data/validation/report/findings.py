"""What is wrong, the worst first, and what every check did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports import compared_bars, duration, element, join, number, percent
from shipway.components.data.validation.report.words import counted, shown

__all__ = ["anomalies_section", "checks_section", "counts"]

_SHOWN_GROUPS, _OPEN_GROUPS = 300, 12
_STYLES = {"fail": "bad", "warn": "warn"}
_SENTENCE = 1200

Json = Mapping[str, Any]
Baselines = Mapping[tuple[str, str, float], str]
"""What a column was held against, by column, measure and value."""


def counts(findings: Sequence[Json]) -> str:
    """Returns ``2 failures, 1 warning``."""
    parts = []
    for severity, noun in (("fail", "failure"), ("warn", "warning")):
        if count := sum(finding["severity"] == severity for finding in findings):
            parts.append(counted(count, noun))
    return ", ".join(parts)


def anomalies_section(findings: Sequence[Json], comparisons: Sequence[Json], places: Mapping[str, str]) -> Markup:
    """Returns the findings by column: columns with failures first, the first dozen of them open.

    Args:
        findings: ``anomalies`` of ``anomalies.json``.
        comparisons: ``comparisons`` of the same.
        places: The anchor of every column that the page shows.
    """
    if not findings:
        return element("p", "None: the data looks as its schema and its checks say.")
    baselines = {(c["feature"], c["measure"], c["value"]): str(c["baseline"]) for c in comparisons}
    groups: dict[str, list[Json]] = {}
    for finding in sorted(findings, key=_rank):
        groups.setdefault(str(finding["feature"]), []).append(finding)
    shown_groups = list(groups.items())[:_SHOWN_GROUPS]
    parts = [
        _group(feature, group, baselines, places.get(feature), is_open=index < _OPEN_GROUPS)
        for index, (feature, group) in enumerate(shown_groups)
    ]
    if len(groups) > _SHOWN_GROUPS:
        left_out = counted(len(groups) - _SHOWN_GROUPS, "more column")
        parts.append(element("p", f"{left_out} with anomalies are left out here; anomalies.json has them."))
    return join(parts)


def checks_section(checks: Sequence[Json]) -> Markup:
    """Returns one line per check: those with findings first, those that did not run last.

    Args:
        checks: ``checks`` of ``anomalies.json``.
    """
    heads = ("check", "severity", "result", "time")
    styles = dict.fromkeys(heads) | {"time": "number"}
    head = element("tr", *(element("th", name, scope="col", class_=styles[name]) for name in heads))
    ranked = sorted(checks, key=lambda c: (bool(c["not_run"]), not c["findings"], c["severity"], c["name"]))
    lines = [
        element(
            "tr",
            element("th", element("code", shown(check["name"])), scope="row"),
            element("td", check["severity"]),
            _result(check),
            element("td", _time(check), class_="number"),
            class_="idle" if check["not_run"] else None,
        )
        for check in ranked
    ]
    shown_table = element("table", element("thead", head), element("tbody", *lines), class_="checks")
    return element("div", shown_table, class_="scroll", tabindex="0")


def _rank(finding: Json) -> tuple[str, float, str]:
    value, threshold = finding.get("value"), finding.get("threshold")
    excess = value / threshold if value is not None and threshold else 0.0
    return str(finding["severity"]), -excess, str(finding["feature"])


def _group(feature: str, group: Sequence[Json], baselines: Baselines, place: str | None, *, is_open: bool) -> Markup:
    name = element("b", shown(feature) if feature else "The whole dataset")
    summary = element("summary", name, element("small", counts(group)))
    link = element("a", "See its distribution", href=f"#{place}") if place else None
    style = f"group {_STYLES[group[0]['severity']]}"
    body = (_finding(finding, baselines) for finding in group)
    return element("details", summary, *body, link, class_=style, open=is_open)


def _finding(finding: Json, baselines: Baselines) -> Markup:
    severity = str(finding["severity"])
    head = [
        element("em", severity, class_=_STYLES[severity]),
        element("b", shown(finding["short"])),
        element("code", shown(finding["check"])),
    ]
    if finding.get("rows") is not None:
        head.append(element("span", counted(finding["rows"], "row"), class_="muted"))
    body = element("p", shown(finding["description"].strip(), _SENTENCE)) if finding["description"] else None
    measured = [part for part in (_gauge(finding), _moved(finding, baselines)) if part is not None]
    measures = element("div", *measured, class_="measures") if measured else None
    return element("article", element("h3", *head), body, measures, class_=f"finding {_STYLES[severity]}")


def _gauge(finding: Json) -> Markup | None:
    value, threshold = finding.get("value"), finding.get("threshold")
    if value is None or threshold is None:
        return None
    end = max(value, threshold, 0.0) or 1.0
    write = percent if finding["measure"].startswith("share") else number
    text = element("span", element("b", write(value)), f" {shown(finding['measure'])}, threshold {write(threshold)}")
    reached = [
        element("i", style=f"width:{max(size, 0.0) / end * 100:.1f}%") for size in (value, min(value, threshold))
    ]
    mark = element("u", style=f"left:{max(threshold, 0.0) / end * 100:.1f}%")
    return element("div", text, element("span", *reached, mark, class_="track", aria_hidden="true"), class_="gauge")


def _moved(finding: Json, baselines: Baselines) -> Markup | None:
    if not finding.get("moved"):
        return None
    baseline = baselines.get((finding["feature"], finding["measure"], finding["value"]), "before")
    rows = [(shown(moved["bin"]), (moved["after"], moved["before"])) for moved in finding["moved"]]
    return compared_bars(rows, ("this data", shown(baseline)), of="what moved most")


def _time(check: Json) -> str:
    if check["not_run"]:
        return ""
    return "< 0.1 s" if check["seconds"] < 0.05 else duration(check["seconds"])


def _result(check: Json) -> Markup:
    if check["not_run"]:
        return element("td", f"not run: {shown(check['not_run'])}")
    if check["findings"]:
        style = _STYLES.get(check["severity"], "warn")
        return element("td", counted(check["findings"], "finding"), class_=style)
    return element("td", "✓ nothing found", class_="good")
