"""Both branches of every check, at its boundary."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.components.lifecycle.gate import Thresholds, bless


def judged(
    thresholds: Thresholds, auc: float | None = 0.7, gain: float | None = None
) -> tuple[bool, list[dict[str, Any]]]:
    blessing = bless("sha256:a", thresholds, auc, 0.5, gain)
    assert blessing["model_digest"] == "sha256:a"
    return blessing["blessed"], blessing["reasons"]


@pytest.mark.parametrize(("auc", "blessed"), [(0.7, True), (0.699_999, False), (0.700_001, True), (0.0, False)])
def test_min_auc(auc: float, blessed: bool) -> None:
    verdict, (reason,) = judged(Thresholds(min_auc=0.7), auc)
    assert verdict is blessed
    assert (reason["check"], reason["threshold"], reason["value"], reason["passed"]) == ("min_auc", 0.7, auc, blessed)


@pytest.mark.parametrize(
    ("threshold", "auc", "blessed"),
    [(0.0, 0.5, False), (0.0, 0.500_001, True), (0.0, 0.4, False), (0.1, 0.6, False), (0.1, 0.600_001, True)],
)
def test_gain_over_baseline(threshold: float, auc: float, blessed: bool) -> None:
    verdict, (reason,) = judged(Thresholds(min_auc_gain_over_baseline=threshold), auc)
    assert verdict is blessed
    assert reason["value"] == pytest.approx(auc - 0.5)
    assert reason["passed"] is blessed


@pytest.mark.parametrize(
    ("gain", "blessed"), [(-0.005, True), (-0.005_001, False), (0.0, True), (0.2, True), (0.695 - 0.7, True)]
)
def test_loss_against_the_champion(gain: float, blessed: bool) -> None:
    verdict, (reason,) = judged(Thresholds(max_loss_vs_champion=0.005), gain=gain)
    assert verdict is blessed
    assert reason["value"] == pytest.approx(-gain)


def test_no_thresholds_is_no_blessing() -> None:
    verdict, (reason,) = judged(Thresholds(), auc=1.0, gain=0.5)
    assert verdict is False
    assert reason["check"] == "thresholds"
    assert "no thresholds are set" in reason["message"]


def test_a_champion_threshold_without_a_champion_is_none() -> None:
    verdict, reasons = judged(Thresholds(max_loss_vs_champion=0.005), auc=1.0)
    assert verdict is False
    assert [reason["passed"] for reason in reasons] == [True, False]
    assert "without a champion" in reasons[1]["message"]


def test_without_a_champion_the_other_checks_decide() -> None:
    thresholds = Thresholds(min_auc_gain_over_baseline=0, max_loss_vs_champion=0.005)
    assert judged(thresholds, auc=0.6)[0] is True
    assert judged(thresholds, auc=0.5)[0] is False


def test_one_failed_check_is_enough_and_all_are_told() -> None:
    thresholds = Thresholds(min_auc=0.6, min_auc_gain_over_baseline=0.3, max_loss_vs_champion=0.0)
    verdict, reasons = judged(thresholds, auc=0.7, gain=-0.1)
    assert verdict is False
    assert [(reason["check"], reason["passed"]) for reason in reasons] == [
        ("min_auc", True),
        ("min_auc_gain_over_baseline", False),
        ("max_loss_vs_champion", False),
    ]


@pytest.mark.parametrize("name", ["min_auc", "min_auc_gain_over_baseline", "max_loss_vs_champion"])
def test_an_undefined_auc_passes_nothing(name: str) -> None:
    verdict, (reason,) = judged(Thresholds(**{name: 0.0}), auc=None)
    assert verdict is False
    assert "not defined" in reason["message"]


def test_bounds_that_nothing_can_miss_are_no_thresholds() -> None:
    assert Thresholds.of_bounds(0, -1, 1) == Thresholds()
    assert Thresholds.of_bounds(0.001, -0.999, 0.999) == Thresholds(0.001, -0.999, 0.999)
    assert Thresholds.of_bounds(0, 0, 0.005) == Thresholds(None, 0, 0.005)
