"""Distances from 101 quantiles and counts, against scipy and numpy on the raw values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance as spatial

from shipway.components.data.validation.distances import (
    MEASURES,
    distance,
    kolmogorov_smirnov,
    moved,
    noise,
)
from shipway.components.data.validation.distributions import Cumulative, Shares, binned_shares, category_shares

GENERATOR = np.random.default_rng(5)
SHARED = ("l_infinity", "jensen_shannon", "kl", "psi")


def numbers(values, missing=0, *, listed=False):
    """A column of numbers as distributions.json describes it, and its number of rows."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    quantiles = np.quantile(finite, np.arange(101) / 100, method="inverted_cdf").tolist() if len(finite) else None
    kept, counts = np.unique(finite, return_counts=True)
    column = {
        "kind": "number",
        "missing": missing,
        "nan": int(np.isnan(values).sum()),
        "quantiles": quantiles,
        "values": {f"{v:.0f}": int(c) for v, c in zip(kept, counts, strict=True)} if listed else None,
        "other": 0,
        "distinct": len(kept),
    }
    return column, len(values) + missing


def strings(counts, missing=0, other=0):
    column = {"kind": "string", "missing": missing, "nan": 0, "quantiles": None, "values": counts, "other": other}
    return column | {"distinct": len(counts)}, sum(counts.values()) + missing + other


def sides(before, after):
    return before[0], after[0], before[1], after[1]


def measured(measure, shares, before, after):
    return distance(measure, shares, before[1], after[1])


def samples():
    normal = GENERATOR.normal
    yield "shift", normal(0, 1, 20_000), normal(0.3, 1, 7_000)
    yield "scale", normal(0, 1, 5_000), normal(0, 3, 5_000)
    yield "same", normal(0, 1, 5_000), normal(0, 1, 5_000)
    yield "disjoint", normal(0, 1, 3_000), normal(100, 1, 3_000)
    yield "long tail", GENERATOR.lognormal(0, 2, 9_000), GENERATOR.lognormal(0.5, 2, 9_000)
    yield (
        "mostly zero",
        *(np.where(GENERATOR.random(9_000) < p, 0, GENERATOR.exponential(1, 9_000)) for p in (0.9, 0.7)),
    )
    yield "whole", GENERATOR.poisson(3, 9_000), GENERATOR.poisson(4, 9_000)
    yield "few rows", normal(0, 1, 30), normal(1, 1, 40)
    yield "one value", np.full(50, 7.0), np.full(60, 7.0)
    yield "another value", np.full(50, 7.0), np.full(60, 8.0)
    yield "point between", np.array([1.0, 3.0] * 50), np.array([1.0, 2.0, 3.0] * 50)


@pytest.mark.parametrize(("before", "after"), [pytest.param(b, a, id=name) for name, b, a in samples()])
def test_ks_is_that_of_the_raw_values(before, after):
    value = kolmogorov_smirnov(*sides(numbers(before), numbers(after)))
    assert value == pytest.approx(stats.ks_2samp(before, after).statistic, abs=0.02 + 1e-9)


def test_ks_of_counted_numbers_is_exact():
    before, after = GENERATOR.poisson(3, 500), GENERATOR.poisson(4, 700)
    value = kolmogorov_smirnov(*sides(numbers(before, listed=True), numbers(after, listed=True)))
    assert value == pytest.approx(stats.ks_2samp(before, after).statistic, abs=1e-12)


def test_ks_counts_missing_values_as_the_largest():
    before, after = GENERATOR.normal(size=900), GENERATOR.normal(size=700)
    raw = [np.append(values, np.full(missing, np.inf)) for values, missing in ((before, 100), (after, 300))]
    value = kolmogorov_smirnov(*sides(numbers(before, 100), numbers(after, 300)))
    assert value == pytest.approx(stats.ks_2samp(*raw).statistic, abs=0.02)
    with_nan = numbers(np.append(after, np.full(300, np.nan)))
    assert kolmogorov_smirnov(*sides(numbers(before, 100), with_nan)) == value


@pytest.mark.parametrize("other", [numbers([1, 2, 3]), numbers([], 7), numbers([])])
def test_columns_without_values(other):
    nothing, something = numbers([], 5), numbers([1.0, 2.0], 0)
    assert kolmogorov_smirnov(*sides(nothing, nothing)) == 0
    assert kolmogorov_smirnov(*sides(something, nothing)) == 1
    for measure in SHARED:
        assert math.isfinite(measured(measure, binned_shares(*sides(other, something)), other, something))
        assert measured(measure, binned_shares(*sides(nothing, nothing)), nothing, nothing) == 0
    assert kolmogorov_smirnov(*sides(numbers([]), numbers([]))) == 0


