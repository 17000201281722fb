"""Statistics, schema and validation with the real TFDV."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from shipway.components.common.errors import ConflictError, DataRejected, InputError
from shipway.components.data.schema.curated import resolve_schema
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.statistics import generation as statistics_module
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tables import read_dataset
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from shipway.components.data.validation.validation import validate_data

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


@pytest.fixture
def judged(described, tmp_path):
    """Validates columns against the schema of others; returns the anomalies as written, and what was raised."""

    def run(columns, learned, on_anomaly="fail", edit=None, **parameters):
        infer_schema(described(learned, "learned")[0], tmp_path / "schema", **parameters)
        if edit:
            schema = read_schema(tmp_path / "schema")
            edit(schema)
            (tmp_path / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(schema))
        raised = None
        try:
            validate_data(
                described(columns)[0], tmp_path / "schema", tmp_path / "anomalies", tmp_path / "page.html", on_anomaly
            )
        except DataRejected as error:
            raised = str(error)
        return json.loads((tmp_path / "anomalies" / "anomalies.json").read_text())["anomalies"], raised

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
    with pytest.raises(InputError, match="no Dataset"):
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


GOOD = {"n": list(range(1000)), "x": [i / 3 for i in range(1000)], "kind": ["a", "b"] * 500}


def test_same_data_passes(judged, tmp_path):
    assert judged(GOOD, GOOD) == ([], None)
    page = (tmp_path / "page.html").read_text()
    assert page == (tmp_path / "anomalies" / "report.html").read_text()
    assert "None: the data looks as its schema says." in page
    assert "1,000 rows, 3 columns, 0 anomalies" in page


@pytest.mark.parametrize(
    ("change", "feature", "kind"),
    [
        ({"n": [str(i) for i in range(1000)]}, "n", "UNEXPECTED_DATA_TYPE"),
        ({"n": [i + 0.5 for i in range(1000)]}, "n", "UNEXPECTED_DATA_TYPE"),
        ({"n": [None, *range(999)]}, "n", "FEATURE_TYPE_LOW_FRACTION_PRESENT"),
        ({"n": None}, "n", "SCHEMA_MISSING_COLUMN"),
        ({"new": [1] * 1000}, "new", "SCHEMA_NEW_COLUMN"),
        ({"kind": ["a", "b"] * 490 + ["<c>"] * 20}, "kind", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"),
    ],
)
def test_departures_are_rejected_after_they_are_written(judged, tmp_path, change, feature, kind):
    columns = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    found, raised = judged(columns, GOOD)
    assert (feature, kind) in [(anomaly["feature"], anomaly["kind"]) for anomaly in found]
    assert f"\n  {feature}: {found[0]['short']}" in raised
    assert "on_anomaly=warn" in raised
    proto = text_format.Parse((tmp_path / "anomalies" / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies())
    assert feature in proto.anomaly_info
    page = (tmp_path / "page.html").read_text()
    assert found[0]["short"] in page
    assert "<c>" not in page


def test_new_values_within_the_tolerance_pass(judged):
    columns = {**GOOD, "kind": ["a", "b"] * 490 + ["c"] * 20}
    assert judged(columns, GOOD, max_unseen_fraction=0.03) == ([], None)
    assert len(judged(columns, GOOD, max_unseen_fraction=0.01)[0]) == 1
    assert len(judged({**GOOD, "kind": ["a", "b"] * 499 + ["a", "c"]}, GOOD, max_unseen_fraction=0.0)[0]) == 1


def test_every_anomaly_is_named(judged):
    found, raised = judged({"n": ["1"] * 1000, "kind": ["z"] * 1000}, GOOD)
    assert {anomaly["feature"] for anomaly in found} == {"n", "kind", "x"}
    assert all(f"\n  {name}: " in raised for name in ("n", "kind", "x"))


def test_warn_lets_the_data_pass(judged, caplog):
    found, raised = judged({**GOOD, "n": [None, *range(999)]}, GOOD, on_anomaly="warn")
    assert raised is None
    assert len(found) == 1
    assert "n: Column dropped" in caplog.text


def test_curated_range_is_checked(judged):
    def limit(schema):
        next(f for f in schema.feature if f.name == "n").int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=998))

    found, raised = judged(GOOD, GOOD, edit=limit)
    assert [(anomaly["feature"], anomaly["kind"]) for anomaly in found] == [("n", "INT_TYPE_BIG_INT")]
    assert raised is not None


@pytest.mark.parametrize("on_anomaly", ["fail", "warn"])
def test_no_rows_is_an_anomaly(judged, on_anomaly):
    empty = pa.table(GOOD).slice(0, 0)
    found, raised = judged(empty, GOOD, on_anomaly=on_anomaly)
    assert ("(dataset)", "No rows") in [(anomaly["feature"], anomaly["short"]) for anomaly in found]
    assert (raised is not None) == (on_anomaly == "fail")


def test_wrong_inputs(described, tmp_path):
    statistics = described(GOOD)[0]
    infer_schema(statistics, tmp_path / "schema")
    out = (tmp_path / "anomalies", tmp_path / "page.html")
    with pytest.raises(InputError, match="on_anomaly='stop': must be one of fail, warn"):
        validate_data(statistics, tmp_path / "schema", *out, "stop")
    with pytest.raises(InputError, match="holds no statistics"):
        validate_data(tmp_path / "schema", tmp_path / "schema", *out)
    with pytest.raises(InputError, match="holds no schema"):
        validate_data(statistics, statistics, *out)
    (statistics / "statistics.pb").write_bytes(b"")
    with pytest.raises(InputError, match="holds no statistics"):
        validate_data(statistics, tmp_path / "schema", *out)
    assert not any(path.exists() for path in out)


def test_penguins_pass_their_own_schema(penguins, tmp_path):
    assert pq.read_schema(penguins / "part-00000.parquet").names[0] == "species"
    assert read_dataset(penguins).num_rows == 300
    generate_statistics(penguins, tmp_path / "s")
    infer_schema(tmp_path / "s", tmp_path / "schema", label="species")
    metadata = validate_data(tmp_path / "s", tmp_path / "schema", tmp_path / "a", tmp_path / "page.html")
    assert metadata == {"rows": 300, "anomalies": 0}


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
