"""Statistics and schemas with the real TFDV: what validation builds on."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import ConflictError, InputError
from shipway.components.data.schema.curated import resolve_schema
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.statistics import generation as statistics_module
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

COLUMNS = {
    "count": pa.array([*range(98), None, 0]),
    "share": pa.array([math.inf if i == 5 else i / 4 for i in range(100)]),
    "flag": pa.array([i % 2 == 0 for i in range(100)]),
    "seen": pa.array([datetime.datetime(2020, 1, 1) + datetime.timedelta(days=i) for i in range(100)]),
    "day": pa.array([datetime.date(2020, 1, 1)] * 100),
    "kind": pa.array(["a"] * 60 + ["b"] * 30 + [None] * 10),
    "coded": pa.array(["x", "y"] * 50).dictionary_encode(),
    "none": pa.array([None] * 100, pa.string()),
}


@pytest.fixture
def described(dataset, tmp_path):
    """Writes columns as a Dataset, describes it, and returns the path of the statistics and the summary by column."""

    def run(columns, name="statistics"):
        path = tmp_path / name
        generate_statistics(dataset(columns, f"{name}-data"), path)
        summary = json.loads((path / "summary.json").read_text())
        return path, {column["name"]: column for column in summary["columns"]}, summary

    return run


def test_summary(described):
    path, columns, summary = described(COLUMNS)
    assert summary["rows"] == 100
    assert {name: column["type"] for name, column in columns.items()} == {
        "count": "INT", "share": "FLOAT", "flag": "INT", "seen": "INT", "day": "INT",
        "kind": "STRING", "coded": "STRING", "none": "STRING",
    }  # fmt: skip
    count = columns["count"]
    assert (count["missing"], count["missing_fraction"], count["zeros"]) == (1, 0.01, 2)
    assert (count["min"], count["max"], count["median"]) == (0, 97, 48)
    assert count["mean"] == pytest.approx(sum(range(98)) / 99)
    assert sum(bucket["count"] for bucket in count["histogram"]) == pytest.approx(99, abs=2)
    assert (count["unique"], count["top_values"]) == (None, None)
    assert columns["share"]["max"] is None
    assert columns["flag"]["mean"] == 0.5
    assert columns["seen"]["min"] == columns["day"]["max"] == 1577836800
    assert columns["kind"]["top_values"] == [{"value": "a", "count": 60}, {"value": "b", "count": 30}]
    assert (columns["kind"]["unique"], columns["kind"]["missing"], columns["kind"]["mean"]) == (2, 10, None)
    assert (columns["none"]["missing"], columns["none"]["top_values"]) == (100, [])
    assert {feature.path.step[0] for feature in read_statistics(path).datasets[0].features} == set(COLUMNS)


def test_statistics_equal_those_of_tfdv(described):
    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in generator.zipf(1.3, 70_000) % 5000]
    columns = {"x": generator.normal(size=70_000), "n": generator.integers(0, 50, 70_000), "word": words}
    path, _, _ = described(columns)
    reference = tfdv.generate_statistics_from_dataframe(pa.table(columns).to_pandas())
    mine, theirs = (
        {feature.path.step[0]: feature for feature in proto.datasets[0].features}
        for proto in (read_statistics(path), reference)
    )
    for name in ("x", "n"):
        for field in ("mean", "std_dev", "min", "max", "median", "num_zeros"):
            assert getattr(mine[name].num_stats, field) == pytest.approx(
                getattr(theirs[name].num_stats, field), rel=0.02
            )
    counts = {top.value: top.frequency for top in mine["word"].string_stats.top_values}
    assert counts == {word: words.count(word) for word in counts}
    assert mine["word"].string_stats.unique == len(set(words))
    assert mine["word"].string_stats.avg_length == pytest.approx(theirs["word"].string_stats.avg_length)


def test_many_distinct_strings_are_estimated(described, monkeypatch):
    monkeypatch.setattr(statistics_module, "EXACT_DISTINCT", 100)
    _, columns, _ = described({"id": [f"id{i}" for i in range(5000)]})
    assert columns["id"]["unique"] == pytest.approx(5000, rel=0.05)


def test_statistics_repeat(described):
    first, again = (described(COLUMNS, name)[0] for name in ("a", "b"))
    assert [file.read_bytes() for file in sorted(first.iterdir())] == [
        file.read_bytes() for file in sorted(again.iterdir())
    ]


def test_statistics_need_a_dataset(tmp_path):
    with pytest.raises(InputError, match="without readable files"):
        generate_statistics(tmp_path, tmp_path / "out")
    (tmp_path / "part-0.parquet").write_text("no")
    with pytest.raises(InputError, match="no readable Parquet file"):
        generate_statistics(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inferred_schema(described, tmp_path):
    metadata = infer_schema(described(COLUMNS)[0], tmp_path / "schema", label="kind", max_unseen_fraction=0.05)
    assert (metadata["features"], metadata["curated"]) == (len(COLUMNS), False)
    features = {feature.name: feature for feature in read_schema(tmp_path / "schema").feature}
    assert features["kind"].distribution_constraints.min_domain_mass == 0.95
    assert not features["count"].HasField("distribution_constraints")
    assert features["flag"].presence.min_fraction == 1


def test_curated_schema_is_taken_as_it_is(described, tmp_path):
    statistics = described(COLUMNS)[0]
    curated = tmp_path / "my schema.pbtxt"
    curated.write_text('feature { name: "count" type: INT presence { min_count: 7 } } # by hand\n')
    for uri in (str(curated), curated.as_uri()):
        metadata = infer_schema(statistics, tmp_path / "schema", schema_uri=uri, label="count")
        assert metadata["curated"] is True
        assert read_schema(tmp_path / "schema").feature[0].presence.min_count == 7


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("feature { nam: 1 }", {}, "is no schema .*1:11"),
        ("", {}, "without features"),
        (b"\xff\xfe", {}, "cannot be read"),
        (None, {"schema_uri": "gs://bucket/schema.pbtxt"}, "gs:// cannot be read"),
        (None, {"schema_uri": "/no/schema.pbtxt"}, "No such file"),
        (None, {"label": "kin"}, "no feature 'kin'; did you mean 'kind'"),
        ('feature { name: "count" }', {"label": "kind"}, "no feature 'kind'"),
        (None, {"max_unseen_fraction": 1.0}, "max_unseen_fraction=1.0"),
    ],
)
def test_wrong_schema(described, tmp_path, text, parameters, message):
    if text is not None:
        (tmp_path / "s.pbtxt").write_bytes(text if isinstance(text, bytes) else text.encode())
        parameters = {"schema_uri": str(tmp_path / "s.pbtxt"), **parameters}
    with pytest.raises(InputError, match=message):
        infer_schema(described(COLUMNS)[0], tmp_path / "schema", **parameters)
    assert not (tmp_path / "schema").exists()


def test_a_curated_schema_is_known_by_what_it_holds(penguins, tmp_path):
    generate_statistics(penguins, tmp_path / "s")
    infer_schema(tmp_path / "s", tmp_path / "inferred", label="species")
    curated = tmp_path / "curated.pbtxt"
    curated.write_bytes((tmp_path / "inferred" / "schema.pbtxt").read_bytes())
    digest = resolve_schema(str(curated))
    infer_schema(tmp_path / "s", tmp_path / "schema", schema_uri=str(curated), schema_digest=digest)
    with curated.open("a") as file:
        file.write("# a note\n")
    assert resolve_schema(curated.as_uri()) != digest
    with pytest.raises(ConflictError, match="changed while the pipeline ran"):
        infer_schema(tmp_path / "s", tmp_path / "late", schema_uri=str(curated), schema_digest=digest)
    assert not (tmp_path / "late").exists()
    assert resolve_schema("") == ""
