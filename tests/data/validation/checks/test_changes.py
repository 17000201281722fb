"""Checks against the previous data: each catches its fault and is silent about clean data."""

from __future__ import annotations

import numpy as np
import pytest

from shipway.components.data.validation.checks import SPECS, run_checks
from shipway.components.data.validation.checks.ranges import _reach
from shipway.components.data.validation.checks.shapes import decimals
from shipway.components.data.validation.settings import parse_settings

ROWS = 4000


@pytest.fixture
def later(clean):
    """Rows like the clean ones, but other ones, of the month after."""
    order = np.random.default_rng(9).permutation(ROWS)
    moved = {name: [values[i] for i in order] for name, values in clean.items()}
    noise = np.random.default_rng(10).normal(0, 0.5, (3, ROWS))
    moved["time"] = np.asarray(clean["time"]) + np.timedelta64(61, "D")
    moved["flight"] = np.asarray(clean["flight"]) + ROWS
    for name, each in zip(("air_time", "temperature", "dew_point"), noise, strict=True):
        moved[name] = np.asarray(moved[name]) + each.round(1)
    return moved


def only(found, name):
    assert list(found) == [name], {n: [f.description for f in each] for n, each in found.items()}
    (finding,) = found[name]
    return finding


def put(columns, name, rows, value):
    values = np.array(columns[name])
    values[rows] = value
    return {**columns, name: values}


ON = {"stale_rows": "warn"}
ALL = {"label": "late", "time_column": "time", "checks": ON}


def test_clean_later_data_has_no_findings(check, clean, later):
    assert check(later, clean, **ALL) == {}


@pytest.mark.parametrize("share", [0.1, 0.5, 1])
def test_stale_rows(check, clean, later, share):
    stale = int(share * ROWS)
    before = {name: values for name, values in clean.items() if name != "flight"}
    mixed = {name: [*before[name][:stale], *later[name][stale:]] for name in before}
    assert only(check(mixed, before, checks=ON), "stale_rows").value == pytest.approx(share, abs=0.05)
    assert "stale_rows" not in check(mixed, before, checks={"stale_rows": {"max_share": 1.0}})


def test_rows_that_repeat_anyway_are_not_stale(check):
    generator = np.random.default_rng(1)
    before, after = ({"x": generator.integers(0, 3000, ROWS)} for _ in range(2))
    assert "stale_rows" not in check(after, before, checks=ON)
    assert check(before, before, checks=ON)["stale_rows"][0].value == 1


def test_values_on_zeros_other_side(check, clean, later):
    broken = put(later, "distance", [3], -float(later["distance"][3]))
    assert only(check(broken, clean), "far_values").row_numbers.tolist() == [3]
    assert only(check(put(later, "distance", [4, 9], 0.0), clean), "far_values").rows == 2


def test_many_values_beyond_the_range(check, clean, later):
    rows = np.arange(0, ROWS, 25)
    broken = put(later, "temperature", rows, np.linspace(100, 105, len(rows)))
    assert only(check({n: v for n, v in broken.items() if n != "time"}, clean), "far_values").rows == len(rows)
    assert "far_values" not in check(broken, clean, time_column="time")
    far = put(later, "temperature", rows, np.linspace(150, 160, len(rows)))
    assert check(far, clean, time_column="time")["far_values"][0].rows == len(rows)


def test_a_long_tail_reaches_far():
    even, long = np.linspace(1, 2, 101), np.exp(np.linspace(0, 5, 101))
    assert _reach(even, 0.5, 2.0) == pytest.approx(2.5)
    assert _reach(long, 0.5, 2.0) == pytest.approx(np.exp(5) * np.exp(0.5) ** 2)
    assert _reach(-even[::-1], 0.5, 2.0) == pytest.approx(-0.5)


def test_more_zeros(check, clean, later):
    hours = {**clean, "delay": np.arange(ROWS) % 10}
    broken = put({**later, "delay": np.arange(ROWS) % 10}, "delay", np.arange(0, ROWS, 3), 0)
    finding = only(check(broken, hours), "more_zeros")
    assert (finding.feature, round(finding.value, 2)) == ("delay", 0.3)


def test_value_spikes_of_a_constant_column(check, clean, later):
    assert only(check({**later, "temperature": np.full(ROWS, 55.0)}, clean), "constant_columns")


