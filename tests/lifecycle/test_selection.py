"""Which of two candidates is chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from serving_support import FIXTURES

from shipway.components.common.errors import DataRejected
from shipway.components.lifecycle.selection import select_model


def judged(root: Path, name: str, blessed: bool, auc: float | None, loss: float = 0.5) -> tuple[Path, Path]:
    model, evaluation = root / name / "model", root / name / "evaluation"
    shutil.copytree(FIXTURES / "binary", model)
    (model / "name").write_text(name)
    description = json.loads((model / "model.json").read_text())
    description["metrics"] = {"validation_roc_auc": auc, "validation_log_loss": loss}
    (model / "model.json").write_text(json.dumps(description))
    evaluation.mkdir()
    reason = {"passed": blessed, "message": f"{name} reason"}
    (evaluation / "blessing.json").write_text(json.dumps({"blessed": blessed, "reasons": [reason]}))
    # On the test split it is the other way round, which must not matter.
    metrics = {"overall": {"roc_auc": {"value": 1 - (auc or 0)}, "log_loss": {"value": 1 - loss}}}
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    return model, evaluation


@pytest.mark.parametrize(
    ("tensorflow", "pytorch", "expected"),
    [
        ((True, 0.7), (True, 0.8), "pytorch"),
        ((True, 0.8), (True, 0.7), "tensorflow"),
        ((False, 0.9), (True, 0.6), "pytorch"),
        ((True, 0.6), (False, 0.9), "tensorflow"),
        ((True, 0.7, 0.5), (True, 0.7, 0.4), "pytorch"),
        ((True, 0.7, 0.5), (True, 0.7, 0.5), "tensorflow"),
        ((True, None), (True, 0.6), "pytorch"),
        ((False, 0.9), (False, 0.9), ""),
    ],
)
def test_selection(tmp_path: Path, tensorflow: Any, pytorch: Any, expected: str) -> None:
    candidates = {
        "tensorflow": judged(tmp_path, "tensorflow", *tensorflow),
        "pytorch": judged(tmp_path, "pytorch", *pytorch),
    }
    assert select_model(candidates, tmp_path / "model", tmp_path / "evaluation", require_blessing=False) == expected
    chosen = tmp_path / "model" / "name"
    assert (chosen.read_text() if chosen.exists() else "") == expected
    assert (tmp_path / "evaluation" / "blessing.json").exists() is bool(expected)


def test_selection_with_a_blessing_required(tmp_path: Path) -> None:
    candidates = {name: judged(tmp_path, name, False, 0.9) for name in ("tensorflow", "pytorch")}
    with pytest.raises(DataRejected, match="tensorflow: tensorflow reason; pytorch: pytorch reason"):
        select_model(candidates, tmp_path / "model", tmp_path / "evaluation", require_blessing=True)
    assert not (tmp_path / "model").exists()
