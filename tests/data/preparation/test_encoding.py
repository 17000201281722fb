from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError

from .conftest import columns, parts


def worded(**more):
    return columns(w=pa.array(["red", "green", None, "blue", "red"] * 20).dictionary_encode(), **more)


def test_onehot(prepare):
    rest = {**worded(), "w": pa.array(["red", "grey", None, "blue", "red"] * 20).dictionary_encode()}
    _, out, summary = prepare(parts(worded(), rest), label="y", encoding="onehot")
    assert out["test"].column_names == ["x", "s=a", "s=b", "w=blue", "w=green", "w=red", "y"]
    assert [out["test"][f"w={word}"].to_pylist()[:5] for word in ("blue", "green", "red")] == [
        [False, False, False, True, False],
        [False] * 5,
        [True, False, False, False, True],
    ]
    assert "Strings are numbers now (onehot): s, w." in summary


def test_ordinal(prepare):
    rest = {**worded(), "w": pa.array(["red", "grey", None, "blue", "green"] * 20).dictionary_encode()}
    _, out, _ = prepare(parts(worded(), rest), label="y", encoding="ordinal")
    assert out["test"]["w"].to_pylist()[:5] == [2, -1, None, 0, 1]
    assert str(out["test"].schema.field("w").type) == "int64"


def test_target_of_two_classes(prepare):
    rest = {**worded(), "w": pa.array(["red", "grey", None, "blue", "green"] * 20).dictionary_encode()}
    train = worded()
    _, out, _ = prepare(parts(train, rest), label="y", encoding="target")
    overall = np.mean(train["y"])
    red = [y for y, w in zip(train["y"], train["w"].to_pylist(), strict=True) if w == "red"]
    found = out["test"]["w"].to_pylist()
    assert found[0] == pytest.approx((sum(red) + 20 * overall) / (len(red) + 20))
    assert found[1] == pytest.approx(overall)
    assert found[2] is None
    assert out["train"]["w"].null_count == 20
    assert len(set(out["train"]["w"].to_pylist())) > 4


def test_target_of_more_classes(prepare):
    _, out, _ = prepare(parts({**worded(), "y": ["p", "q", "r", "p"] * 25}), label="y", encoding="target")
    assert out["train"].column_names == ["x", "s=p", "s=q", "s=r", "w=p", "w=q", "w=r", "y"]
    shares = np.array([out["test"][f"w={value}"].to_numpy() for value in "pqr"])
    assert np.nansum(shares, axis=0) == pytest.approx(np.where(np.isnan(shares[0]), 0, 1))


def test_training_rows_do_not_know_their_label(prepare):
    """With a category per row, an encoding that saw its own row would tell the label."""
    generator = np.random.default_rng(0)
    table = {"id": [f"row {i}" for i in range(500)], "x": generator.normal(size=500), "y": [i % 2 for i in range(500)]}
    _, out, _ = prepare(parts(table), label="y", encoding="target")
    assert abs(np.corrcoef(out["train"]["id"].to_numpy(), table["y"])[0, 1]) < 0.2


def test_repeats_with_its_seed(prepare):
    first = prepare(parts(worded()), "a", label="y", encoding="target", seed=1)[0]
    assert prepare(parts(worded()), "b", label="y", encoding="target", seed=1)[0] == first
    assert prepare(parts(worded()), "c", label="y", encoding="target", seed=2)[0]["train"] != first["train"]


def test_strings_are_encoded_after_smote(prepare):
    _, out, _ = prepare(parts(worded()), label="y", encoding="onehot", imbalance="smote", missing_values="impute")
    words = np.array([out["train"][f"w={word}"].to_numpy() for word in ("blue", "green", "red")])
    assert out["train"].num_rows == 150
    assert (words.sum(axis=0) == 1).all()


def test_numbers_alone_need_nothing(prepare):
    table = {"x": range(100), "y": [0, 1] * 50}
    first = prepare(parts(table), label="y", encoding="onehot")[0]
    assert first == prepare(parts(table), "again", label="y")[0]


@pytest.mark.parametrize(
    ("change", "parameters", "message"),
    [
        ({}, {"encoding": "hash"}, "encoding='hash': must be one of none, onehot, ordinal, target"),
        ({}, {"encoding": "target", "imbalance": "smote"}, "would tell SMOTE's synthetic rows their label"),
        ({"s=a": range(100)}, {"encoding": "onehot"}, "'s' would make a second column 's=a'"),
        ({"w": [f"w{i}" for i in range(100)] * 11}, {"encoding": "onehot"}, None),
    ],
)
def test_refused(prepare, tmp_path, change, parameters, message):
    table = {**worded(), **change}
    if message is None:
        table, message = {"w": [f"w{i}" for i in range(1100)], "y": [0, 1] * 550}, "1,100 columns of 'w'"
    with pytest.raises(InputError, match=message):
        prepare(parts(table), label="y", **parameters)
    assert not (tmp_path / "out").exists()
