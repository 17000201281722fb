"""Rows per second of training steps: from Parquet, from arrays in memory, and the usual way."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path

from benchmarks.environments import packages
from benchmarks.training.claims import Claim, compared
from benchmarks.training.processes import FRAMEWORKS, request, run

__all__ = ["speed_claims"]

_GOALS = {(128, 64): "at least 0.8", (1024,): "at least 0.9"}
# The usual ways end sooner: they have rows for no more.
_WARM_UP_STEPS = 20
# Of ten times the rows, a quarter of an epoch.
_LARGE_STEPS = 300
# A row's cost is the same whatever the table's size, so few are taken the usual way.
_USUAL_STEPS = 12
_USUAL = {"pytorch": ("usual0", "usual2"), "tensorflow": ("usual0",)}
_USUAL_NAMES = {
    "pytorch": "a DataLoader over rows of pandas (0 or 2 workers, the faster)",
    "tensorflow": "tf.data.Dataset.from_generator over rows of pandas",
}


@dataclasses.dataclass(frozen=True)
class _Case:
    framework: str
    units: tuple[int, ...]
    size: str
    sources: tuple[str, ...]
    repetitions: int

    @property
    def name(self) -> str:
        kind = "usual" if self.sources[-1].startswith("usual") else "memory"
        return f"{self.framework} {self.size} {kind} {'-'.join(map(str, self.units))}"

    def turns(self) -> list[dict[str, object]]:
        """One source after the other, and then again; first of all a short epoch of each, which is not counted."""
        warm_up = [{**self._turn(source), "steps": _WARM_UP_STEPS} for source in self.sources]
        return warm_up + [self._turn(source) for _ in range(self.repetitions) for source in self.sources]

    def _turn(self, source: str) -> dict[str, object]:
        if source.startswith("usual"):
            return {"source": source, "steps": _USUAL_STEPS}
        return {"source": source, "steps": _LARGE_STEPS if self.size == "large" else 0}


def speed_claims(place: Path, quick: bool) -> list[Claim]:
    """Measures the speeds and prints a table of them; returns the claims."""
    listed = []
    print("| framework | hidden units | rows | source | epochs | rows/s (least to most) |\n|---|---|--:|---|--:|--:|")
    for framework in FRAMEWORKS:
        for units in _GOALS:
            for size in ("small", "large"):
                case = _Case(framework, units, size, ("parquet", "memory"), 1 if quick else 5)
                listed.append(_beside_memory(case, *_measured(case, place)))
            case = _Case(framework, units, "small", ("parquet", *_USUAL[framework]), 1 if quick else 3)
            listed.append(_beside_usual(case, *_measured(case, place)))
    return listed


def _measured(case: _Case, place: Path) -> tuple[int, dict[str, list[float]]]:
    """Returns the rows of the training split, and the speeds by source."""
    turns = case.turns()
    hyperparameters = {"epochs": len(turns), "hidden_units": case.units}
    file = request(place / "speed" / case.name.replace(" ", "-"), case.size, hyperparameters=hyperparameters)
    libraries = packages("datasets").absolute()
    said = run(case.name, case.framework, "speed_case", case.framework, file, json.dumps(turns), libraries)
    speeds: dict[str, list[float]] = {source: [] for source in case.sources}
    for source, speed in said["speeds"][len(case.sources) :]:
        speeds[source].append(speed)
    for source, found in speeds.items():
        print(
            f"| {case.framework} | {', '.join(map(str, case.units))} | {said['rows']:,} | {source} | {len(found)}"
            f" | {statistics.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f}) |",
            flush=True,
        )
    return said["rows"], speeds


def _beside_memory(case: _Case, rows: int, speeds: dict[str, list[float]]) -> Claim:
    text = f"{case.framework}, {_shown(case.units)}, {rows:,} rows: speed from Parquet to that of arrays in memory"
    return compared(text, "rows/s", speeds["parquet"], speeds["memory"], _GOALS[case.units])


def _beside_usual(case: _Case, rows: int, speeds: dict[str, list[float]]) -> Claim:
    faster = max(_USUAL[case.framework], key=lambda source: statistics.median(speeds[source]))
    text = f"{case.framework}, {_shown(case.units)}, {rows:,} rows: times faster than {_USUAL_NAMES[case.framework]}"
    return compared(text, "rows/s", speeds["parquet"], speeds[faster], "at least 5")


def _shown(units: tuple[int, ...]) -> str:
    return "hidden units " + " and ".join(map(str, units))
