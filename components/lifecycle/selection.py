"""Which of the candidates is released."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import new_directory, read_json
from shipway.components.common.errors import DataRejected
from shipway.components.common.model import read_model

__all__ = ["select_model"]


def select_model(
    candidates: Mapping[str, tuple[str | Path, str | Path]],
    model: str | Path,
    evaluation: str | Path,
    require_blessing: bool,
) -> str:
    """Copies the blessed candidate with the highest ROC AUC on the validation split.

    Of equals it is the one with the lower log loss there, then the first. The test split only judges: choosing by it
    would make the winner's own figures look better than they are.

    Args:
        candidates: Model and Evaluation directories by name.
        model: Where to copy the model; an empty directory when none is blessed.
        evaluation: Where to copy its evaluation; likewise.
        require_blessing: Whether it is an error that none is blessed.

    Returns:
        The candidate's name; empty when none is blessed.

    Raises:
        DataRejected: With every reason, when none is blessed and one is required.
    """
    blessings = {name: read_json(Path(judged) / "blessing.json") for name, (_, judged) in candidates.items()}
    blessed = [name for name, blessing in blessings.items() if blessing["blessed"]]
    if not blessed:
        if require_blessing:
            raise DataRejected(f"no model is blessed, and require_blessing is set: {_reasons(blessings)}")
        for target in (model, evaluation):
            with new_directory(target):
                pass
        return ""
    best = max(blessed, key=lambda name: _quality(candidates[name][0]))
    for source, target in zip(candidates[best], (model, evaluation), strict=True):
        with new_directory(target) as directory:
            shutil.copytree(source, directory, dirs_exist_ok=True)
    return best


def _quality(model: str | Path) -> tuple[float, float]:
    metrics = read_model(model).metrics
    auc, loss = metrics.get("validation_roc_auc"), metrics.get("validation_log_loss")
    # A validation split of one class defines no AUC.
    return (-math.inf if auc is None else auc), (-math.inf if loss is None else -loss)


def _reasons(blessings: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: {reason['message']}"
        for name, blessing in blessings.items()
        for reason in blessing["reasons"]
        if not reason["passed"]
    )
