from __future__ import annotations

import json

import pytest
import yaml

from shipway.components.common.errors import InputError
from shipway.components.data.validation.checks.pandera_rows import read_pandera

QUIET = {"duplicate_rows": "off", "category_variants": "off", "numbers_as_text": "off"}
COLUMNS = {"a": [1, 9, 0, 2], "origin": ["JFK", "EWR", "jfk", None], "b1": [0.5, 0.5, 7.0, 0.5]}
SCHEMA = {
    "schema_type": "dataframe",
    "version": "0.23.1",
    "columns": {
        "a": {"dtype": "int64", "checks": {"greater_than": 0, "in_range": {"min_value": 0, "max_value": 4}}},
        "origin": {
            "nullable": True,
            "checks": [{"value": ["JFK", "EWR"], "options": {"check_name": "isin", "ignore_na": True}}],
        },
        "^b.": {"regex": True, "checks": {"less_than": {"value": 1.0, "options": {"check_name": "less_than"}}}},
    },
    "unique": None,
    "strict": False,
}


@pytest.mark.parametrize(("suffix", "dump"), [("yaml", yaml.safe_dump), ("json", json.dumps)])
def test_rows_that_fail(check, tmp_path, suffix, dump):
    file = tmp_path / f"rows.{suffix}"
    file.write_text(dump(SCHEMA))
    found = check(COLUMNS, pandera_schema=str(file), checks=QUIET)["pandera"]
    assert {(f.feature, f.short): f.row_numbers.tolist() for f in found} == {
        ("a", "pandera: greater_than(0)"): [2],
        ("a", "pandera: in_range(0, 4)"): [1],
        ("origin", "pandera: isin(['JFK', 'EWR'])"): [2],
        ("b1", "pandera: less_than(1.0)"): [2],
    }
    good = {"a": [1, 2], "origin": ["JFK", "EWR"], "b1": [0.1, 0.2]}
    assert check(good, pandera_schema=str(file), checks=QUIET) == {}


def test_columns_that_fail(check, tmp_path):
    file = tmp_path / "columns.json"
    file.write_text(json.dumps({"columns": {"gone": {}, "a": {"dtype": "float64"}}}))
    found = check(COLUMNS, pandera_schema=str(file), checks=QUIET)["pandera"]
    assert [(f.feature, f.rows) for f in found] == [("a", None), ("gone", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is no pandera schema"),
        ("columns: {a: {checks: {own_check: 1}}}", "no built-in check 'own_check'"),
        ("columns: {a: {unique: true}}", "use rules or key_columns"),
        ("{columns: {a: {}}, unique: [a]}", "use rules or key_columns"),
        ("columns: {a: {dtype: floatt}}", "is no pandera schema"),
        ("columns: {", "is no pandera schema"),
    ],
)
def test_wrong_schemas(tmp_path, text, message):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pandera(file)
    with pytest.raises(InputError, match="is no pandera schema"):
        read_pandera(tmp_path / "gone.yaml")
