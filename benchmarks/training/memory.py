"""The most memory that a training holds: in all, and until its model is exported."""

from __future__ import annotations

from pathlib import Path

from benchmarks.training.claims import Claim, compared
from benchmarks.training.processes import FRAMEWORKS, request, run

__all__ = ["memory_claims"]

_SPANS = {"whole": "a whole training", "learning": "a training until its export"}


def memory_claims(place: Path, _quick: bool) -> list[Claim]:
    """Measures the memory, which hardly differs from run to run; returns the claims."""
    listed = []
    for framework in FRAMEWORKS:
        peaks = {}
        for size in ("small", "large"):
            file = request(place / "memory" / f"{framework}-{size}", size, hyperparameters={"epochs": 1})
            peaks[size] = run(f"{framework} {size} memory", framework, "whole_case", framework, file)
        for span, name in _SPANS.items():
            text = f"{framework}: peak memory of {name} at ten times the rows to that at one time"
            large, small = [peaks["large"][span]], [peaks["small"][span]]
            listed.append(compared(text, "MiB", large, small, "at most 1.2"))
    return listed
