"""What checks find, and how each of them ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["MOVED_SHOWN", "CheckRun", "Comparison", "Finding", "Moved", "as_json", "merge"]

MOVED_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Moved:
    """A category or bin whose share changed; both shares lie from 0 to 1."""

    bin: str
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One column measured against a baseline, whether or not it drifted.

    ``value`` is None where the columns cannot be compared; ``note`` then says why. A ``threshold`` of None means
    that the distance is shown but not judged, and ``note`` says why.
    """

    baseline: str
    feature: str
    measure: str
    value: float | None
    threshold: float | None
    moved: tuple[Moved, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """Something that a check found.

    Attributes:
        check: The check's name in the catalogue.
        severity: ``fail`` (an anomaly, which the gate counts) or ``warn``.
        feature: The column; empty for the whole dataset.
        short: A few words.
        description: A sentence with the numbers: what was found, and what was expected.
        value: What was measured, when that is one number.
        threshold: What ``value`` was held against.
        measure: What kind of number ``value`` is: ``psi`` or ``share of rows``, for instance.
        moved: The categories or bins that moved most, the farthest first, at most :data:`MOVED_SHOWN`.
        rows: How many rows were caught; None when the finding is not about rows.
        row_numbers: Which ones: sorted int64, counted from zero over the Dataset's files in order; row checks only.
    """

    check: str
    severity: str
    feature: str
    short: str
    description: str
    value: float | None = None
    threshold: float | None = None
    measure: str = ""
    moved: tuple[Moved, ...] = ()
    rows: int | None = None
    row_numbers: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class CheckRun:
    """How one check of the catalogue went; ``not_run`` says why it did not run, and is empty when it did."""

    name: str
    severity: str
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    not_run: str = ""


def as_json(value: Finding | Comparison) -> dict[str, Any]:
    """Returns the fields as ``anomalies.json`` holds them; row numbers stay behind."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name != "row_numbers"}
    return {**fields, "moved": [dataclasses.asdict(moved) for moved in value.moved]}


def merge(row_numbers: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the sorted union of several findings' row numbers."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *row_numbers]))
