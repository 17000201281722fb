"""What the measurements are held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["Claim", "claim", "compared"]

Claim = dict[str, Any]


def compared(text: str, unit: str, ours: Sequence[float], reference: Sequence[float], goal: str = "") -> Claim:
    """Returns a claim of two medians.

    Args:
        text: What is claimed.
        unit: Of the samples.
        ours: The samples.
        reference: What they are compared with.
        goal: As :func:`claim` takes it.
    """
    samples = {"ours": list(ours), "reference": list(reference)}
    return claim(text, unit, statistics.median(ours), statistics.median(reference), goal, samples)


def claim(text: str, unit: str, ours: float, reference: float, goal: str, samples: dict[str, Any]) -> Claim:
    """Returns a claim.

    Args:
        text: What is claimed.
        unit: Of both numbers.
        ours: What was measured.
        reference: What it is compared with; where that is 0, the ratio is ``ours`` itself.
        goal: ``at least`` or ``at most`` and a number; "" for none.
        samples: What the numbers come from.
    """
    ratio = ours / reference if reference else ours
    how, _, limit = goal.rpartition(" ")
    met = None if not goal else ratio >= float(limit) if how == "at least" else ratio <= float(limit)
    return {
        "claim": text, "ours": ours, "reference": reference, "ratio": ratio, "goal": goal, "met": met, "unit": unit,
        "samples": samples,
    }  # fmt: skip
