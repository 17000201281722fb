"""TFDV's anomalies as findings, and what TFDV is not asked."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.schema.protos import read_statistics
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.validation.schema_anomalies import SPEC, comparators, schema_findings, validated
from shipway.components.data.validation.settings import parse_settings

SCHEMA = """
default_environment: "TRAINING" default_environment: "SERVING"
feature { name: "n" type: INT presence { min_fraction: 1 } }
feature {
  name: "kind" type: BYTES presence { min_count: 1 } string_domain { value: "a" } not_in_environment: "SERVING"
}
"""


def schema(text=SCHEMA):
    return text_format.Parse(text, schema_pb2.Schema())


@pytest.fixture
def found(described):
    def run(columns, environment="", checks=None, text=SCHEMA):
        proto = validated(read_statistics(described(columns)), schema(text), environment)
        return list(schema_findings(proto, parse_settings({"schema": checks or {}}, [SPEC])["schema"]))

    return run


def kinds(findings):
    return [(finding.feature, finding.measure, finding.severity) for finding in findings]


GOOD = {"n": [1, 2], "kind": ["a", "a"]}
BAD = {"n": [1, None], "kind": ["a", "b"], "new": [1, 2]}


def test_good_data_has_none(found):
    assert found(GOOD) == []


def test_each_reason_is_a_finding(found):
    findings = found(BAD)
    assert kinds(findings) == [
        ("kind", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "fail"),
        ("n", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "fail"),
        ("new", "SCHEMA_NEW_COLUMN", "fail"),
    ]
    assert "b (~50%)" in findings[0].description


def test_environments(found):
    columns = {"n": [1, 2]}
    assert found(columns, "SERVING") == []
    assert kinds(found(columns, "TRAINING")) == [("kind", "SCHEMA_MISSING_COLUMN", "fail")]
    with pytest.raises(InputError, match=r"environment='SERVIN': .* did you mean 'SERVING'"):
        found(columns, "SERVIN")


def test_severities_by_type_and_column(found):
    checks = {"warn": ["SCHEMA_NEW_COLUMN"], "off": ["FEATURE_TYPE_LOW_FRACTION_PRESENT"]}
    assert kinds(found(BAD, checks=checks)) == [
        ("kind", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "fail"),
        ("new", "SCHEMA_NEW_COLUMN", "warn"),
    ]
    checks = {"severity": "warn", "features": {"n": "off", "kind": "fail"}}
    assert [(name, severity) for name, _, severity in kinds(found(BAD, checks=checks))] == [
        ("kind", "fail"),
        ("new", "warn"),
    ]
    with pytest.raises(InputError, match="no type of anomaly 'SCHEMA_NEW_COLUM'; did you mean 'SCHEMA_NEW_COLUMN'"):
        found(BAD, checks={"features": {"n": {"off": ["SCHEMA_NEW_COLUM"]}}})


def test_slices_are_not_the_whole(dataset, tmp_path):
    rows = dataset({"n": [1, 2, 3], "kind": ["a", "a", "b"]})
    generate_statistics(rows, tmp_path / "s", slice_columns=["kind"])
    proto = read_statistics(tmp_path / "s")
    assert len(proto.datasets) > 1
    assert "kind" in validated(proto, schema(), "").anomaly_info


COMPARED = SCHEMA.replace('name: "n"', 'name: "n" drift_comparator { jensen_shannon_divergence { threshold: 0.2 } }')


def test_comparators_are_read_and_kept_from_tfdv(described):
    text = (
        COMPARED
        + """
    feature { name: "c" skew_comparator { infinity_norm { threshold: 0.1 } } }
    dataset_constraints { min_examples_count: 1000 num_examples_drift_comparator { min_fraction_threshold: 2 } }
    """
    )
    assert comparators(schema(text), "drift") == {"n": {"jensen_shannon": 0.2}}
    assert comparators(schema(text), "skew") == {"c": {"l_infinity": 0.1}}
    proto = validated(
        read_statistics(described(GOOD)), schema(text.replace('name: "c"', 'name: "d" deprecated: true')), ""
    )
    assert not proto.anomaly_info
    assert not proto.dataset_anomaly_info.reason
    assert not proto.drift_skew_info


@pytest.mark.parametrize(
    "feature",
    [
        'name: "n" drift_comparator { normalized_abs_difference { threshold: 0.1 } }',
        'name: "n" struct_domain { feature { name: "m" drift_comparator { infinity_norm { threshold: 1 } } } }',
    ],
)
def test_comparators_that_cannot_be_measured(feature):
    with pytest.raises(InputError, match=r"drift_comparator of n(\.m)? cannot be measured; .* checks.drift"):
        comparators(schema(f"feature {{ {feature} }}"), "drift")
