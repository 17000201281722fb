"""Drift, skew and changes of counts: what is caught, and what is let be."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.data.validation import column_changes, counts, drift
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.schema_anomalies import comparators
from shipway.components.data.validation.seasons import runs_on, time_shares
from shipway.components.data.validation.settings import parse_settings

SPECS = (
    *drift.SPECS,
    counts.NUM_EXAMPLES,
    counts.ROW_COUNT_CHANGE,
    column_changes.NEW_VALUES,
    column_changes.MISSING_CHANGE,
    column_changes.DISTINCT_CHANGE,
)
COUNTED = {
    "num_examples": counts.num_examples,
    "row_count_change": counts.row_count_change,
    "new_values": column_changes.new_values,
    "missing_change": column_changes.missing_change,
    "distinct_change": column_changes.distinct_change,
}


def month(number, rows=4000, seed=0):
    """Hourly rows of one month: a season, a stable number, categories, a counter and a weekday."""
    generator = np.random.default_rng([number, seed])
    start = datetime.datetime(2020, number, 1)
    hours = np.sort(generator.integers(0, 28 * 24, rows))
    warmth = 10 * number + 5 * np.sin(hours / 24 / 3) + generator.normal(0, 1, rows)
    return {
        "time": pa.array([start + datetime.timedelta(hours=int(hour)) for hour in hours]),
        "month": np.full(rows, number),
        "id": np.arange(rows) + rows * number,
        "warmth": warmth,
        "weekday": [("mon", "tue", "wed", "thu", "fri", "sat", "sun")[hour // 24 % 7] for hour in hours],
        "distance": generator.lognormal(6, 0.5, rows),
        "carrier": generator.choice(["UA", "DL", "AA", "B6"], rows, p=[0.4, 0.3, 0.2, 0.1]),
        "delay": np.where(generator.random(rows) < 0.1, np.nan, generator.exponential(20, rows)).round(),
        "plane": [f"N{number:03d}" for number in generator.zipf(1.5, rows) % 900],
    }


@pytest.fixture
def context(described, tmp_path):
    """The context of columns against earlier ones, with the rows when there is a time column."""

    def make(before, after, time_column="", schema="", baseline="previous", **more):
        sides = [
            json.loads((described(c, n) / "distributions.json").read_text()) for c, n in ((before, "b"), (after, "a"))
        ]
        return Context(
            schema=text_format.Parse(schema, schema_pb2.Schema()),
            summary={},
            distributions=sides[1],
            time_column=time_column,
            **{f"{baseline}_distributions": sides[0]},
            **{"dataset": dataset_files(tmp_path / "a-data"), **more},
        )

    return make


def compared(context, checks=None, baseline="previous"):
    name = "drift" if baseline == "previous" else "skew"
    settings = parse_settings(checks, SPECS)[name]
    found = drift.compare(context, baseline, settings, comparators(context.schema, name))
    return {each.feature: each for each in found}, list(drift.drift_findings(found, settings))


def counted(name, context, **settings):
    return list(COUNTED[name](context, parse_settings({name: settings}, SPECS)[name]))


@pytest.fixture
def months(context):
    def make(change=None, time_column="time", **more):
        after = month(6)
        after.update(change(after) if change else {})
        return context(month(5), {n: v for n, v in after.items() if v is not None}, time_column, **more)

    return make


@pytest.mark.parametrize("time_column", ["time", ""])
def test_a_clean_later_month_has_no_findings(months, time_column):
    clean = months(time_column=time_column)
    found, findings = compared(clean)
    assert findings == []
    assert found["warmth"].note == "follows the time"
    assert (found["warmth"].value > 0.5, found["warmth"].threshold) == (True, 0.9)
    for name in ("month", "id"):
        assert (found[name].threshold, found[name].note) == (None, "runs on where the other data ends")
    assert [counted(name, clean) for name in COUNTED] == [[]] * len(COUNTED)


def test_without_rows_the_season_is_not_known(months):
    _, findings = compared(months(dataset=None))
    assert [finding.feature for finding in findings] == ["warmth"]


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda c: {"distance": c["distance"] * 1.609}, "distance"),
        (lambda c: {"distance": c["delay"] + 20, "delay": c["distance"]}, "distance"),
        (lambda c: {"delay": np.where(np.arange(4000) % 2, np.nan, c["delay"])}, "delay"),
        (lambda c: {"carrier": np.where(np.arange(4000) % 5 == 0, "B6", c["carrier"])}, "carrier"),
        (lambda c: {"carrier": np.where(np.arange(4000) % 5 == 0, "ZZ", c["carrier"])}, "carrier"),
        (lambda c: {"warmth": c["warmth"] * 100}, "warmth"),
        (lambda c: {"carrier": pa.array([None] * 4000, pa.string())}, "carrier"),
    ],
)
def test_shifts_are_found(months, change, feature):
    _, findings = compared(months(change))
    assert feature in [finding.feature for finding in findings]
    found = next(finding for finding in findings if finding.feature == feature)
    assert found.value > found.threshold
    assert 1 <= len(found.moved) <= 5
    sizes = [abs(moved.after - moved.before) for moved in found.moved]
    assert sizes == sorted(sizes, reverse=True)
    assert found.moved[0].bin in found.description


def test_small_samples_are_held_against_chance(context):
    generator = np.random.default_rng(3)
    draws = [{"x": generator.normal(size=n), "c": generator.choice(["a", "b"], n)} for n in (500, *[20] * 20)]
    for number, draw in enumerate(draws[1:]):
        found, findings = compared(context(draws[0], draw))
        assert findings == [], number
        assert found["x"].note.startswith("threshold raised")
        assert found["x"].threshold > 0.25


def test_a_threshold_that_was_set_is_taken_as_it_is(months):
    found, findings = compared(
        months(), {"drift": {"features": {"warmth": {"threshold": 0.4}, "month": {"threshold": 1}}}}
    )
    assert (found["warmth"].threshold, found["month"].threshold) == (0.4, 1)
    assert [finding.feature for finding in findings] == ["warmth"]
    found, _ = compared(months(), {"drift": {"threshold": 0.001}})
    assert {each.threshold for each in found.values() if each.value is not None} == {0.001}


def test_severities(months):
    shifted = months(lambda c: {"distance": c["distance"] * 3, "carrier": np.full(4000, "UA")})
    _, findings = compared(shifted, {"drift": {"severity": "warn", "features": {"carrier": "off", "weekday": "fail"}}})
    assert [(finding.feature, finding.severity) for finding in findings] == [("distance", "warn")]


@pytest.mark.parametrize("measure", ["jensen_shannon", "kl", "psi", "ks", "l_infinity"])
def test_measures_for_all_columns_go_where_they_suit(months, measure):
    shifted = months(lambda c: {"distance": c["distance"] * 3, "carrier": np.full(4000, "UA")})
    found, findings = compared(shifted, {"drift": {"measure": measure}})
    assert found["distance"].measure == ("ks" if measure == "l_infinity" else measure)
    assert found["carrier"].measure == ("l_infinity" if measure == "ks" else measure)
    assert {"distance", "carrier"} <= {finding.feature for finding in findings}
    assert "warmth" not in {finding.feature for finding in findings}


def test_measures_that_do_not_suit_a_column_are_refused(months):
    with pytest.raises(InputError, match=r"distance holds numbers of too many distinct values .* use ks"):
        compared(months(), {"drift": {"features": {"distance": {"measure": "l_infinity"}}}})
    with pytest.raises(InputError, match="ks is for numbers, and carrier holds strings"):
        compared(months(), {"drift": {"features": {"carrier": {"measure": "ks"}}}})
    with pytest.raises(InputError, match="no column 'carier'; did you mean 'carrier'"):
        compared(months(), {"drift": {"features": {"carier": "off"}}})


NORM = "drift_comparator { infinity_norm { threshold: 0.01 } jensen_shannon_divergence { threshold: 0.3 } }"


def test_the_schema_sets_thresholds(months):
    found = months(schema=f'feature {{ name: "carrier" {NORM} }} feature {{ name: "month" {NORM} }}')
    settings = parse_settings({}, SPECS)["drift"]
    both = drift.compare(found, "previous", settings, comparators(found.schema, "drift"))
    assert {(c.feature, c.measure, c.threshold) for c in both if c.feature in ("carrier", "month")} == {
        ("carrier", "l_infinity", 0.01), ("carrier", "jensen_shannon", 0.3),
        ("month", "l_infinity", 0.01), ("month", "jensen_shannon", 0.3),
    }  # fmt: skip
    found, _ = compared(found, {"drift": {"features": {"carrier": {"threshold": 0.5}}}})
    assert (found["carrier"].measure, found["carrier"].threshold) == ("l_infinity", 0.5)


def test_l_infinity_of_numbers_in_the_schema_is_refused(months):
    """TFDV takes it, reports 0 and passes."""
    with pytest.raises(InputError, match="the schema's drift_comparator of distance: l_infinity is for categories"):
        compared(months(schema=f'feature {{ name: "distance" {NORM} }}'))


def test_distances_of_strings_beyond_tfdvs_thousand_buckets(context):
    tail = [f"v{i % 1500}" for i in range(15_000)]
    before = {"c": [*tail[:13_000], *["top"] * 2000]}
    found, _ = compared(context(before, before))
    assert found["c"].value == 0
    fewer = {"c": [f"v{i % 1000}" for i in range(13_000)] + ["top"] * 2000}
    found, _ = compared(context(before, fewer))
    assert found["c"].value == pytest.approx(13 / 15_000 - 8 / 15_000, abs=0.001)
    found, findings = compared(context(before, {"c": tail}))
    assert found["c"].value == pytest.approx(2 / 15, abs=0.001)
    assert findings[0].moved[0].bin == "top"


def test_skew_leaves_the_label_out(context):
    training, serving = month(5), month(5, seed=1)
    for changed in (serving.pop("carrier"), None):
        found = context(serving, training, "time", baseline="serving", label="distance")
        comparisons, findings = compared(found, baseline="serving")
        assert findings == []
        assert "distance" not in comparisons
        assert ("carrier" in comparisons) == (changed is None)
        serving["carrier"] = training["carrier"]
    serving["delay"] = serving["delay"] * 60
    _, findings = compared(context(serving, training, "time", baseline="serving"), baseline="serving")
    assert [(finding.check, finding.feature, finding.short) for finding in findings] == [
        ("skew", "delay", "Skew to the serving data")
    ]


def test_columns_that_cannot_be_compared(context):
    found, findings = compared(context({"x": ["a", "b"], "gone": [1, 2]}, {"x": [1, 2], "new": [1, 2]}))
    assert findings == []
    assert {name: each.note for name, each in found.items()} == {"x": "string before, number now"}
    nothing = pa.table({"x": pa.array([], pa.int64())})
    assert compared(context({"x": [1]}, nothing)) == ({}, [])
    found, findings = compared(context({"x": [1, 2] * 100}, {"x": pa.array([None] * 200, pa.int64())}))
    assert [finding.value for finding in findings] == [1.0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1, 1), (2, 2), True),
        ((1, 6), (7, 7), True),
        ((0, 999), (1000, 1999), True),
        ((7, 7), (1, 6), True),
        ((980, 1040), (98_000, 104_000), False),
        ((14.0, 100.0), (0.14, 1.0), False),
        ((0, 8_640_000), (8_726_400, 8_726_400), True),
        ((0, 10), (5, 15), False),
        ((0.0, 0.5), (1.5, 1.7), False),
        ((3, 3), (3, 3), False),
    ],
)
def test_running_on(before, after, expected):
    sides = [{"quantiles": list(np.linspace(*side, 101))} for side in (before, after)]
    assert runs_on(*sides) is expected
    assert runs_on(sides[0], {"quantiles": None}) is False


def test_shares_of_time(dataset):
    columns = month(5)
    columns["none"] = pa.array([None] * 4000, pa.string())
    columns["list"] = [[1, 2]] * 4000
    columns["flag"] = np.arange(4000) < 2000
    columns["day"] = columns["time"].cast(pa.date32())
    order = np.random.default_rng(1).permutation(4000)
    shuffled = pa.table(columns).take(pa.array(order))
    shares = time_shares(dataset_files(dataset(shuffled)), "time", list(columns))
    assert shares["time"] > 0.99
    assert shares["day"] > 0.95
    assert shares["flag"] > 0.9
    assert shares["warmth"] > 0.8
    assert 0.3 < shares["weekday"] < 1
    assert all(abs(shares[name]) < 0.05 for name in ("distance", "carrier", "delay"))
    assert not {"none", "list", "month"} & shares.keys()
    assert time_shares(dataset_files(dataset(shuffled.slice(0, 100), "few")), "time", ["warmth"]) == {}


def test_shares_of_time_need_readable_rows(tmp_path):
    (tmp_path / "part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is no readable Dataset"):
        time_shares([tmp_path / "part-0.parquet"], "t", ["x"])


def test_numbers_of_rows(context):
    some, none = {"x": [1, 2, 3]}, pa.table({"x": pa.array([], pa.int64())})
    assert counted("num_examples", context(some, some)) == []
    assert [f.short for f in counted("num_examples", context(some, none))] == ["No rows"]
    found = counted("num_examples", context(some, some), min_rows=4, max_rows=2)
    assert [(f.short, f.value, f.threshold) for f in found] == [("Too few rows", 3, 4), ("Too many rows", 3, 2)]
    schema = "dataset_constraints { min_examples_count: 5 max_examples_count: 2 num_examples_%s_comparator { %s: %s } }"
    for kind in ("drift", "version"):
        for bound, value in (("min_fraction_threshold", 1.5), ("max_fraction_threshold", 0.5)):
            found = counted("num_examples", context(some, some, schema=schema % (kind, bound, value)))
            assert [f.short for f in found] == ["Too few rows", "Too many rows", "Number of rows changed"]


def test_rows_per_time(months, context):
    half = [i % 2 == 0 for i in range(4000)]
    fewer = months(lambda c: {n: pa.table({n: v})[n].filter(pa.array(half)) for n, v in c.items()})
    assert [f.value for f in counted("row_count_change", fewer)] == [pytest.approx(0.5, abs=0.01)]
    shorter = months(lambda c: {n: pa.table({n: v})[n].slice(0, 2000) for n, v in c.items()})
    assert counted("row_count_change", shorter) == []
    many, few = {"x": list(range(1000))}, {"x": list(range(5))}
    assert counted("row_count_change", context(many, few))[0].severity == "warn"
    assert counted("row_count_change", context(few, many))[0].value == 200
    assert counted("row_count_change", context(many, few), max_ratio=200) == []


def test_new_values(months):
    some = months(lambda c: {"carrier": np.where(np.arange(4000) % 12 == 0, "ZZ", c["carrier"])})
    (finding,) = counted("new_values", some)
    assert (finding.feature, round(finding.value, 3), finding.moved[0].bin) == ("carrier", 0.084, "ZZ")
    assert finding.severity == "fail"
    assert [f.severity for f in counted("new_values", some, max_share=0.1)] == ["warn"]
    assert counted("new_values", some, max_share=0.1, warn_share=0.1) == []
    assert counted("new_values", some, features={"carrier": "off"}) == []
    some.schema.feature.add(name="carrier", domain="carriers")
    some.schema.string_domain.add(name="carriers", value=["ZZ"])
    assert counted("new_values", some) == []


def test_a_new_value_of_few_rows_warns(context):
    before, after = ({"kind": ["a", "b"] * 60 + more} for more in (["a"], ["c"]))
    assert [f.severity for f in counted("new_values", context(before, after))] == ["warn"]
    rare = {"kind": ["a", "b"] * 60 + ["d", "e"]}
    assert counted("new_values", context(rare, after)) == []


def test_new_values_of_free_text_are_expected(context):
    before, after = ({"text": [f"{word} {i}" for i in range(500)]} for word in ("one", "two"))
    assert counted("new_values", context(before, after)) == []


def test_missing_values(months):
    more = months(lambda c: {"delay": np.where(np.arange(4000) % 3 == 0, np.nan, c["delay"])})
    (finding,) = counted("missing_change", more)
    assert (finding.feature, finding.short) == ("delay", "More values missing")
    fewer = months(lambda c: {"delay": np.nan_to_num(c["delay"])})
    assert counted("missing_change", fewer) == []
    assert counted("missing_change", fewer, max_spread=0)[0].short == "Fewer values missing"


def test_exploding_values(months):
    many = months(lambda c: {"carrier": [f"{carrier}{i}" for i, carrier in enumerate(c["carrier"])]})
    (finding,) = counted("distinct_change", many)
    assert (finding.feature, finding.value, finding.threshold, finding.severity) == ("carrier", 4000, 50, "warn")
