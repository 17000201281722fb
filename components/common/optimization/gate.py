"""Whether an optimized model is good enough to be published."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.components.common.optimization.measurement import Measured
from shipway.components.common.optimization.settings import OptimizationRequest

__all__ = ["Check", "checks"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Check:
    """One bound and what it was held against.

    Attributes:
        bound: Its name.
        passed: Whether it holds.
        message: What was found and what is allowed.
    """

    bound: str
    passed: bool
    message: str


def checks(request: OptimizationRequest, before: Measured, after: Measured) -> tuple[Check, ...]:
    """Returns what the bounds say; a metric that gets better passes any."""
    loss, rise = before.roc_auc - after.roc_auc, after.log_loss - before.log_loss
    return (
        _check("max_loss_of_roc_auc", "ROC AUC", before.roc_auc, after.roc_auc, loss, request.max_loss_of_roc_auc),
        _check("max_rise_of_log_loss", "log loss", before.log_loss, after.log_loss, rise, request.max_rise_of_log_loss),
    )


def _check(bound: str, metric: str, before: float, after: float, worse: float, allowed: float) -> Check:
    passed = worse <= allowed + _ROUNDING
    changed = f"{metric} goes from {before:.5f} to {after:.5f}, by {after - before:+.5f}"
    return Check(bound, passed, f"{changed}; {bound} allows {'' if passed else 'only '}{allowed:g}")