def test_categories_against_scipy():
    before, after = strings({"a": 50, "b": 30, "c": 20}), strings({"b": 100, "a": 60, "d": 40})
    shares = category_shares(*sides(before, after))
    order = [shares.bins.index(name) for name in "abcd"]
    p, q = np.array([0.5, 0.3, 0.2, 0]), np.array([0.3, 0.5, 0, 0.2])
    assert shares.before[order] == pytest.approx(p)
    assert shares.after[order] == pytest.approx(q)
    assert measured("l_infinity", shares, before, after) == pytest.approx(spatial.chebyshev(p, q))
    expected = spatial.jensenshannon(p, q, base=2) ** 2
    assert measured("jensen_shannon", shares, before, after) == pytest.approx(expected)
    p, q = (p * 100 + 0.5) / 102, (q * 200 + 0.5) / 202
    assert measured("kl", shares, before, after) == pytest.approx(stats.entropy(q, p, base=2))
    assert measured("psi", shares, before, after) == pytest.approx(stats.entropy(q, p) + stats.entropy(p, q))


def test_disjoint_categories():
    before, after = strings({"a": 1000}), strings({"b": 1000})
    shares = category_shares(*sides(before, after))
    assert measured("l_infinity", shares, before, after) == 1
    assert measured("jensen_shannon", shares, before, after) == 1
    assert measured("kl", shares, before, after) == pytest.approx(math.log2(2001), rel=0.01)
    assert [(m.bin, m.before, m.after) for m in moved(shares)] == [("a", 1, 0), ("b", 0, 1)]


def test_missing_values_are_a_category():
    before, after = strings({"a": 90}, missing=10), strings({"a": 50}, missing=50)
    shares = category_shares(*sides(before, after))
    assert measured("l_infinity", shares, before, after) == pytest.approx(0.4)
    assert {m.bin for m in moved(shares)} == {"a", "(missing)"}


def test_unlisted_values_are_compared_with_nothing():
    """c may be among the other values of before, so it is pooled with them."""
    before, after = strings({"a": 50}, other=50), strings({"a": 50, "c": 50})
    shares = category_shares(*sides(before, after))
    assert set(shares.bins) == {"a", "(other values)"}
    assert measured("l_infinity", shares, before, after) == 0
    nothing_else = strings({"a": 100})
    shares = category_shares(*sides(nothing_else, after))
    assert measured("l_infinity", shares, nothing_else, after) == pytest.approx(0.5)


@pytest.mark.parametrize(("before", "after"), [pytest.param(b, a, id=name) for name, b, a in samples()])
def test_bins_hold_what_the_raw_values_do(before, after):
    one, other = numbers(before), numbers(after)
    shares = binned_shares(*sides(one, other))
    assert shares.before.sum() == pytest.approx(1)
    assert shares.after.sum() == pytest.approx(1)
    for name, share in zip(shares.bins, shares.after, strict=True):
        assert share == pytest.approx(_held(name, after), abs=0.021), name


def _held(name, values):
    words = name.split()
    edges = [float(word) for word in words if word[-1].isdigit()]
    if words[0] == "between":
        return ((values > edges[0]) & (values < edges[1])).mean()
    if "to" in words[1:2] and words[0] != "up":
        return ((values > edges[0]) & (values <= edges[1])).mean()
    compare = {"up": np.less_equal, "below": np.less, "above": np.greater}.get(words[0], np.isclose)
    return compare(values, edges[0]).mean()


def test_a_value_that_many_rows_have_is_a_bin():
    values = np.where(GENERATOR.random(5000) < 0.6, 0.0, GENERATOR.exponential(1, 5000))
    assert "below 0" not in binned_shares(*sides(numbers(values), numbers(values))).bins
    assert "0" in binned_shares(*sides(numbers(np.append(values, -1)), numbers(values))).bins


def test_distances_are_nothing_to_oneself():
    column = numbers(GENERATOR.normal(size=1000), 20)
    for measure in SHARED:
        assert measured(measure, binned_shares(*sides(column, column)), column, column) == 0
    assert kolmogorov_smirnov(*sides(column, column)) == 0


def test_quantiles_come_back():
    values = GENERATOR.normal(size=5000)
    curve = Cumulative.of(numbers(values)[0])
    for share in (0.05, 0.5, 0.995):
        assert (values <= curve.quantile(share)).mean() == pytest.approx(share, abs=0.011)
    assert curve.at(np.array([-1e9, 1e9]), inclusive=True) == pytest.approx([0, 1])
    assert Cumulative.of(numbers([])[0]) is None


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("rows", "other"), [(60, 500), (2000, 2000)])
def test_noise_is_what_samples_of_one_population_show(measure, rows, other):
    """Of 200 pairs of samples, 1 % may exceed the bound for 1 %; chi-squared and few rows cost a little more."""
    above, tries, chance = 0, 200, 0.01
    for _ in range(tries):
        if measure == "l_infinity":
            draws = (GENERATOR.multinomial(n, [0.5, 0.2, 0.1, 0.1, 0.1]) for n in (rows, other))
            pair = [strings({str(i): int(c) for i, c in enumerate(counts)}) for counts in draws]
            shares = category_shares(*sides(*pair))
        else:
            pair = [numbers(GENERATOR.normal(size=n)) for n in (rows, other)]
            shares = binned_shares(*sides(*pair))
        value = kolmogorov_smirnov(*sides(*pair)) if measure == "ks" else measured(measure, shares, *pair)
        above += value > noise(measure, shares, rows, other, chance)
    assert above <= 4 * chance * tries


def test_noise_without_rows_is_boundless():
    assert noise("ks", Shares((), np.empty(0), np.empty(0)), 0, 5, 0.01) == math.inf
