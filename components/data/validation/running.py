"""One check, run or not run, with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import CheckRun, Finding
from shipway.components.data.validation.settings import NEEDS, CheckSettings, CheckSpec

__all__ = ["run_check"]


def run_check(
    spec: CheckSpec, context: Context, settings: CheckSettings, find: Callable[[], Iterable[Finding]]
) -> CheckRun:
    """Runs a check unless it is off or something that it needs is not at hand."""
    if not settings.runs:
        return CheckRun(spec.name, settings.severity, not_run="off")
    if lacking := context.lacks(spec.needs):
        reason = "needs " + " and ".join(NEEDS[need] for need in lacking)
        return CheckRun(spec.name, settings.severity, not_run=reason)
    start = time.perf_counter()
    findings = tuple(find())
    return CheckRun(spec.name, settings.severity, findings, time.perf_counter() - start)
