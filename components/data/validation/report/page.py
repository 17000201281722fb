"""The page as one file: nothing is fetched, and without scripts all of it is still there."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shipway.components.common.reports import number, percent, style_sheet
from shipway.components.data.validation.report.columns import PREVIOUS, SERVING, THIS, ColumnView, DataSet, column_views
from shipway.components.data.validation.report.distributions import distributions_section, place_of
from shipway.components.data.validation.report.findings import anomalies_section, checks_section, counts
from shipway.components.data.validation.report.samples import quarantine_section
from shipway.components.data.validation.report.words import counted

__all__ = ["Verdict", "render", "verdict_of"]

Json = Mapping[str, Any]

_MOVED = (
    "Moved: the share of rows whose value changed, beyond what chance explains (numbers: largest gap of the "
    "cumulative shares; text: total variation; missing values count). A line opens to the whole."
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether the data passed: a class of the style sheet, a mark, a few words, and a sentence."""

    style: str
    mark: str
    words: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class _Tile:
    name: str
    value: str
    note: str = ""
    style: str = ""


@dataclasses.dataclass(frozen=True)
class _Section:
    title: str
    content: Markup
    count: str = ""
    about: str = ""

    @property
    def id(self) -> str:
        return self.title.lower()


def render(
    anomalies: Json,
    summary: Json,
    distributions: Json,
    previous_distributions: Json | None = None,
    serving_distributions: Json | None = None,
    quarantined: Sequence[Json] = (),
) -> str:
    """Returns the page as HTML, the same bytes for the same arguments.

    Args:
        anomalies: What ``anomalies.json`` holds; with an empty ``on_anomaly`` nothing was judged, and the page only
            describes.
        summary: What ``summary.json`` holds.
        distributions: What ``distributions.json`` holds.
        previous_distributions: The same of earlier data.
        serving_distributions: The same of serving data.
        quarantined: Lines of the quarantine, as samples: ``quarantine_row``, ``quarantine_rule``,
            ``quarantine_column``, ``quarantine_value`` and the row's own columns. Rows are shown up to 4,000 cells.
    """
    given = ((THIS, distributions), (PREVIOUS, previous_distributions), (SERVING, serving_distributions))
    sets = [DataSet(name, found) for name, found in given if found is not None]
    views = column_views(summary, anomalies, sets)
    return _templates().get_template("page.html.j2").render(
        heading="Data validation" if anomalies["on_anomaly"] else "Data",
        verdict=verdict_of(anomalies),
        tiles=_tiles(anomalies, sets, views),
        sections=_sections(anomalies, sets, views, quarantined),
        style=style_sheet(),
        script=_script(),
        policy=_policy(),
    )  # fmt: skip


def verdict_of(anomalies: Json) -> Verdict:
    """Returns whether the data passed, and why.

    Args:
        anomalies: What ``anomalies.json`` holds.
    """
    found, policy = counts(anomalies["anomalies"]), anomalies["on_anomaly"]
    if not policy:
        return Verdict("calm", "·", "described", "What is in the data; nothing was checked.")
    failed = any(finding["severity"] == "fail" for finding in anomalies["anomalies"])
    quarantine = anomalies.get("quarantine")
    if anomalies["rejected"]:
        return Verdict("bad", "✕", "rejected", f"{found}; on_anomaly={policy} lets nothing of this data go on.")
    if not found:
        return Verdict("good", "✓", "passed", "The data looks as its schema and its checks say.")
    if failed and quarantine and quarantine["rows"]:
        rest = f"{counted(quarantine['rows'], 'row')} set aside in quarantine; the others go on."
        return Verdict("warn", "!", "passed with warnings", f"{found}; {rest}")
    reason = f"on_anomaly={policy} lets the data go on." if failed else "warnings stop nothing."
    return Verdict("warn", "!", "passed with warnings", f"{found}; {reason}")


def _tiles(anomalies: Json, sets: Sequence[DataSet], views: Sequence[ColumnView]) -> list[_Tile]:
    rows = ", ".join(f"{data.name} {number(data.rows)}" for data in sets[1:])
    changed = f"{number(sum(view.changed for view in views))} changed" if len(sets) > 1 else ""
    present = sum(bool(view.summary) for view in views)
    tiles = [_Tile("Rows", number(int(anomalies["rows"])), rows), _Tile("Columns", number(present), changed)]
    severities = (("fail", "Failures", "bad"), ("warn", "Warnings", "warn")) if anomalies["on_anomaly"] else ()
    for severity, name, style in severities:
        where = [finding["feature"] for finding in anomalies["anomalies"] if finding["severity"] == severity]
        columns = len({feature for feature in where if feature})
        note = f"in {counted(columns, 'column')}" if columns else ""
        tiles.append(_Tile(name, number(len(where)), note, style if where else "good"))
    if quarantine := anomalies.get("quarantine"):
        share = percent(quarantine["rows"] / anomalies["rows"]) if anomalies["rows"] else ""
        tiles.append(_Tile("Quarantined rows", number(quarantine["rows"]), share and f"{share} of the rows"))
    if checks := anomalies.get("checks"):
        ran = sum(not check["not_run"] for check in checks)
        tiles.append(_Tile("Checks run", number(ran), f"of {len(checks)}"))
    return tiles


def _sections(
    anomalies: Json, sets: Sequence[DataSet], views: Sequence[ColumnView], quarantined: Sequence[Json]
) -> list[_Section]:
    findings, checks = anomalies["anomalies"], anomalies.get("checks", [])
    places = {view.name: place_of(view) for view in views}
    sections = []
    if anomalies["on_anomaly"]:
        shown = anomalies_section(findings, anomalies.get("comparisons", []), places)
        sections.append(_Section("Anomalies", shown, number(len(findings))))
    if quarantine := anomalies.get("quarantine"):
        rows = quarantine_section(quarantine, quarantined, findings)
        about = "A line opens to the whole row and why it was caught."
        sections.append(_Section("Quarantine", rows, number(quarantine["rows"]), about))
    about = _MOVED if len(sets) > 1 else "A line opens to the whole."
    sections.append(_Section("Columns", distributions_section(views, sets), number(len(views)), about))
    if checks:
        sections.append(_Section("Checks", checks_section(checks), number(len(checks))))
    return sections


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _script() -> Markup:
    return Markup(_templates().get_template("page.js.j2").render())  # noqa: S704  a constant file of this package


@cache
def _policy() -> str:
    """Returns what the browser may do: run this page's one script, and fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
