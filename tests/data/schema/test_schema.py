from __future__ import annotations

import datetime

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.schema.curated import resolve_schema
from shipway.components.data.schema.environments import require_environment
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.lint import lint_schema
from shipway.components.data.schema.protos import parse_schema, read_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

ROWS = 400
COLUMNS = {
    "price_usd": [round(i * 0.37, 2) for i in range(ROWS)],
    "fee_usd": [0.1] * ROWS,
    "count": [i % 90 for i in range(ROWS)],
    "flag": [i % 2 for i in range(ROWS)],
    "kind": ["a", "b"] * (ROWS // 2),
    "seen": [datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i) for i in range(ROWS)],
    "empty": np.full(ROWS, np.nan),
}


@pytest.fixture
def inferred(described, tmp_path):
    """Infers a schema and returns it and its features by name."""

    def run(columns=COLUMNS, **parameters):
        infer_schema(described(columns), tmp_path / "schema", **parameters)
        schema = read_schema(tmp_path / "schema")
        return schema, {feature.name: feature for feature in schema.feature}

    return run


def anomalies(statistics, schema, **parameters):
    proto = tfdv.validate_statistics(read_statistics(statistics), schema, **parameters)
    return {name: [reason.type for reason in info.reason] for name, info in proto.anomaly_info.items()}


def test_what_is_asked_of_a_column(described, tmp_path):
    columns = {**COLUMNS, "count": [None, *range(ROWS - 1)]}
    metadata = infer_schema(described(columns), tmp_path / "schema", label="kind", max_unseen_fraction=0.05)
    assert (metadata["features"], metadata["curated"]) == (len(COLUMNS), False)
    features = {feature.name: feature for feature in read_schema(tmp_path / "schema").feature}
    assert features["kind"].distribution_constraints.min_domain_mass == 0.95
    assert not features["count"].HasField("distribution_constraints")
    assert features["flag"].presence.min_fraction == pytest.approx(1 - 3 / ROWS)
    assert features["count"].presence.min_fraction == 0


def test_serving_data_has_no_label(inferred, described):
    schema, features = inferred(label="kind")
    assert list(schema.default_environment) == ["TRAINING", "SERVING"]
    assert list(features["kind"].not_in_environment) == ["SERVING"]
    unlabelled = described({name: column for name, column in COLUMNS.items() if name != "kind"}, "serving")
    assert anomalies(unlabelled, schema, environment="SERVING") == {}
    assert anomalies(unlabelled, schema, environment="TRAINING").keys() == {"kind"}
    assert anomalies(unlabelled, schema).keys() == {"kind"}


def test_without_a_label_every_column_is_in_every_environment(inferred):
    schema, _ = inferred()
    assert not any(feature.not_in_environment or feature.in_environment for feature in schema.feature)


def test_an_environment_must_be_known(inferred):
    schema, _ = inferred()
    for known in ("", "TRAINING", "SERVING"):
        require_environment(schema, known)
    with pytest.raises(InputError, match=r"environment='servin'.*did you mean 'SERVING'\? It has TRAINING, SERVING"):
        require_environment(schema, "servin")
    with pytest.raises(InputError, match="It has none; add default_environment lines"):
        require_environment(schema_pb2.Schema(), "SERVING")


def test_ranges_are_opt_in(inferred):
    _, features = inferred()
    assert {name: feature.WhichOneof("domain_info") for name, feature in features.items()} == {
        "price_usd": None, "fee_usd": None, "count": None, "flag": "bool_domain", "kind": "domain", "seen": None,
        "empty": None,
    }  # fmt: skip


def test_ranges_of_some_columns(inferred):
    _, features = inferred(range_columns=["*_usd", "count"], range_margin=0.1)
    assert (features["count"].int_domain.min, features["count"].int_domain.max) == (-9, 98)
    assert features["price_usd"].float_domain.min == pytest.approx(-14.763)
    assert features["price_usd"].float_domain.max == pytest.approx(162.393)
    assert features["seen"].WhichOneof("domain_info") is None


def test_what_was_seen_is_in_its_range(inferred, described):
    schema, features = inferred(range_columns=["*"], range_margin=0)
    assert features["flag"].WhichOneof("domain_info") == "bool_domain"
    assert features["empty"].WhichOneof("domain_info") is None
    assert anomalies(described(COLUMNS), schema) == {}
    dearer = described({**COLUMNS, "price_usd": [147.7] * ROWS, "count": [90] * ROWS}, "dearer")
    assert anomalies(dearer, schema) == {
        "price_usd": [anomalies_pb2.AnomalyInfo.FLOAT_TYPE_BIG_FLOAT],
        "count": [anomalies_pb2.AnomalyInfo.INT_TYPE_BIG_INT],
    }


@pytest.mark.parametrize("extreme", [np.array([-(2**63), 2**63 - 1]), np.array([-1.7e308, 1.7e308])])
def test_the_widest_ranges(inferred, described, extreme):
    schema, _ = inferred({"n": np.repeat(extreme, 50)}, range_columns=["n"])
    assert anomalies(described({"n": np.repeat(extreme, 50)}), schema) == {}


def test_a_column_may_be_called_like_a_pattern(inferred):
    _, features = inferred({"a[0]": [1, 2, 3], "a0": [1, 2, 3]}, range_columns=["a[0]"])
    assert {name for name, feature in features.items() if feature.HasField("int_domain")} == {"a[0]", "a0"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"range_columns": ["cuont"]}, "no column of numbers is called 'cuont'; they are price_usd, fee_usd"),
        ({"range_columns": ["kind"]}, "no column of numbers is called 'kind'"),
        ({"range_columns": ["count"], "range_margin": -0.1}, "range_margin=-0.1: must be a number of 0 or more"),
        ({"range_margin": float("nan")}, "range_margin=nan"),
    ],
)
def test_wrong_ranges(inferred, parameters, message):
    with pytest.raises(InputError, match=message):
        inferred(**parameters)


