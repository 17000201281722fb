"""From Datasets and real models to metrics.json and blessing.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_support import FIXTURES
from sklearn.metrics import roc_auc_score

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_golden, read_model
from shipway.components.lifecycle import evaluation, prediction
from shipway.components.lifecycle.gate import Thresholds

BINARY, OTHER = FIXTURES / "binary", FIXTURES / "binary_other"


def write(directory: Path, columns: dict[str, Any]) -> Path:
    directory.mkdir(parents=True)
    pq.write_table(pa.table(columns), directory / "part-00000.parquet")
    return directory


def load(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())


def test_predictions_are_what_the_model_answers(tmp_path: Path) -> None:
    golden = read_golden(BINARY)
    columns = {name: [i[name] for i in golden.instances] for name in ("distance", "wind", "carrier")}
    dataset = write(tmp_path / "dataset", {**columns, "late": [0, 1] * 4, "origin": ["EWR"] * 8})
    metadata = prediction.predict(dataset, BINARY, tmp_path / "predictions", "late", ["origin"])
    assert metadata == {"rows": 8, "model": "fixture", "model_digest": read_model(BINARY).digest}
    table = pq.read_table(tmp_path / "predictions" / "predictions.parquet")
    assert table.schema == pa.schema(
        {
            "key": pa.int64(),
            "label": pa.string(),
            "score_0": pa.float32(),
            "score_1": pa.float32(),
            "origin": pa.string(),
        }
    )
    assert table["key"].to_pylist() == list(range(8))
    assert table["label"].to_pylist() == ["0", "1"] * 4
    scores = np.column_stack([table["score_0"], table["score_1"]])
    np.testing.assert_allclose(scores, golden.scores, atol=1e-6)


def test_batches_and_files_keep_their_order(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction.predict(dataset, BINARY, tmp_path / "one", "late", [])
    table = pq.read_table(dataset)
    parts = tmp_path / "parts"
    parts.mkdir()
    for index in range(3):
        pq.write_table(table.slice(index * 200, 200), parts / f"part-{index:05}.parquet")
    monkeypatch.setattr(prediction, "_BATCH_ROWS", 64)
    prediction.predict(parts, BINARY, tmp_path / "many", "late", [])
    one, many = (pq.read_table(tmp_path / name / "predictions.parquet") for name in ("one", "many"))
    assert one["label"] == many["label"]
    assert one["key"].to_pylist() == many["key"].to_pylist()
    np.testing.assert_allclose(one["score_1"].to_numpy(), many["score_1"].to_numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"wind": None}, "lacks the columns wind"),
        ({"wind": ["strong"] * 600}, "'wind' must be numeric"),
        ({"late": None}, "no column late"),
        ({"late": [0, 1, 2] * 200}, "not trained on: 2; it knows 0, 1"),
        ({"origin": None}, "no column origin"),
    ],
)
def test_datasets_that_do_not_fit(tmp_path: Path, dataset: Path, change: dict[str, Any], reason: str) -> None:
    columns = table_columns(dataset)
    changed = {name: column for name, column in {**columns, **change}.items() if column is not None}
    other = write(tmp_path / "changed", changed)
    with pytest.raises(InputError, match=reason):
        prediction.predict(other, BINARY, tmp_path / "predictions", "late", ["origin"])
    assert not (tmp_path / "predictions").exists()


def table_columns(dataset: Path) -> dict[str, Any]:
    table = pq.read_table(dataset)
    return dict(zip(table.column_names, table.columns, strict=True))


def test_an_empty_dataset(tmp_path: Path, dataset: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pq.write_table(pq.read_table(dataset).slice(0, 0), empty / "part-00000.parquet")
    with pytest.raises(InputError, match="no rows"):
        prediction.predict(empty, BINARY, tmp_path / "predictions", "late", [])


def test_a_damaged_model(tmp_path: Path, dataset: Path) -> None:
    model = shutil.copytree(BINARY, tmp_path / "model")
    with (model / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"model.onnx has changed"):
        prediction.predict(dataset, model, tmp_path / "predictions", "late", [])


def test_metrics_and_blessing(evaluated: Callable[..., Path], dataset: Path) -> None:
    directory = evaluated(BINARY, thresholds=Thresholds(min_auc_gain_over_baseline=0), slices=("origin",))
    metrics, blessing = load(directory, "metrics.json"), load(directory, "blessing.json")
    digest = read_model(BINARY).digest
    assert metrics["model"] == {"name": "fixture", "digest": digest, "framework": "pytorch"}
    assert (metrics["task"], metrics["label_names"], metrics["rows"]) == ("binary", ["0", "1"], 600)
    assert metrics["champion"] is None
    assert metrics["baseline"]["roc_auc"] == 0.5
    assert sum(map(sum, metrics["confusion_matrix"]["matrix"])) == 600
    scores = pq.read_table(directory.parent / "predictions" / "predictions.parquet")
    auc = roc_auc_score(scores["label"].to_numpy() == "1", scores["score_1"].to_numpy())
    assert metrics["overall"]["roc_auc"]["value"] == pytest.approx(auc)
    assert blessing["model_digest"] == digest
    assert blessing["blessed"] is bool(auc > 0.5)
    assert "thresholds" not in metrics["roc_curves"][0]


def test_slices(evaluated: Callable[..., Path]) -> None:
    metrics = load(evaluated(BINARY, slices=("origin", "carrier")), "metrics.json")
    slices = {(s["column"], s["value"]): s for s in metrics["slices"]}
    assert sum(s["rows"] for (column, _), s in slices.items() if column == "origin") == 600
    assert {value for column, value in slices if column == "carrier"} == {"AA", "B6", "EV", "UA", "ZZ"}
    assert metrics["slices_left_out"] == [{"column": "carrier", "values": 1}]  # 32 rows have none
    one = slices["origin", "EWR"]["metrics"]["roc_auc"]
    assert one["low"] < one["value"] < one["high"]


def test_slices_need_rows_and_both_classes_and_there_are_at_most_20(tmp_path: Path, dataset: Path) -> None:
    table = table_columns(dataset)
    late = np.array(table["late"])
    group = np.where(late == 0, "only early", "both")
    group[:100] = "both"
    group[-40:] = "few"
    many = [float(i % 24) for i in range(600)]
    table |= {"group": pa.array(group), "number": pa.array([None if m == 23 else m for m in many])}
    wide = write(tmp_path / "wide", table)
    prediction.predict(wide, BINARY, tmp_path / "predictions", "late", ["group", "number"])
    prediction.predict_champion(wide, "", tmp_path / "champion", "late", [])
    arguments = (BINARY, tmp_path / "predictions", tmp_path / "champion", tmp_path / "evaluation", tmp_path / "r.html")
    evaluation.FEWEST_ROWS_OF_A_SLICE, before = 20, evaluation.FEWEST_ROWS_OF_A_SLICE
    try:
        evaluation.evaluate_model(*arguments, ["number"], Thresholds(), 0)
        numbers = load(tmp_path / "evaluation", "metrics.json")
    finally:
        evaluation.FEWEST_ROWS_OF_A_SLICE = before
    assert [s["value"] for s in numbers["slices"]][:2] == ["(missing)", "0"]
    assert len(numbers["slices"]) == 20
    assert numbers["slices_left_out"] == [{"column": "number", "values": 4}]
    evaluation.evaluate_model(*arguments, ["group"], Thresholds(), 0)
    groups = load(tmp_path / "evaluation", "metrics.json")
    assert [s["value"] for s in groups["slices"]] == ["both"]
    assert groups["slices_left_out"] == [{"column": "group", "values": 2}]


def test_a_slice_column_that_was_not_carried_along(evaluated: Callable[..., Path], tmp_path: Path) -> None:
    root = evaluated(BINARY).parent
    with pytest.raises(InputError, match="no column 'origin' to slice by"):
        evaluation.evaluate_model(
            BINARY, root / "predictions", root / "champion", root / "e", root / "r.html", ["origin"], Thresholds(), 0
        )


def test_predictions_of_another_model(evaluated: Callable[..., Path]) -> None:
    root = evaluated(BINARY).parent
    with pytest.raises(InputError, match="were not made by the model"):
        evaluation.evaluate_model(
            OTHER, root / "predictions", root / "champion", root / "e", root / "r.html", [], Thresholds(), 0
        )


def test_the_champions_rows_must_be_the_same(evaluated: Callable[..., Path], tmp_path: Path, dataset: Path) -> None:
    root = evaluated(BINARY).parent
    short = tmp_path / "short"
    short.mkdir()
    pq.write_table(pq.read_table(dataset).slice(1), short / "part-00000.parquet")
    prediction.predict(short, OTHER, tmp_path / "champion", "late", [])
    with pytest.raises(InputError, match="other rows"):
        evaluation.evaluate_model(
            BINARY, root / "predictions", tmp_path / "champion", root / "e", root / "r.html", [], Thresholds(), 0
        )


def test_several_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    species = random.choice(["Adelie", "Chinstrap", "Gentoo"], 300)
    columns = {
        "distance": random.normal(size=300),
        "wind": random.normal(size=300),
        "carrier": ["AA", "B6", "EV"] * 100,
    }
    dataset = write(tmp_path / "dataset", {**columns, "late": species})
    model = FIXTURES / "multiclass"
    prediction.predict(dataset, model, tmp_path / "predictions", "late", [])
    prediction.predict_champion(dataset, "", tmp_path / "champion", "late", [])
    summary = evaluation.evaluate_model(
        model, tmp_path / "predictions", tmp_path / "champion", tmp_path / "e", tmp_path / "r.html", [], Thresholds(), 0
    )
    metrics = load(tmp_path / "e", "metrics.json")
    assert summary.roc_curve is None
    assert [curve["label"] for curve in metrics["roc_curves"]] == ["Adelie", "Chinstrap", "Gentoo"]
    assert metrics["confusion_matrix"]["threshold"] is None
    assert np.array(metrics["confusion_matrix"]["matrix"]).shape == (3, 3)


def test_the_summary_and_the_report(evaluated: Callable[..., Path]) -> None:
    root = evaluated(BINARY, slices=("origin",)).parent
    summary = evaluation.evaluate_model(
        BINARY, root / "predictions", root / "champion", root / "e", root / "r.html", ["origin"], Thresholds(), 0
    )
    assert summary.headline["blessed"] == 0
    assert summary.headline["rows"] == 600
    assert "gain_over_champion" not in summary.headline
    assert summary.roc_curve is not None
    assert len({len(part) for part in summary.roc_curve}) == 1
    assert np.isfinite(summary.roc_curve[2]).all()
    page = (root / "r.html").read_text()
    for text in ("Not blessed", "no thresholds are set", "ROC AUC", "origin = EWR", "Confusion"):
        assert text in page
    again = root / "again.html"
    evaluation.evaluate_model(
        BINARY, root / "predictions", root / "champion", root / "f", again, ["origin"], Thresholds(), 0
    )
    assert again.read_text() == page
    assert (root / "e/metrics.json").read_bytes() == (root / "f/metrics.json").read_bytes()


def test_no_champion(tmp_path: Path, dataset: Path) -> None:
    assert prediction.predict_champion(dataset, "", tmp_path / "predictions", "late", []) == {"champion": ""}
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["predictions.json"]
