"""The baselines on real data that scikit-learn ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from shipway.components.common.errors import InputError
from shipway.components.lifecycle.baselines import train_baselines


def splits(root: Path, columns: dict[str, Any], **extra: Any) -> list[Path]:
    """Every third row to each split."""
    table = pa.table(columns)
    paths = []
    for index, name in enumerate(("train", "validation", "test")):
        (root / name).mkdir(parents=True)
        part = table.take(list(range(index, table.num_rows, 3)))
        if name == "train":
            for column, values in extra.items():
                part = part.append_column(column, values(part))
        pq.write_table(part, root / name / "part-00000.parquet")
        paths.append(root / name)
    return paths


def columns_of(loader: Callable[[], Any], classes: list[str]) -> dict[str, Any]:
    data = loader()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    return {**dict(zip(names, data.data.T, strict=True)), "label": [classes[t] for t in data.target]}


def aucs(result: dict[str, Any]) -> dict[str, float]:
    return {entry["name"]: entry["overall"]["roc_auc"]["value"] for entry in result["baselines"]}


def test_two_classes(tmp_path: Path) -> None:
    paths = splits(tmp_path, columns_of(load_breast_cancer, ["malignant", "benign"]))
    result = train_baselines(*paths, tmp_path / "baselines", "label", seed=0)
    assert json.loads((tmp_path / "baselines/metrics.json").read_text()) == result
    assert list(aucs(result)) == ["hist_gradient_boosting", "logistic_regression"]
    assert min(aucs(result).values()) > 0.97
    entry = result["baselines"][0]
    assert set(entry) == {"name", "title", "overall", "roc_curves"}
    assert [curve["label"] for curve in entry["roc_curves"]] == ["malignant"]
    assert train_baselines(*paths, tmp_path / "again", "label", seed=0) == result


def test_several_classes_and_missing_values(tmp_path: Path) -> None:
    columns = columns_of(load_wine, ["a", "b", "c"])
    columns["alcohol"] = pa.array([None if i % 5 == 0 else v for i, v in enumerate(columns["alcohol"])])
    result = train_baselines(*splits(tmp_path, columns), tmp_path / "baselines", "label", seed=0)
    assert min(aucs(result).values()) > 0.97
    assert len(result["baselines"][1]["roc_curves"]) == 3


def test_a_vector_is_as_many_numbers(tmp_path: Path) -> None:
    data = load_digits(n_class=3)
    columns = {"image": list(data.data), "digit": data.target}
    result = train_baselines(*splits(tmp_path / "lists", columns), tmp_path / "one", "digit", seed=0)
    assert min(aucs(result).values()) > 0.98
    pixels = {f"pixel_{i}": values for i, values in enumerate(np.transpose(columns["image"]))}
    plain = splits(tmp_path / "plain", {**pixels, "digit": columns["digit"]})
    assert train_baselines(*plain, tmp_path / "other", "digit", seed=0) == result


def test_lists_of_another_length_than_in_training(tmp_path: Path) -> None:
    columns = {"image": [[0.0, 1.0], [1.0, 0.0], [1.0]] * 30, "label": ["a", "b", "b", "a", "a"] * 18}
    with pytest.raises(InputError, match="lists of column 'image' have 1 values where 2 are expected"):
        train_baselines(*splits(tmp_path, columns), tmp_path / "baselines", "label", seed=0)
    columns["image"] = [[0.0, 1.0], [1.0, 0.0], None] * 30
    train_baselines(*splits(tmp_path / "missing", columns), tmp_path / "baselines", "label", seed=0)


def test_only_strings_new_categories_and_weights(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    carrier = random.choice([f"c{i:03}" for i in range(300)], 15_000)
    late = (random.random(15_000) < np.where(carrier < "c150", 0.8, 0.2)).astype(np.int64)
    shown = [None if i % 50 == 0 else "new" if i % 3 == 2 and i % 7 == 0 else c for i, c in enumerate(carrier)]
    columns = {"carrier": pa.array(shown), "late": late}
    paths = splits(tmp_path, columns, sample_weight=lambda part: pa.array(np.ones(part.num_rows)))
    result = aucs(train_baselines(*paths, tmp_path / "baselines", "late", seed=0))
    assert result["hist_gradient_boosting"] > 0.65
    assert result["logistic_regression"] > 0.52


def test_weights_matter(tmp_path: Path) -> None:
    columns = columns_of(load_breast_cancer, ["malignant", "benign"])
    heavy = splits(
        tmp_path / "heavy",
        columns,
        sample_weight=lambda part: pa.array(
            [50.0 if label == "benign" else 1.0 for label in part["label"].to_pylist()]
        ),
    )
    light = splits(tmp_path / "light", columns)
    results = [
        train_baselines(*paths, tmp_path / f"b{index}", "label", seed=0) for index, paths in enumerate((heavy, light))
    ]
    for first, second in zip(*(result["baselines"] for result in results), strict=True):
        assert first["overall"]["log_loss"]["value"] != second["overall"]["log_loss"]["value"]


def test_labels_that_training_lacks(tmp_path: Path) -> None:
    columns = {"x": list(range(30)), "label": ["a", "b", "c"] * 10}
    with pytest.raises(InputError, match="has the one value 'a' in the training split"):
        train_baselines(*splits(tmp_path, columns), tmp_path / "baselines", "label", seed=0)
    columns = {"x": list(range(30)), "label": (["a", "a", "a", "b", "b", "c"] * 5)}
    with pytest.raises(InputError, match="the training split lacks: c"):
        train_baselines(*splits(tmp_path / "other", columns), tmp_path / "baselines", "label", seed=0)
    assert not (tmp_path / "baselines").exists()