def test_no_rows_say_nothing(inferred):
    with pytest.raises(InputError, match="statistics are of no rows"):
        inferred({"n": np.array([], np.int64)})


def test_a_curated_schema_may_be_a_directory(inferred, described, tmp_path):
    _, features = inferred(label="kind")
    metadata = infer_schema(described(COLUMNS), tmp_path / "again", schema_uri=str(tmp_path / "schema"))
    assert metadata["curated"]
    assert metadata["digest"] == resolve_schema(str(tmp_path / "schema"))
    assert {feature.name for feature in read_schema(tmp_path / "again" / "schema.pbtxt").feature} == features.keys()


NEWER = 'feature {{\n  name: "a"\n  type: INT\n  {}\n}}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quantum_bounds { min: 1 }", r"4:3.*Feature has no field 'quantum_bounds'\. If the"),
        ("int_domain { minimum: 1 }", r"4:16.*IntDomain has no field 'minimum'; did you mean 'min'\?"),
        ("lifecycle_stage: BETTA", r"4:20.*LifecycleStage has no value 'BETTA'; did you mean 'BETA'\?"),
        ("lifecycle_stage: 99", "4:20.*LifecycleStage has no value '99'"),
    ],
)
def test_a_schema_of_a_newer_tfdv_is_refused(line, message):
    with pytest.raises(InputError, match=f"{message}.*newer TFDV.*install that version, or remove the line"):
        parse_schema(NEWER.format(line), "mine")


def test_lines_of_other_faults():
    with pytest.raises(InputError, match=r"mine is no schema .*2:18"):
        parse_schema('feature {\n name: "a" name: "b"\n}', "mine")


VAIN = [
    ("type: BYTES drift_comparator { infinity_norm { } }", "", "drift_comparator.infinity_norm has no threshold"),
    ("type: FLOAT drift_comparator { jensen_shannon_divergence { } }", "", "has no threshold"),
    ("type: FLOAT drift_comparator { jensen_shannon_divergence { threshold: 10 } }", "", "never above 1"),
    ("type: BYTES skew_comparator { }", "", "skew_comparator names no measure"),
    ("type: BYTES group_presence { required: true }", "", "group_presence is never checked"),
    ('type: BYTES not_in_environment: "SERVIN"', "", "not_in_environment names 'SERVIN'"),
    ("type: INT", 'feature { name: "a" type: BYTES }', "'a' is there 2 times"),
    ("type: INT", 'int_domain { name: "a" min: 7 }', "int_domain 'a' of the schema is never checked"),
    ("type: INT", 'float_domain { name: "a" min: 7 }', "float_domain 'a' of the schema is never checked"),
]


@pytest.mark.parametrize(("field", "rest", "message"), VAIN)
def test_what_tfdv_ignores_is_named(field, rest, message):
    (line,) = lint_schema(text_format.Parse(f'feature {{ name: "a" {field} }} {rest}', schema_pb2.Schema()))
    assert message in line


@pytest.mark.parametrize(("field", "rest", "message"), VAIN)
def test_tfdv_does_ignore_it(described, field, rest, message):
    """Should a later TFDV heed one of these, this tells."""
    kind = next(kind for kind in ("INT", "FLOAT", "BYTES") if kind in field)
    now = described({"a": {"INT": np.arange(ROWS), "FLOAT": np.arange(ROWS) / 3, "BYTES": ["x"] * ROWS}[kind]})
    then = described({"a": {"INT": np.full(ROWS, 7), "FLOAT": np.full(ROWS, 1e3), "BYTES": ["y"] * ROWS}[kind]}, "t")
    schema = text_format.Parse(f'feature {{ name: "a" {field} }} {rest}', schema_pb2.Schema())
    proto = tfdv.validate_statistics(
        read_statistics(now),
        schema,
        previous_statistics=read_statistics(then),
        serving_statistics=read_statistics(then),
    )
    assert not proto.anomaly_info
    assert not proto.dataset_anomaly_info.reason


@pytest.mark.parametrize(
    "text",
    [
        "type: INT drift_comparator { jensen_shannon_divergence { threshold: 0.1 } }",
        "type: BYTES drift_comparator { infinity_norm { threshold: 1 } }",
        "type: BYTES lifecycle_stage: ALPHA",
        'type: BYTES domain: "d"',
    ],
)
def test_what_tfdv_heeds_is_not_named(text):
    rest = 'default_environment: "X" dataset_constraints { min_examples_count: 1 max_examples_count: 9 }'
    assert not lint_schema(text_format.Parse(f'feature {{ name: "a" {text} }} {rest}', schema_pb2.Schema()))


def test_inferred_schemas_say_nothing_in_vain(inferred):
    assert not lint_schema(inferred(label="kind", range_columns=["*"])[0])


def test_a_curated_schema_that_says_things_in_vain_is_refused(described, tmp_path):
    curated = tmp_path / "schema.pbtxt"
    curated.write_text('feature { name: "count" type: INT group_presence { required: true } skew_comparator { } }')
    with pytest.raises(InputError, match=r"(?s)held against:\n.*skew_comparator names no.*group_presence is never"):
        infer_schema(described(COLUMNS), tmp_path / "schema", schema_uri=str(curated))
    assert not (tmp_path / "schema").exists()


def test_a_constant_is_no_boolean(inferred):
    _, features = inferred({"ones": [1] * ROWS, "none": [0] * ROWS, "flag": COLUMNS["flag"], "two": [2] * ROWS})
    assert [name for name, feature in features.items() if feature.HasField("bool_domain")] == ["flag"]
