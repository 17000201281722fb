"""Each check catches its fault, by name, column and rows, and is silent about clean data."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.validation.checks import CHECKS, SPECS, run_checks
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.settings import parse_settings

ROWS = 4000


def only(found, name):
    assert list(found) == [name], {n: [f.description for f in each] for n, each in found.items()}
    (finding,) = found[name]
    return finding


def changed(columns, name, rows, value):
    values = list(columns[name])
    for row in rows:
        values[row] = value
    return {**columns, name: values}


def some_of(clean):
    """Other rows like the clean ones: half of them, in their order."""
    picked = np.sort(np.random.default_rng(3).choice(ROWS, ROWS // 2, replace=False))
    return {name: [values[i] for i in picked] for name, values in clean.items()}


def test_clean_data_has_no_findings(check, clean):
    known = {"label": "late", "key_columns": ["flight"], "time_column": "time"}
    assert check(clean, **known) == {}
    assert check(clean, clean, **known) == {}
    assert check(some_of(clean), clean, **known) == {}


def test_every_check_is_described():
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names) == len(CHECKS)
    assert all(spec.description and spec.severity in ("fail", "warn") for spec in SPECS)


def test_why_checks_did_not_run(context, clean):
    runs = run_checks(context(clean), parse_settings({"duplicate_rows": "off"}, SPECS))
    reasons = {run.name: run.not_run for run in runs}
    assert reasons["duplicate_rows"] == "off"
    assert "previous_statistics" in reasons["unit_change"]
    assert reasons["not_finite"] == ""


def test_duplicate_rows(check, clean):
    twice = {name: [*values, *values[:100]] for name, values in clean.items()}
    finding = only(check(twice), "duplicate_rows")
    assert finding.rows == 100
    assert finding.row_numbers.tolist() == list(range(ROWS, ROWS + 100))
    assert check(twice, twice) == {}


def test_duplicate_and_missing_keys(check, clean):
    broken = changed(changed(clean, "flight", [7, 9], 3), "flight", [20], None)
    missing, repeated = check(broken, key_columns=["flight"])["duplicate_keys"]
    assert missing.row_numbers.tolist() == [20]
    assert repeated.row_numbers.tolist() == [7, 9]
    assert repeated.severity == "fail"
    assert check(clean, key_columns=["time", "flight"]) == {}
    with pytest.raises(InputError, match="did you mean 'flight'"):
        check(clean, key_columns=["flihgt"])


def test_rows_other_than_the_statistics_counted(context, clean):
    made = context(clean)
    made.summary["rows"] += 1
    (run, *_) = run_checks(made, parse_settings(None, SPECS))
    assert "4,000 rows, its statistics counted 4,001" in run.findings[0].description


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("not_finite", "distance", float("nan")),
        ("not_finite", "distance", float("inf")),
        ("sentinels", "temperature", -999.0),
        ("empty_strings", "origin", ""),
        ("empty_strings", "origin", " \t\u00a0"),
        ("placeholders", "origin", "N/A"),
        ("placeholders", "origin", "?"),
        ("untrimmed_text", "origin", "JFK "),
        ("damaged_text", "carrier", "QuÃ©bec"),
        ("damaged_text", "carrier", "Qu\ufffdbec"),
        ("damaged_text", "carrier", "Que\x00bec"),
        ("category_variants", "carrier", "DELTA"),
        ("implausible_times", "time", np.datetime64("1970-01-01", "us")),
        ("implausible_times", "time", np.datetime64("1811-01-01", "us")),
        ("label_missing", "late", None),
        ("future_times", "time", np.datetime64("2033-01-01", "us")),
    ],
)
def test_rows_caught(check, clean, name, column, value):
    rows = [5, 17, 3999]
    more = {"label": "late"} if name == "label_missing" else {}
    more |= {"time_column": "time", "checks": {"time_gaps": "off"}} if name == "future_times" else {}
    finding = only(check(changed(clean, column, rows, value), **more), name)
    assert finding.feature == column
    assert finding.row_numbers.tolist() == rows
    assert finding.row_numbers.dtype == np.int64


@pytest.mark.parametrize("column", ["time", "day", "zoned"])
def test_times_of_other_types(check, clean, column):
    times = np.array(clean["time"])
    times[[5, 17]] = np.datetime64("2014-02-01", "us")
    kinds = {"time": pa.timestamp("ns"), "day": pa.date32(), "zoned": pa.timestamp("us", "America/New_York")}
    broken = {**clean, "time": pa.array(times).cast(kinds[column])}
    finding = only(check(broken, time_column="time", checks={"time_gaps": "off"}), "future_times")
    assert finding.row_numbers.tolist() == [5, 17]
    later = datetime.datetime(2014, 3, 1, tzinfo=datetime.UTC)
    assert check(broken, time_column="time", checks={"time_gaps": "off"}, now=later) == {}


def test_what_the_previous_data_had_too_is_known(check, clean):
    broken = changed(clean, "origin", range(0, 200, 2), "-")
    assert "placeholders" in check(broken, clean)
    assert check(broken, broken) == {}


def test_portuguese_is_not_damaged(check, clean):
    assert check(changed(clean, "carrier", [1, 2], "“AMANHÔ NÃO ação")) == {}


def test_numbers_as_text(check, clean):
    texts = {**clean, "distance": [str(value) for value in clean["distance"]]}
    assert "100.00% of the texts are numbers" in only(check(texts), "numbers_as_text").description
    mixed = only(check(changed(texts, "distance", [3, 8], "far")), "numbers_as_text")
    assert mixed.row_numbers.tolist() == [3, 8]
    assert check({**clean, "zip": [f"{n % 900:05d}" for n in range(ROWS)]}) == {}


def test_constant_columns(check, clean):
    assert only(check({**clean, "origin": ["JFK"] * ROWS}), "constant_columns").feature == "origin"
    month = {**clean, "month": [3] * ROWS}
    assert check(month, month) == {}
    assert check(month, {**clean, "month": [1 + n // 2000 for n in range(ROWS)]}) == {}


def test_identical_columns(check, clean):
    copied = {**clean, "flight_copy": np.asarray(clean["flight"], float)}
    assert only(check(copied), "identical_columns").feature == "flight_copy"
    assert check(copied, copied) == {}


def test_lost_categories(check, clean):
    finding = only(
        check(changed(clean, "origin", [i for i, o in enumerate(clean["origin"]) if o == "LGA"], "JFK"), clean),
        "lost_categories",
    )
    assert "'LGA'" in finding.description


def test_truncated_text(check, clean):
    found = check({**clean, "carrier": [text[:4] for text in clean["carrier"]]}, clean)
    assert found["truncated_text"][0].feature == "carrier"
    names = {**clean, "carrier": [f"{'x' * (n % 40)}{n}" for n in range(ROWS)]}
    cut = {**clean, "carrier": [text[:20] for text in names["carrier"]]}
    assert "20 characters" in check(cut, names)["truncated_text"][0].description
    assert "truncated_text" not in check(some_of(names), names)


@pytest.mark.parametrize(
    ("column", "convert"),
    [
        ("distance", lambda v: v * 1.609344),
        ("air_time", lambda v: v / 60),
        ("distance", lambda v: v * 1000),
        ("temperature", lambda v: (v - 32) / 1.8),
        ("distance", lambda v: -v),
    ],
)
def test_unit_change(check, clean, column, convert):
    part = some_of(clean)
    broken = {**part, column: [convert(value) for value in part[column]]}
    assert check(broken, clean)["unit_change"][0].feature == column


def test_swapped_columns(check, clean):
    part = some_of(clean)
    swapped = {**part, "distance": part["temperature"], "temperature": part["distance"]}
    assert {f.feature for f in check(swapped, clean)["swapped_columns"]} == {"distance", "temperature"}
    swapped = {**part, "origin": part["carrier"], "carrier": part["origin"]}
    assert {f.feature for f in check(swapped, clean)["swapped_columns"]} == {"origin", "carrier"}


def test_shuffled_column(check, clean):
    part = some_of(clean)
    broken = {**part, "dew_point": np.random.default_rng(1).permutation(part["dew_point"])}
    finding = next(f for f in check(broken, clean)["broken_relations"] if f.feature == "dew_point")
    assert "hung together with temperature" in finding.description


def test_columns_that_look_alike_swapped(check, clean):
    generator = np.random.default_rng(4)
    one, two = (generator.normal(0, 1, ROWS) for _ in range(2))
    alike = {"one": one, "two": two, "of_one": one + 0.1, "half_of_two": two + generator.normal(0, 0.3, ROWS)}
    alike["near_one"] = one + generator.normal(0, 0.5, ROWS)
    finding = check({**alike, "one": two, "two": one}, alike)["crossed_relations"][0]
    assert {finding.feature, *finding.description.split()} >= {"one", "two"}


def test_sorted_label(check, clean):
    order = np.argsort(clean["late"], kind="stable")
    in_order = {name: [values[i] for i in order] for name, values in clean.items() if name not in ("flight", "time")}
    before = {name: clean[name] for name in in_order}
    assert only(check(in_order, before, label="late"), "sorted_label").feature == "late"
    assert check(in_order, in_order, label="late") == {}


def test_far_values_and_spikes(check, clean):
    far = only(check(changed(clean, "temperature", [3, 4], 1048.0), clean), "far_values")
    assert far.row_numbers.tolist() == [3, 4]
    spike = check(changed(clean, "temperature", range(0, ROWS, 5), 55.0), clean)["value_spikes"][0]
    assert spike.feature == "temperature"
    assert spike.value == pytest.approx(0.2, abs=0.03)


def test_lost_precision(check, clean):
    finding = only(check({**clean, "temperature": np.round(clean["temperature"])}, clean), "lost_precision")
    assert finding.feature == "temperature"
    assert finding.value == 0


def test_label_classes(check, clean):
    assert only(check({**clean, "late": [0] * ROWS}, checks={"constant_columns": "off"}, label="late"), "label_classes")
    found = check(
        changed(clean, "origin", [i for i, o in enumerate(clean["origin"]) if o == "LGA"], "JFK"), clean, label="origin"
    )
    assert "LGA (24.57%)" in found["label_classes"][0].description
    assert "no column 'lat'" in only(check(clean, label="lat"), "label_missing").description


@pytest.mark.parametrize(
    ("label", "leak"),
    [
        ("late", lambda c: [f"code {value}" for value in c["late"]]),
        ("late", lambda c: np.asarray(c["late"]) + np.random.default_rng(2).normal(0, 0.15, ROWS)),
        ("late", lambda c: [1.5 + n % 7 if value else None for n, value in enumerate(c["late"])]),
        ("origin", lambda c: [text.lower() + "!" for text in c["origin"]]),
        ("temperature", lambda c: np.asarray(c["temperature"]) * 1.8 + 3),
    ],
)
def test_label_leakage(check, clean, label, leak):
    finding = only(check({**clean, "leak": leak(clean)}, label=label), "label_leakage")
    assert finding.feature == "leak"
    assert finding.value > 0.99


def test_good_features_are_no_leak(check):
    datasets = pytest.importorskip("sklearn.datasets")
    for load in (datasets.load_breast_cancer, datasets.load_wine, datasets.load_iris, datasets.load_diabetes):
        frame = load(as_frame=True).frame
        assert "label_leakage" not in check(dict(frame.items()), label="target")


def test_time_gaps(check, clean):
    days = np.asarray(clean["time"], "datetime64[D]")
    kept = days != np.datetime64("2013-03-20")
    broken = {name: np.asarray(values)[kept] for name, values in clean.items()}
    assert "2013-03-20 (0 for about" in only(check(broken, time_column="time"), "time_gaps").description


def test_severity_and_parameters_of_single_columns(check, clean):
    broken = changed(changed(clean, "origin", [1], ""), "carrier", [2], "")
    found = check(broken, checks={"empty_strings": {"severity": "off", "features": {"carrier": "fail"}}})
    assert only(found, "empty_strings").severity == "fail"


def test_rows_are_counted_over_files_in_order(tmp_path):
    for part, rows in enumerate((100_000, 1, 0, 200_000)):
        values = np.full(rows, part, np.int64)
        pq.write_table(
            pa.table({"a": values, "shipway": values}), tmp_path / f"part-{part:05d}.parquet", row_group_size=7000
        )
    with Data(sorted(tmp_path.glob("*.parquet"))) as data:
        assert data.rows == 300_001
        assert data.row_numbers("a = 1").tolist() == [100_000]
        assert data.row_numbers("a = 3").tolist() == list(range(100_001, 300_001))


def test_odd_names_and_types(check):
    columns = {
        'a "quoted" {c} name': [1, 2, 3],
        "list": pa.array([[1], [2, 3], None]),
        "flag": [True, False, None],
        "small": pa.array([1, 2, 3], pa.uint8()),
        "words": pa.array(["x", "y", "y"]).dictionary_encode(),
        "empty": pa.array([None, None, None], pa.float64()),
    }
    assert set(check(columns)) <= {"identical_columns"}


def test_no_rows(check, clean):
    assert check({name: pa.array(values)[:0] for name, values in clean.items()}, label="late", time_column="time") == {}


def test_broken_files(context, clean, tmp_path):
    made = context(clean)
    made.dataset[0].write_bytes(made.dataset[0].read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        run_checks(made, parse_settings(None, SPECS))
