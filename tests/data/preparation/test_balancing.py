from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import balance
from shipway.components.data.preparation.notes import Notes
from shipway.components.data.tables import read_dataset

from .conftest import parts


@pytest.mark.parametrize("imbalance", ["weights", "smote", "undersample"])
def test_validation_and_test_keep_their_bytes(prepare, split_cancer, imbalance):
    plain, _, _ = prepare(split_cancer, "plain", label="benign")
    balanced, out, _ = prepare(split_cancer, label="benign", imbalance=imbalance)
    for split in ("validation", "test"):
        if imbalance == "weights":
            assert set(out[split]["sample_weight"].to_pylist()) == {1.0}
        else:
            assert balanced[split]["digest"] == plain[split]["digest"]
    assert balanced["train"]["digest"] != plain["train"]["digest"]


def test_synthetic_rows_lie_between_training_neighbours(prepare, split_cancer):
    """Each lies on the way from one training row of its class to one of that row's five nearest."""
    _, out, _ = prepare(split_cancer, label="benign", imbalance="smote")
    before = read_dataset(split_cancer["train"])
    features = [name for name in before.column_names if name != "benign"]
    real = np.column_stack([before[name].to_numpy() for name in features])[before["benign"].to_numpy() == 0]
    added = out["train"].slice(before.num_rows)
    assert set(added["benign"].to_pylist()) == {0}
    distances = np.linalg.norm(real[:, None] - real[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1:6]
    starts = np.repeat(real, 5, axis=0)
    ways = real[nearest].reshape(-1, len(features)) - starts
    for row in np.column_stack([added[name].to_numpy() for name in features]):
        gone = np.clip(((row - starts) * ways).sum(axis=1) / (ways**2).sum(axis=1), 0, 1)
        assert np.abs(starts + gone[:, None] * ways - row).max(axis=1).min() < 1e-6


@pytest.mark.parametrize("strings", [True, False])
def test_synthetic_rows_know_nothing_of_other_splits(prepare, strings):
    train = {"x": [float(i % 17) for i in range(100)], "s": ["ab"[i % 2] for i in range(100)], "y": [0] * 80 + [1] * 20}
    rest = {"x": [1e6 + i for i in range(100)], "s": ["cd"[i % 2] for i in range(100)], "y": [0] * 50 + [1] * 50}
    if not strings:
        train.pop("s"), rest.pop("s")
    _, out, _ = prepare(parts(train, rest), label="y", imbalance="smote")
    assert out["train"].num_rows == 160
    assert max(out["train"]["x"].to_pylist()) <= 16
    if strings:
        assert set(out["train"]["s"].to_pylist()) == {"a", "b"}


@pytest.mark.parametrize(
    ("columns", "rare", "message"),
    [
        ({"x": np.arange(250_000.0)}, 110_000, "one has 110,000 rows .at most 100,000.; choose imbalance=weights"),
        (
            {"x": np.arange(40_000.0), "tail": [f"N{i % 4000}" for i in range(40_000)], "s": ["a", "b"] * 20_000},
            3000,
            "about 8 GB of memory for 40,000 rows and 4,002 different strings .4,000 of them in 'tail'",
        ),
        ({"s": ["a", "b"] * 25_000}, 20_000, "about 6 GB of memory for 50,000 rows"),
    ],
)
def test_smote_refuses_what_would_not_fit(columns, rare, message):
    rows = len(next(iter(columns.values())))
    table = pa.table({**columns, "y": [1] * rare + [0] * (rows - rare)})
    with pytest.raises(InputError, match=message):
        balance({"train": table}, "y", "smote", 0, Notes({}))


def test_smote_of_equal_classes_adds_nothing(prepare):
    table = {"x": range(100), "s": ["a", "b"] * 50, "y": [0, 0, 1, 1] * 25}
    _, out, summary = prepare(parts(table), label="y", imbalance="smote")
    assert out["train"].num_rows == 100
    assert "added 0 synthetic rows" in summary
