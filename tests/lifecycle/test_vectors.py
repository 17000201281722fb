"""A model with a vector feature from predictions to a served, tested release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_support import FIXTURES

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_golden
from shipway.components.lifecycle import deployment, evaluation, prediction, releases
from shipway.components.lifecycle.gate import Thresholds
from shipway.examples.digits import write_digits

VECTOR = FIXTURES / "vector"
GOLDEN = read_golden(VECTOR)


def write(directory: Path, times: int = 1, **changes: Any) -> Path:
    """Writes the golden instances as a Dataset."""
    columns = {name: [i[name] for i in GOLDEN.instances] * times for name in GOLDEN.instances[0]}
    columns["pixels"] = pa.array(columns["pixels"], pa.list_(pa.float64()))
    directory.mkdir()
    pq.write_table(pa.table({**columns, "late": [0, 1] * 4 * times, **changes}), directory / "part-00000.parquet")
    return directory


def scores_of(predictions: Path) -> np.ndarray:
    table = pq.read_table(predictions / "predictions.parquet")
    return np.column_stack([table["score_0"], table["score_1"]])


def test_the_example_is_a_table_of_images(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    table = pq.read_table(tmp_path / "digits")
    assert table.schema == pa.schema({"image": pa.list_(pa.int64()), "digit": pa.int64()})
    assert (table.num_rows, {len(image) for image in table["image"].to_pylist()}) == (1797, {64})


def test_predictions_are_what_the_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write(tmp_path / "dataset")
    prediction.predict(dataset, VECTOR, tmp_path / "predictions", "late", [])
    np.testing.assert_allclose(scores_of(tmp_path / "predictions"), GOLDEN.scores, atol=1e-6)
    monkeypatch.setattr(prediction, "_BATCH_ROWS", 1)  # batches in which every list is missing
    prediction.predict(dataset, VECTOR, tmp_path / "one by one", "late", [])
    np.testing.assert_allclose(scores_of(tmp_path / "one by one"), GOLDEN.scores, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([[1.0, 2.0, 3.0]] * 8, "lists of column 'pixels' have 3 values where 4 are expected"),
        ([[1.0] * 4] * 7 + [[1.0]], "lists of column 'pixels' have 1 to 4 values"),
        ([1.0] * 8, "'pixels' must be vector, it is numeric"),
        ([["a"]] * 8, "'pixels' has type list"),
    ],
)
def test_other_lists_than_the_model_takes(tmp_path: Path, pixels: list[Any], message: str) -> None:
    dataset = write(tmp_path / "dataset", pixels=pixels)
    with pytest.raises(InputError, match=message):
        prediction.predict(dataset, VECTOR, tmp_path / "predictions", "late", [])


def test_lists_are_no_slices(tmp_path: Path) -> None:
    dataset = write(tmp_path / "dataset")
    with pytest.raises(InputError, match="slice column 'pixels' holds lists"):
        prediction.predict(dataset, VECTOR, tmp_path / "predictions", "late", ["pixels"])
    prediction.predict(dataset, VECTOR, tmp_path / "predictions", "late", [])
    file = tmp_path / "predictions" / "predictions.parquet"
    pq.write_table(pq.read_table(file).append_column("pixels", pq.read_table(dataset)["pixels"]), file)
    with pytest.raises(InputError, match="slice column 'pixels' holds lists"):
        evaluate(tmp_path, ["pixels"])


def evaluate(root: Path, slices: list[str]) -> Path:
    (root / "champion").mkdir()
    (root / "champion" / "predictions.json").write_text('{"model": null, "rows": 0}')
    paths = [root / name for name in ("predictions", "champion", "evaluation", "report.html")]
    evaluation.evaluate_model(VECTOR, *paths, slices, Thresholds(min_auc=0.0), seed=0)
    return root / "evaluation"


@pytest.mark.usefixtures("state")
def test_the_way_to_a_tested_endpoint(tmp_path: Path, schema: Path) -> None:
    prediction.predict(write(tmp_path / "dataset", times=9), VECTOR, tmp_path / "predictions", "late", [])
    arguments = (VECTOR, evaluate(tmp_path, []), schema, tmp_path / "release", "images", str(tmp_path / "repository"))
    releases.create_release(*arguments)
    deployment.deploy_model(tmp_path / "release", tmp_path / "endpoint", "images")
    result = deployment.smoke_test(tmp_path / "endpoint", tmp_path / "release")
    assert (result["golden_requests"], result["largest_difference"] < 1e-5) == (8, True)
