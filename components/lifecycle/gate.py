"""The gate: whether a model is good enough to be released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Thresholds", "bless"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Thresholds:
    """What a model must reach; ``None`` asks for nothing.

    Attributes:
        min_auc: ROC AUC, 0 to 1, at least this.
        min_auc_gain_over_baseline: ROC AUC less that of chance (0.5), more than this.
        max_loss_vs_champion: How far the ROC AUC may lie below the champion's on the same rows, at most this.
    """

    min_auc: float | None = None
    min_auc_gain_over_baseline: float | None = None
    max_loss_vs_champion: float | None = None

    @classmethod
    def of_bounds(cls, min_auc: float, min_auc_gain_over_baseline: float, max_loss_vs_champion: float) -> Thresholds:
        """Returns the thresholds of a component's parameters, where a bound that nothing can miss asks for nothing.

        Pipelines on one machine know no null, so the parameters are numbers: at most 0, at most -1 and at least 1.
        """
        return cls(
            min_auc if min_auc > 0 else None,
            min_auc_gain_over_baseline if min_auc_gain_over_baseline > -1 else None,
            max_loss_vs_champion if max_loss_vs_champion < 1 else None,
        )


def bless(
    model_digest: str, thresholds: Thresholds, auc: float | None, baseline_auc: float, gain: float | None
) -> dict[str, Any]:
    """Returns the content of ``blessing.json``.

    Without a threshold that could be checked nothing is blessed: a gate that was never set must not open.

    Args:
        model_digest: Whom the blessing is for.
        thresholds: What is asked for.
        auc: The model's ROC AUC; ``None`` where the rows do not define one.
        baseline_auc: That of chance.
        gain: The model's ROC AUC less the champion's; ``None`` without a champion.
    """
    reasons = []
    if thresholds.min_auc is not None:
        reasons.append(_at_least("min_auc", "ROC AUC", auc, thresholds.min_auc))
    if thresholds.min_auc_gain_over_baseline is not None:
        above = None if auc is None else auc - baseline_auc
        reasons.append(_more_than("min_auc_gain_over_baseline", above, thresholds.min_auc_gain_over_baseline))
    checked = len(reasons)
    if thresholds.max_loss_vs_champion is not None:
        limit = thresholds.max_loss_vs_champion
        reasons.append(_undefined("max_loss_vs_champion", limit) if auc is None else _champion(gain, limit))
        checked += gain is not None or auc is None
    if not checked:
        reasons.append(_reason("thresholds", None, None, False, _nothing_checked(thresholds)))
    return {"blessed": all(r["passed"] for r in reasons), "model_digest": model_digest, "reasons": reasons}


def _at_least(check: str, what: str, value: float | None, threshold: float) -> dict[str, Any]:
    if value is None:
        return _undefined(check, threshold)
    passed = value >= threshold - _ROUNDING
    relation = "is at least" if passed else "is below"
    return _reason(check, threshold, value, passed, f"{what} {value:.4f} {relation} {threshold:g}")


def _more_than(check: str, value: float | None, threshold: float) -> dict[str, Any]:
    if value is None:
        return _undefined(check, threshold)
    passed = value > threshold + _ROUNDING
    relation = "more than" if passed else "not more than"
    return _reason(check, threshold, value, passed, f"ROC AUC gains {value:+.4f} over chance, {relation} {threshold:g}")


def _champion(gain: float | None, threshold: float) -> dict[str, Any]:
    check = "max_loss_vs_champion"
    if gain is None:
        return _reason(check, threshold, None, True, "there is no champion yet to compare with")
    passed = -gain <= threshold + _ROUNDING
    relation = "it may lose" if passed else "it may lose only"
    return _reason(
        check, threshold, -gain, passed, f"ROC AUC is {gain:+.4f} against the champion's; {relation} {threshold:g}"
    )


def _nothing_checked(thresholds: Thresholds) -> str:
    if thresholds.max_loss_vs_champion is not None:
        return "max_loss_vs_champion decides nothing without a champion; set min_auc or min_auc_gain_over_baseline"
    return "no thresholds are set: set min_auc, min_auc_gain_over_baseline or max_loss_vs_champion"


def _undefined(check: str, threshold: float) -> dict[str, Any]:
    return _reason(check, threshold, None, False, "ROC AUC is not defined: the evaluated rows have one class only")


def _reason(check: str, threshold: float | None, value: float | None, passed: bool, message: str) -> dict[str, Any]:
    return {"check": check, "threshold": threshold, "value": value, "passed": passed, "message": message}
