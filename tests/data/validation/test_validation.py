"""The gate with the real TFDV: every check in one go, what is written, and what goes on."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.protos import read_schema
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tables import read_dataset
from shipway.components.data.validation.catalogue import CATALOGUE
from shipway.components.data.validation.validation import validate_data


@pytest.fixture
def judged(described, tmp_path):
    """Validates columns against the schema of others; returns the anomalies as written, and what was raised."""

    def run(columns, learned, on_anomaly="fail", edit=None, **parameters):
        infer_schema(described(learned, "learned"), tmp_path / "schema", **parameters)
        if edit:
            schema = read_schema(tmp_path / "schema")
            edit(schema)
            (tmp_path / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(schema))
        raised = None
        try:
            validate_data(
                described(columns), tmp_path / "schema", tmp_path / "anomalies", tmp_path / "page.html", on_anomaly
            )
        except DataRejected as error:
            raised = str(error)
        return told(tmp_path)["anomalies"], raised

    return run


def told(tmp_path):
    return json.loads((tmp_path / "anomalies" / "anomalies.json").read_text())


GOOD = {"n": list(range(1000)), "x": [i / 3 for i in range(1000)], "kind": ["a", "b"] * 500}


def test_same_data_passes(judged, tmp_path):
    assert judged(GOOD, GOOD) == ([], None)
    page = (tmp_path / "page.html").read_text()
    assert page == (tmp_path / "anomalies" / "report.html").read_text()
    assert "None: the data looks as its schema" in page


@pytest.mark.parametrize(
    ("change", "feature", "kind"),
    [
        ({"n": [str(i) for i in range(1000)]}, "n", "UNEXPECTED_DATA_TYPE"),
        ({"n": [i + 0.5 for i in range(1000)]}, "n", "UNEXPECTED_DATA_TYPE"),
        ({"n": [*[None] * 4, *range(996)]}, "n", "FEATURE_TYPE_LOW_FRACTION_PRESENT"),
        ({"n": None}, "n", "SCHEMA_MISSING_COLUMN"),
        ({"new": [1] * 1000}, "new", "SCHEMA_NEW_COLUMN"),
        ({"kind": ["a", "b"] * 490 + ["<c>"] * 20}, "kind", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"),
    ],
)
def test_departures_are_rejected_after_they_are_written(judged, tmp_path, change, feature, kind):
    columns = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    found, raised = judged(columns, GOOD)
    assert (feature, kind) in [(anomaly["feature"], anomaly["measure"]) for anomaly in found]
    assert f"\n  {feature}: {found[0]['short']}" in raised
    assert "on_anomaly=warn" in raised
    proto = text_format.Parse((tmp_path / "anomalies" / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies())
    assert feature in proto.anomaly_info
    page = (tmp_path / "page.html").read_text()
    assert found[0]["short"] in page
    assert told(tmp_path)["rejected"] is True
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
    found, raised = judged({**GOOD, "n": [*[None] * 4, *range(996)]}, GOOD, on_anomaly="warn")
    assert raised is None
    assert len(found) == 1
    assert "n: Column dropped" in caplog.text


def test_curated_range_is_checked(judged):
    def limit(schema):
        next(f for f in schema.feature if f.name == "n").int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=998))

    found, raised = judged(GOOD, GOOD, edit=limit)
    assert [(anomaly["feature"], anomaly["measure"]) for anomaly in found] == [("n", "INT_TYPE_BIG_INT")]
    assert raised is not None


@pytest.mark.parametrize("on_anomaly", ["fail", "warn"])
def test_no_rows_is_an_anomaly(judged, on_anomaly):
    empty = pa.table(GOOD).slice(0, 0)
    found, raised = judged(empty, GOOD, on_anomaly=on_anomaly)
    assert ("", "No rows") in [(anomaly["feature"], anomaly["short"]) for anomaly in found]
    assert (raised is not None) == (on_anomaly == "fail")


WRONG = [
    ({"on_anomaly": "quarantine"}, "give dataset and clean"),
    ({"min_clean_fraction": 1.1}, "min_clean_fraction=1.1: must lie from 0 to 1"),
    ({"checks": {"drif": "off"}}, "no check 'drif'"),
    ({"label": "kin"}, "label: there is no column 'kin'; did you mean 'kind'"),
    ({"time_column": "when"}, "time_column: there is no column 'when'"),
    ({"key_columns": ["n", "k"]}, "key_columns: there is no column 'k'"),
    ({"environment": "SERVIN"}, "environment='SERVIN': the schema has no such default_environment"),
    ({"previous_statistics": "/no"}, "/no/summary.json does not exist"),
]


def test_wrong_inputs(described, tmp_path):
    statistics = described(GOOD)
    infer_schema(statistics, tmp_path / "schema")
    out = (tmp_path / "anomalies", tmp_path / "page.html")
    with pytest.raises(InputError, match="on_anomaly='stop': must be one of fail, warn, quarantine"):
        validate_data(statistics, tmp_path / "schema", *out, "stop")
    with pytest.raises(InputError, match=r"summary.json does not exist"):
        validate_data(tmp_path / "schema", tmp_path / "schema", *out)
    with pytest.raises(InputError, match="holds no schema"):
        validate_data(statistics, statistics, *out)
    for wrong, message in WRONG:
        with pytest.raises(InputError, match=message):
            validate_data(statistics, tmp_path / "schema", *out, **wrong)
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
    assert metadata == {"rows": 300, "anomalies": 0, "warnings": 0, "quarantined": 0}


@pytest.fixture
def gated(described, tmp_path):
    """Validates columns and their rows against the schema of ``GOOD``; returns what validate_data returns."""

    def run(columns, edit=None, previous=None, **parameters):
        infer_schema(described(GOOD, "learned"), tmp_path / "schema")
        if edit:
            schema = read_schema(tmp_path / "schema")
            edit(schema)
            (tmp_path / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(schema))
        if previous:
            parameters["previous_statistics"] = described(previous, "previous")
        return validate_data(
            described(columns),
            tmp_path / "schema",
            tmp_path / "anomalies",
            tmp_path / "page.html",
            dataset=tmp_path / "statistics-data",
            clean=tmp_path / "clean",
            summary=tmp_path / "summary.md",
            **parameters,
        )

    return run


def test_clean_data_goes_on_unchanged(gated, tmp_path):
    counted = gated(GOOD, on_anomaly="quarantine")
    assert (counted["anomalies"], counted["quarantined"], counted["clean_rows"]) == (0, 0, 1000)
    assert counted["clean_digest"].startswith("sha256:")
    name = "part-00000.parquet"
    assert os.path.samefile(tmp_path / "clean" / name, tmp_path / "statistics-data" / name)
    assert "passed" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "anomalies" / "quarantine").exists()


def test_every_check_is_accounted_for(gated, tmp_path):
    gated(GOOD, checks={"duplicate_rows": "off"})
    checks = {check["name"]: check for check in told(tmp_path)["checks"]}
    assert sorted(checks) == sorted(spec.name for spec in CATALOGUE)
    assert checks["duplicate_rows"]["not_run"] == "off"
    assert checks["drift"]["not_run"] == "needs the statistics of earlier data (previous_statistics)"
    assert checks["schema"]["not_run"] == ""
    assert checks["schema"]["seconds"] > 0


FEW_BAD = {**GOOD, "kind": ["a", "b"] * 475 + ["c"] * 50}


def test_rows_are_set_aside(gated, tmp_path):
    counted = gated(FEW_BAD, on_anomaly="quarantine")
    assert (counted["quarantined"], counted["clean_rows"]) == (50, 950)
    assert read_dataset(tmp_path / "clean").column("n").to_pylist() == list(range(950))
    lines = pq.read_table(tmp_path / "anomalies" / "quarantine" / "part-00000.parquet").to_pylist()
    assert [line["quarantine_row"] for line in lines] == list(range(950, 1000))
    assert {(line["quarantine_rule"], line["quarantine_column"], line["quarantine_value"]) for line in lines} == {
        ("schema", "kind", "c")
    }
    written = told(tmp_path)
    assert written["quarantine"] == {"rows": 50, "by_rule": {"schema": 50}}
    assert (written["rejected"], written["anomalies"][0]["rows"]) == (False, 50)
    assert "row_numbers" not in written["anomalies"][0]


@pytest.mark.parametrize(
    ("columns", "parameters", "reason"),
    [
        (FEW_BAD, {"min_clean_fraction": 0.96}, "950 of 1,000 rows would be left, fewer than min_clean_fraction=0.96"),
        ({**GOOD, "kind": ["c"] * 1000}, {"min_clean_fraction": 0.0}, "0 of 1,000 rows would be left"),
        ({**FEW_BAD, "new": [1] * 1000}, {}, "1 anomaly that setting rows aside does not mend"),
    ],
)
def test_too_little_is_left(gated, tmp_path, columns, parameters, reason):
    with pytest.raises(DataRejected, match=reason):
        gated(columns, on_anomaly="quarantine", **parameters)
    assert not (tmp_path / "clean").exists()
    assert sorted(path.name for path in (tmp_path / "anomalies").iterdir()) == [
        "anomalies.json", "anomalies.pbtxt", "quarantine", "report.html",
    ]  # fmt: skip
    assert reason in told(tmp_path)["reason"]


def test_rejected_data_does_not_go_on(gated, tmp_path):
    with pytest.raises(DataRejected, match="1 anomaly of severity fail"):
        gated(FEW_BAD)
    assert not (tmp_path / "clean").exists()
    assert told(tmp_path)["quarantine"] is None


def test_warnings_stop_nothing(gated, tmp_path, caplog):
    counted = gated(FEW_BAD, checks={"schema": "warn"})
    assert (counted["anomalies"], counted["warnings"], counted["clean_rows"]) == (0, 1, 1000)
    assert "kind: Unexpected string values" in caplog.text


def drifting(generator, share):
    kinds = np.where(generator.random(1000) < share, "a", "b")
    return {"n": list(range(1000)), "x": generator.normal(size=1000), "kind": kinds}


def test_drift_is_an_anomaly_with_its_comparison(gated, tmp_path):
    before, after = (drifting(np.random.default_rng(seed), share) for seed, share in ((1, 0.5), (2, 0.8)))
    with pytest.raises(DataRejected, match="kind: Drift from the previous data: l-infinity"):
        gated(after, previous=before)
    (finding,) = told(tmp_path)["anomalies"]
    comparison = next(c for c in told(tmp_path)["comparisons"] if c["feature"] == "kind")
    assert comparison["baseline"] == "previous"
    for field in ("value", "threshold", "measure", "moved"):
        assert comparison[field] == finding[field]
    proto = text_format.Parse((tmp_path / "anomalies" / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies())
    (reason,) = proto.anomaly_info["kind"].reason
    assert reason.type == anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH
    assert list(proto.anomaly_info["kind"].path.step) == ["kind"]


def test_statistics_without_distributions(described, tmp_path):
    statistics = described(GOOD)
    infer_schema(statistics, tmp_path / "schema")
    (statistics / "distributions.json").unlink()
    with pytest.raises(InputError, match=r"distributions.json does not exist; let generate_statistics describe"):
        validate_data(statistics, tmp_path / "schema", tmp_path / "a", tmp_path / "page.html")


def test_too_few_rows_are_an_anomaly_of_the_dataset(gated, tmp_path):
    with pytest.raises(DataRejected, match=r"\(dataset\): Too few rows"):
        gated(GOOD, checks={"num_examples": {"min_rows": 1001}})
    proto = text_format.Parse((tmp_path / "anomalies" / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies())
    assert [reason.type for reason in proto.dataset_anomaly_info.reason] == [
        anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES
    ]
