"""Whether tuned hyperparameters are better than the given ones, on flights of later months that no trial saw."""

from __future__ import annotations

from pathlib import Path

from benchmarks.training.claims import Claim, claim
from benchmarks.training.processes import datasets, request, run

__all__ = ["tuning_claims"]

_TRIALS, _SECONDS = 20, 480


def tuning_claims(place: Path, quick: bool) -> list[Claim]:
    """Tunes with PyTorch; returns the claim."""
    file = request(place / "tuning", "train", hyperparameters={"epochs": 2 if quick else 5})
    trials = 3 if quick else _TRIALS
    test, study = datasets() / "test", place / "tuning" / "study"
    said = run("tuning", "pytorch", "tuning_case", "pytorch", file, test, study, str(trials), str(_SECONDS))
    found, states = said["comparison"], said["states"]
    print(
        f"tuning, {len(states)} trials ({states.count('pruned')} pruned): ROC AUC {found['roc_auc']:.4f} on"
        f" {found['rows']:,} held-out rows, {found['other_roc_auc']:.4f} with the default hyperparameters; difference"
        f" {found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}, {found['interval']}):"
        f" {found['verdict']}; {said['best']}"
    )
    text = f"pytorch, tuned in {len(states)} trials: held-out ROC AUC to that of the default hyperparameters"
    return [claim(text, "ROC AUC", found["roc_auc"], found["other_roc_auc"], "", said)]
