"""Scikit-learn's digits, a list of 64 pixels each, through every function of the family."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from shipway.components.common.errors import DataRejected
from shipway.components.data.ingestion.transformation import transform_data
from shipway.components.data.preparation.preparation import prepare_data
from shipway.components.data.preparation.splitting import split_data
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tables import read_dataset
from shipway.components.data.validation.validation import validate_data

from .conftest import SPLITS

DIGITS = load_digits()
IMAGES = DIGITS.data.tolist()


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """A schema and statistics of clean digits."""
    root = tmp_path_factory.mktemp("clean")
    described(root, IMAGES)
    infer_schema(root / "statistics", root / "schema", label="digit")
    return root


def described(root, images):
    (root / "data").mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pa.array(images, pa.list_(pa.float64())), "digit": DIGITS.target})
    pq.write_table(table, root / "data" / "part-00000.parquet")
    generate_statistics(root / "data", root / "statistics")


def anomalies(root, images, schema, *, previous=True):
    described(root, images)
    validate_data(
        root / "statistics",
        schema / "schema",
        root / "anomalies",
        root / "report.html",
        "warn",
        dataset=root / "data",
        previous_statistics=schema / "statistics" if previous else None,
        label="digit",
        checks={"stale_rows": "off"},
    )
    found = json.loads((root / "anomalies" / "anomalies.json").read_text())["anomalies"]
    return {(each["feature"], each["check"]) for each in found}


def test_from_a_file_to_prepared_splits(tmp_path, ingest):
    raw = tmp_path / "digits.parquet"
    pq.write_table(pa.table({"image": IMAGES, "digit": DIGITS.target}), raw)
    ingest(raw)
    transform_data(tmp_path / "tables", tmp_path / "dataset")
    outputs = {split: tmp_path / split for split in SPLITS}
    split_data(tmp_path / "dataset", outputs, label="digit")
    for split in ("train", "test"):
        generate_statistics(outputs[split], tmp_path / f"{split} statistics")
    infer_schema(tmp_path / "train statistics", tmp_path / "schema", label="digit")
    for split in ("train", "test"):
        found = validate_data(
            tmp_path / f"{split} statistics",
            tmp_path / "schema",
            tmp_path / f"{split} anomalies",
            tmp_path / f"{split}.html",
            dataset=outputs[split],
            clean=tmp_path / f"{split} clean",
            previous_statistics=tmp_path / "train statistics" if split == "test" else None,
            label="digit",
        )
        assert (found["anomalies"], found["warnings"]) == (0, 0)
    prepared = {split: tmp_path / "prepared" / split for split in SPLITS}
    inputs = {"validation": outputs["validation"], **{s: tmp_path / f"{s} clean" for s in ("train", "test")}}
    prepare_data(inputs, prepared, tmp_path / "summary.md", label="digit")
    kept = [row for split in SPLITS for row in read_dataset(prepared[split])["image"].to_pylist()]
    assert sorted(kept) == sorted(IMAGES)


def test_the_schema_knows_the_length(schema):
    assert "value_count {\n    min: 64\n    max: 64\n  }" in (schema / "schema" / "schema.pbtxt").read_text()


def test_clean_digits_have_no_anomalies(tmp_path, schema):
    assert anomalies(tmp_path, IMAGES[::-1], schema) == set()


def test_a_list_of_another_length_is_an_anomaly(tmp_path, schema):
    assert anomalies(tmp_path, [IMAGES[0][:63], *IMAGES[1:]], schema, previous=False) == {("image", "schema")}


def test_ten_times_darker_images_are_an_anomaly(tmp_path, schema):
    darker = [[pixel / 10 for pixel in image] for image in IMAGES]
    assert anomalies(tmp_path, darker, schema) == {("image", "drift"), ("image", "unit_change")}


def test_a_third_of_the_pixels_missing_is_an_anomaly(tmp_path, schema):
    gaps = [[None if (i + j) % 3 == 0 else p for j, p in enumerate(image)] for i, image in enumerate(IMAGES)]
    assert anomalies(tmp_path, gaps, schema) == {("image", "drift"), ("image", "missing_change")}
    known = json.loads((tmp_path / "statistics" / "distributions.json").read_text())["columns"]["image"]
    assert known["nan"] == pytest.approx(len(IMAGES) / 3, abs=1)


def test_black_images_are_more_zeros(tmp_path, schema):
    black = [[0.0] * 64 if i % 2 else image for i, image in enumerate(IMAGES)]
    assert ("image", "more_zeros") in anomalies(tmp_path, black, schema)


def test_the_gate_stops_lists_of_another_length(tmp_path, schema):
    described(tmp_path, [IMAGES[0][:63], *IMAGES[1:]])
    paths = (tmp_path / "statistics", schema / "schema", tmp_path / "anomalies", tmp_path / "report.html")
    with pytest.raises(DataRejected, match="image: Missing values: Some examples have fewer values than expected"):
        validate_data(*paths, dataset=tmp_path / "data", label="digit")
