"""Faults as they happen to tables, each a function of a clean batch, a severity and a random generator.

``SHARES`` of the rows are changed unless a fault says otherwise. Which column is hit is drawn at random once for each
fault and data set, among those that the fault can happen to.
"""

from __future__ import annotations

from benchmarks.faults.injectors import columns, distributions, rows, texts, values  # noqa: F401  they register theirs
from benchmarks.faults.injectors.registry import FAULTS, SHARES, Batch, CannotHappen

__all__ = ["FAULTS", "SHARES", "Batch", "CannotHappen"]
