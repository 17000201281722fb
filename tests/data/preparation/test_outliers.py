from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.outliers import learn_bounds

from .conftest import columns, parts


def spiked(place=3):
    """0 to 99 thrice, with one value far out; the split's place decides where."""
    table = columns(n=300, i=[i % 100 for i in range(300)], x=[i % 100 / 2 for i in range(300)])
    table["i"][place], table["x"][place], table["x"][place + 1] = -5000, 1e9, None
    return table


@pytest.mark.parametrize(
    ("rule", "limit", "low", "high"),
    [
        ("iqr", 3, 25 - 3 * 50, 75 + 3 * 50),
        ("iqr", 1.5, 25 - 1.5 * 50, 75 + 1.5 * 50),
        ("quantile", 0.1, 10, 90),
        ("robust_z", 2, 50 - 2 * 1.4826 * 25, 50 + 2 * 1.4826 * 25),
    ],
)
def test_rules(rule, limit, low, high):
    table = pa.table({"x": [*(float(i) for i in range(101)), None], "y": [0] * 102})
    assert learn_bounds(table, "y", rule, limit)["x"] == pytest.approx((low, high))


def test_clip(prepare):
    _, out, summary = prepare(parts(spiked(), spiked(9)), label="y", outliers="clip")
    assert out["train"]["i"][3].as_py() == out["test"]["i"][9].as_py() == min(out["train"]["i"].to_pylist()) < -120
    assert (
        out["train"]["x"][3].as_py()
        == out["test"]["x"][9].as_py()
        == max(x for x in out["train"]["x"].to_pylist() if x is not None)
        < 200
    )
    assert out["train"]["x"].null_count == 1
    assert str(out["train"].schema.field("i").type) == "int64"
    assert "Outliers by iqr:3: " in summary


def test_missing_then_imputed(prepare):
    _, out, _ = prepare(parts(spiked(), spiked(9)), label="y", outliers="missing")
    assert [table["i"].null_count for table in out.values()] == [1, 1, 1]
    assert [table["x"].null_count for table in out.values()] == [2, 2, 2]
    _, out, _ = prepare(parts(spiked(), spiked(9)), "again", label="y", outliers="missing", imputation={"x": "mean"})
    assert out["test"]["x"][9].as_py() < 50


def test_only_training_rows_are_dropped(prepare):
    _, out, summary = prepare(parts(spiked(), spiked(9)), label="y", outliers="drop")
    _, plain, _ = prepare(parts(spiked(), spiked(9)), "plain", label="y")
    assert out["train"].num_rows == 299
    assert max(value for value in out["train"]["x"].to_pylist() if value is not None) < 50
    assert out["test"].equals(plain["test"])
    assert "train: dropped 1 rows with outliers." in summary


def test_bounds_are_learned_on_the_training_split(prepare):
    far = spiked()
    far["x"] = [1e6 + (i % 100) for i in range(300)]
    _, out, _ = prepare(parts(spiked(), far), label="y", outliers="clip")
    assert len(set(out["test"]["x"].to_pylist())) == 1


def test_columns_without_bounds():
    table = pa.table(
        {
            "mostly": [0.0] * 90 + [1.0] * 10,
            "flag": [True, False] * 50,
            "word": ["a", "b"] * 50,
            "y": [0, 1000] * 50,
            "sample_weight": [float(i) for i in range(100)],
            "byte": pa.array([i % 100 for i in range(100)], pa.int8()),
            "natural": pa.array(range(100), pa.uint16()),
            "wide": pa.array([1.7e308 * (-1) ** i for i in range(100)]),
        }
    )
    bounds = learn_bounds(table, "y", "iqr", 3)
    assert list(bounds) == ["byte", "natural", "wide"]
    assert bounds["byte"] == (-123, 127)
    assert bounds["natural"] == (0, 222)
    assert np.isfinite(bounds["wide"]).all()


def test_clean_data_has_none(prepare):
    generator = np.random.default_rng(0)
    table = columns(n=2000, z=generator.normal(size=2000), u=generator.uniform(size=2000))
    _, _, summary = prepare(parts(table), label="y", outliers="clip")
    assert "No outliers by iqr:3." in summary


@pytest.mark.parametrize(
    "text", ["iqr", "iqr:0", "iqr:-1", "iqr:x", "iqr:nan", "quantile:0.5", "zscore:3", "robust_z:inf"]
)
def test_refuses_a_rule(prepare, text):
    with pytest.raises(InputError, match=f"outlier_bounds='{text}': write iqr:<k>"):
        prepare(parts(spiked()), label="y", outlier_bounds=text)


def test_refuses_to_drop_everything(prepare):
    few = {"x": [0.0, 1.0, 2.0, 3.0], "w": [1.0, 0.0, 3.0, 2.0], "y": [0, 1, 0, 1]}
    with pytest.raises(InputError, match="leaves no training row; choose clip"):
        prepare(parts(few), label="y", outliers="drop", outlier_bounds="robust_z:0.1")
    with pytest.raises(InputError, match="outliers='remove': must be one of keep, clip, drop, missing"):
        prepare(parts(few), label="y", outliers="remove")
