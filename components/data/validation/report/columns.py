"""What the page says about each column: its values in every set of data, what is wrong, and how far it moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.components.data.validation.report.shapes import Column, distance_beyond_chance

__all__ = ["PREVIOUS", "SERVING", "THIS", "ColumnView", "DataSet", "column_views"]

THIS, PREVIOUS, SERVING = "this data", "previous", "serving"

_CHANGED = 0.05

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One set of data: its name on the page, and its ``distributions.json``."""

    name: str
    distributions: Json

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.distributions["rows"])

    def column(self, name: str) -> Column | None:
        """Returns what is known of a column; None when the set lacks it."""
        found: Column | None = self.distributions["columns"].get(name)
        return found

    def missing(self, name: str) -> float | None:
        """Returns a column's share of missing values."""
        column = self.column(name)
        return int(column["missing"]) / self.rows if column and self.rows else None


@dataclasses.dataclass(frozen=True)
class ColumnView:
    """One column as the page shows it.

    Attributes:
        place: Its number, unique on the page.
        name: The column's name.
        summary: Its part of ``summary.json``; empty for a column that this data lacks.
        sets: The sets of data, this one first.
        findings: What checks found, failures first.
        comparisons: Its measured distances.
        moved: The share of rows whose value moved, beyond what chance explains, from 0 to 1;
            1 for a column that is new or gone, but not for one that serving data lacks, as it lacks the label.
    """

    place: int
    name: str
    summary: Json
    sets: Sequence[DataSet]
    findings: Sequence[Json]
    comparisons: Sequence[Json]
    moved: float

    @property
    def columns(self) -> list[Column | None]:
        """The column in every set; None where a set lacks it."""
        return [data.column(self.name) for data in self.sets]

    @property
    def missing(self) -> list[float | None]:
        """Its share of missing values in every set."""
        return [data.missing(self.name) for data in self.sets]

    @property
    def status(self) -> str:
        """What is to be said when a set lacks the column: ``new``, ``gone`` or ``not in serving``; else empty."""
        if not self.summary:
            return "gone"
        lacking = [data.name for data in self.sets[1:] if data.column(self.name) is None]
        return "" if not lacking else "new" if PREVIOUS in lacking else f"not in {SERVING}"

    @property
    def worst(self) -> str:
        """The severity of its worst finding: ``fail``, ``warn`` or empty."""
        return str(self.findings[0]["severity"]) if self.findings else ""

    @property
    def changed(self) -> bool:
        """Whether it moved by 5 % of its values or more, or farther than a threshold allows."""
        return self.moved >= _CHANGED or any(map(_exceeds, self.comparisons))


def column_views(summary: Json, anomalies: Json, sets: Sequence[DataSet]) -> list[ColumnView]:
    """Returns the columns in the order in which a reader wants them: the strongest change first, then the worst.

    Args:
        summary: What ``summary.json`` holds.
        anomalies: What ``anomalies.json`` holds.
        sets: This data, and what it is held against.
    """
    summaries = {column["name"]: column for column in summary["columns"]}
    names = dict.fromkeys([*summaries, *(name for data in sets for name in data.distributions["columns"])])
    findings = _by_feature(anomalies["anomalies"])
    comparisons = _by_feature(anomalies.get("comparisons", []))
    views = []
    for place, name in enumerate(names):
        found = sorted(findings.get(name, []), key=lambda finding: str(finding["severity"]))
        moved = max((_moved(name, sets[0], other) for other in sets[1:]), default=0.0)
        views.append(ColumnView(place, name, summaries.get(name, {}), sets, found, comparisons.get(name, []), moved))
    return sorted(views, key=lambda view: (-view.moved, {"fail": 0, "warn": 1}.get(view.worst, 2), view.place))


def _exceeds(comparison: Json) -> bool:
    value, threshold = comparison["value"], comparison["threshold"]
    return value is not None and threshold is not None and value > threshold


def _by_feature(entries: Sequence[Json]) -> dict[str, list[Json]]:
    grouped: dict[str, list[Json]] = {}
    for entry in entries:
        grouped.setdefault(str(entry["feature"]), []).append(entry)
    return grouped


def _moved(name: str, now: DataSet, before: DataSet) -> float:
    columns = now.column(name), before.column(name)
    if columns[0] is None:
        return 1.0
    if columns[1] is None:
        return float(before.name == PREVIOUS)
    return distance_beyond_chance(columns[0], columns[1], (now.rows, before.rows))