def test_rounded_to_hundreds(check, clean, later):
    masses = np.random.default_rng(3).integers(2700, 6300, ROWS)
    broken = {**later, "mass": masses // 100 * 100}
    assert only(check(broken, {**clean, "mass": masses}), "lost_precision").value == -2
    assert "lost_precision" not in check({**later, "mass": masses + 1}, {**clean, "mass": masses})


def test_decimals():
    assert decimals(np.array([0.25, 3, 40, 1500, 7e8, 0, 1e-4, 1 / 3])).tolist() == [2, 0, -1, -2, -6, -6, 4, 9]


def test_label_shift(check, clean, later):
    kinds = {side: np.where(np.arange(ROWS) % 10 < tenths, "a", "b") for side, tenths in (("was", 4), ("now", 6))}
    before, after = {"kind": kinds["was"], "x": clean["distance"]}, {"kind": kinds["now"], "x": later["distance"]}
    finding = only(check(after, before, label="kind"), "label_shift")
    assert (round(finding.value, 2), finding.moved[0].bin) == (0.2, "a")
    few = [{name: values[:40] for name, values in side.items()} for side in (after, before)]
    assert "label_shift" not in check(*few, label="kind")


def test_label_shift_lets_seasons_pass(check, clean, later):
    before, after = ({**side, "late": np.arange(ROWS) % 20 < most} for side, most in ((clean, 4), (later, 7)))
    assert check(after, before, label="late", time_column="time") == {}
    assert "label_shift" in check({n: v for n, v in after.items() if n != "time"}, before, label="late")


def test_flipped_labels(check):
    generator = np.random.default_rng(2)
    x = generator.normal(0, 1, (2, ROWS))
    before, after = ({"x": each, "y": (each + generator.normal(0, 2, ROWS) > 0).astype(int)} for each in x)
    assert check(after, before, label="y") == {}
    flipped = {**after, "y": generator.permutation(after["y"])}
    assert "hung together" in check(flipped, before, label="y")["broken_relations"][0].description


def test_lost_time_order(check, clean, later):
    days = [np.asarray(side["time"], "datetime64[D]").astype(int) for side in (clean, later)]
    days[1] -= 61
    before, after = {**clean, "day": days[0]}, {**later, "day": days[1]}
    assert check(after, before, time_column="time") == {}
    half = np.arange(ROWS) % 2 == 0
    broken = {**after, "day": np.where(half, np.random.default_rng(4).permutation(days[1]), days[1])}
    assert only(check(broken, before, time_column="time"), "lost_time_order").feature == "day"


@pytest.mark.parametrize(("hours", "found"), [(1, False), (5, True), (-7, True)])
def test_shifted_hours(check, clean, later, hours, found):
    generator = np.random.default_rng(6)
    hour = [np.clip(generator.normal(9, 3, ROWS), 0, 23).astype(int) * np.timedelta64(1, "h") for _ in range(2)]
    before, after = (
        {**side, "time": np.asarray(side["time"], "datetime64[D]").astype("datetime64[us]") + each}
        for side, each in zip((clean, later), hour, strict=True)
    )
    assert "shifted_hours" not in check(after, before)
    moved = check({**after, "time": after["time"] + np.timedelta64(hours, "h")}, before)
    assert [f.value for f in moved.get("shifted_hours", [])] == ([hours] if found else [])


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (("2013-09-01", "2013-10-01"), ("2013-10-01", "2013-11-01"), False),
        (("2013-01-01", "2013-10-01"), ("2013-10-01T05", "2013-11-01T04"), False),
        (("2013-09-01", "2013-10-01"), ("2013-10-01", "2013-10-27"), True),
        (("2013-09-04", "2013-10-01"), ("2013-10-01", "2013-10-27"), False),
        (("2013-09-02", "2013-09-09"), ("2013-09-09", "2013-09-12"), True),
        (("2013-09-02", "2013-09-09"), ("2013-09-09", "2013-09-16"), False),
    ],
)
def test_partial_period(check, before, after, found):
    def times(first, last):
        first, last = (np.datetime64(end, "s").astype(np.int64) for end in (first, last))
        return {"time": np.linspace(first, last - 1, 500).astype("datetime64[s]").astype("datetime64[us]")}

    assert ("partial_period" in check(times(*after), times(*before), time_column="time")) is found


def test_keys_and_times_that_are_gone(context, clean, later):
    gone = {name: values for name, values in later.items() if name not in ("flight", "time")}
    made = context(gone, clean, key_columns=["flight"], time_column="time")
    for name in clean:
        made.schema.feature.add(name=name)
    runs = {run.name: run.findings for run in run_checks(made, parse_settings(None, SPECS))}
    assert "no column 'flight'" in runs["duplicate_keys"][0].description
    assert runs["future_times"] == runs["time_gaps"] == runs["partial_period"] == ()
