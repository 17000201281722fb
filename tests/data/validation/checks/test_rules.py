from __future__ import annotations

import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.validation.checks import SPECS, run_checks
from shipway.components.data.validation.checks.rules import parse_rules
from shipway.components.data.validation.checks.schema_rows import schema_rows
from shipway.components.data.validation.settings import parse_settings

COLUMNS = {"a": [1, 5, None, 2], "b": [2, 4, 1, 2], "origin": ["JFK", "EWR", "jfk", None]}
QUIET = {"duplicate_rows": "off", "category_variants": "off"}


def test_rules_across_and_within_columns(check):
    rules = ["a <= b", {"name": "codes", "expression": "upper(origin) = origin -- as printed", "severity": "warn"}]
    order, codes = check(COLUMNS, rules=rules, checks=QUIET)["row_rules"]
    assert (order.short, order.severity, order.feature, order.row_numbers.tolist()) == ("a <= b", "fail", "", [1])
    assert (codes.short, codes.severity, codes.feature, codes.row_numbers.tolist()) == ("codes", "warn", "origin", [2])


def test_rules_that_hold_and_rules_that_are_off(check):
    assert check(COLUMNS, rules=["b > 0", {"expression": "b < 0", "severity": "off"}], checks=QUIET) == {}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("a <=", "Parser Error"),
        ("c > 1", "The columns are a, b, origin"),
        ("a + b", "it must be a condition"),
        ("true) FROM data; DROP VIEW data; SELECT (1", "one condition"),
        ("a IN (SELECT a FROM '/etc/passwd')", "rules: "),
    ],
)
def test_wrong_sql(check, rule, message):
    with pytest.raises(InputError, match=message):
        check(COLUMNS, rules=[rule])


def test_rules_over_columns_that_are_not_as_the_schema_says(context):
    rules = ["gone > 1", {"name": "sum", "expression": "a + origin > 3", "severity": "warn"}, "b > 0"]
    made = context(COLUMNS, rules=rules)
    for name, kind in (("gone", schema_pb2.INT), ("a", schema_pb2.INT), ("origin", schema_pb2.INT)):
        made.schema.feature.add(name=name, type=kind)
    (run,) = (run for run in run_checks(made, parse_settings(None, SPECS)) if run.name == "row_rules")
    gone, turned = run.findings
    assert (gone.feature, gone.severity, "there is no column gone" in gone.description) == ("gone", "fail", True)
    assert (turned.feature, turned.severity) == ("origin", "warn")
    assert "origin holds text rather than numbers" in turned.description


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([3], "must be a condition in SQL"),
        ([{"name": "x"}], "expression is missing"),
        ([{"expression": "a > 1", "level": "fail"}], "there is no 'level'"),
        ([{"expression": "a > 1", "severity": "error"}], "must be one of fail, warn, off"),
        (["a > 1", "a > 1"], "2 times"),
    ],
)
def test_wrong_rules(rules, message):
    with pytest.raises(InputError, match=message):
        parse_rules(rules)


def test_rows_behind_anomalies_of_the_schema(context):
    schema = schema_pb2.Schema()
    schema.string_domain.add(name="codes", value=["JFK", "EWR"])
    schema.feature.add(name="origin", type=schema_pb2.BYTES, domain="codes")
    schema.feature.add(name="a", type=schema_pb2.INT).int_domain.CopyFrom(schema_pb2.IntDomain(min=2, max=4))
    schema.feature.add(name="x", type=schema_pb2.FLOAT).float_domain.CopyFrom(schema_pb2.FloatDomain(max=1.0))
    made = context({**COLUMNS, "x": [0.5, 1.5, float("nan"), float("inf")], "flag": pa.array([True] * 4)})
    made.schema.CopyFrom(schema)
    wanted = {
        ("origin", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"): [2],
        ("origin", "FEATURE_TYPE_LOW_FRACTION_PRESENT"): [3],
        ("a", "INT_TYPE_SMALL_INT"): [0],
        ("a", "INT_TYPE_BIG_INT"): [1],
        ("x", "FLOAT_TYPE_BIG_FLOAT"): [1, 3],
        ("x", "FLOAT_TYPE_HAS_NAN"): [2],
        ("x", "FLOAT_TYPE_HAS_INF"): [3],
    }
    others = [("gone", "SCHEMA_MISSING_COLUMN"), ("gone", "INT_TYPE_BIG_INT"), ("a", "FEATURE_TYPE_NOT_PRESENT")]
    found = schema_rows(made, [*wanted, *others])
    assert {pair: rows.tolist() for pair, rows in found.items()} == wanted
