"""Pages, charts and tables: what they show, that they escape, that they stand alone."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from markupsafe import Markup

from shipway.components.common import reports
from shipway.components.common.reports import (
    bar_chart,
    compare_training,
    compared_bars,
    compared_shares,
    comparison_legend,
    confusion_matrix,
    duration,
    element,
    histogram,
    html_page,
    interval,
    interval_chart,
    line_chart,
    number,
    percent,
    roc_chart,
    slug,
    table,
    training_curves,
)
from shipway.components.common.reports.markup import axis_ticks

HOSTILE = '<script>alert("x")</script>'
NONE = "\N{EN DASH}"
HISTORY = [
    {"epoch": 1, "loss": 0.7, "validation_loss": 0.72, "validation_roc_auc": 0.61},
    {"epoch": 2, "loss": 0.5, "validation_loss": None, "validation_roc_auc": 0.66},
    {"epoch": 3, "loss": 0.4, "validation_loss": 0.6, "validation_roc_auc": 0.69},
]
EVERYTHING = {
    "line": line_chart(
        {HOSTILE: [(1, 2), (2, 3)]}, title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE, description=HOSTILE
    ),
    "roc": roc_chart([{"label": HOSTILE, "fpr": [0, 1], "tpr": [0, 1], "roc_auc": 0.5}], title=HOSTILE),
    "intervals": interval_chart([(HOSTILE, {"value": 0.7, "low": 0.6, "high": 0.8})], title=HOSTILE, x_label=HOSTILE),
    "training": training_curves(HISTORY),
    "bars": bar_chart([(HOSTILE, 3)], title=HOSTILE, total=5),
    "histogram": histogram([{"low": 0, "high": 1, "count": 3}], title=HOSTILE),
    "shares": compared_shares([(0.25, 0.75), None, (0.5, 0.5)], title=HOSTILE, tips=[HOSTILE, "b"]),
    "compared bars": compared_bars([(HOSTILE, (0.25, None))], (HOSTILE, "b"), of=HOSTILE),
    "legend": comparison_legend([HOSTILE, "b"]),
    "confusion": confusion_matrix([HOSTILE, "b"], [[1, 2], [3, 4]], title=HOSTILE),
    "table": table([HOSTILE], [[HOSTILE]], caption=HOSTILE),
}


def parsed(markup):
    """Returns the markup as a tree; it must be well-formed."""
    return ET.fromstring(f"<root>{markup}</root>")


def classed(markup, name):
    return [node for node in parsed(markup).iter() if name in node.get("class", "").split()]


@pytest.mark.parametrize("name", EVERYTHING)
def test_markup_is_well_formed_and_escaped(name):
    assert isinstance(EVERYTHING[name], Markup)
    parsed(EVERYTHING[name])
    assert "<script" not in EVERYTHING[name]


@pytest.mark.parametrize("name", ["line", "roc", "intervals", "histogram", "shares"])
def test_pictures_have_names_for_those_who_cannot_see_them(name):
    pictures = [svg for svg in parsed(EVERYTHING[name]).iter("svg") if svg.get("aria-hidden") is None]
    assert pictures
    assert all(svg.get("role") == "img" and svg[0].tag == "title" and svg[0].text for svg in pictures)


def test_a_page_stands_alone_and_is_the_same_every_time():
    sections = [("One & only", [EVERYTHING["line"], f"{HOSTILE} as text"]), ("", "no heading")]
    page = html_page(HOSTILE, sections, subtitle=HOSTILE)
    assert page == html_page(HOSTILE, sections, subtitle=HOSTILE)
    assert page.startswith("<!doctype html>")
    assert '<section id="one-only"><h2>One &amp; only</h2>' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.findall(r"<script|https?:|@import|url\(|src=|href=", page)


def test_every_colour_has_a_dark_and_a_light_form_of_enough_contrast():
    sheet = str(reports.style_sheet())
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", sheet, re.S)
    )
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for name in (f"s{i}" for i in range(6)):
            assert contrast(scheme[name], scheme["card"]) >= 4.5, name
        for name in ("ink", "muted", "good", "bad", "warn", "calm"):
            assert contrast(scheme[name], scheme["card"]) >= 4.5, name
            assert contrast(scheme[name], scheme["bg"]) >= 4.5, name


def contrast(one, other):
    """Returns WCAG's contrast ratio of two colours."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_line_is_interrupted_where_a_value_is_missing():
    chart = line_chart({"loss": [(1, 0.7), (2, 0.6), (3, None), (4, float("nan")), (5, 0.4)]}, title="Loss")
    lines = [node for node in classed(chart, "line") if node.find("title") is not None]
    assert [node.get("d").count("L") + 1 for node in lines] == [2, 1]
    assert "nan" not in chart


def test_higher_values_are_drawn_higher_and_later_ones_further_right():
    first, second = classed(line_chart({"a": [(1, 0.1), (2, 0.9)]}, title="t"), "dot")
    assert float(first.get("cy")) > float(second.get("cy"))
    assert float(first.get("cx")) < float(second.get("cx"))


def test_every_series_has_a_dash_pattern_of_its_own():
    chart = line_chart({f"s{i}": [(0, i), (1, i)] for i in range(6)}, title="t")
    patterns = [node.get("stroke-dasharray") for node in classed(chart, "line") if node.find("title") is not None]
    assert len(set(patterns)) == 6


NOTHING = {
    "line": line_chart({}, title="t"),
    "missing": line_chart({"a": [(1, None)]}, title="t"),
    "roc": roc_chart([]),
    "intervals": interval_chart([("a", None)], title="t"),
    "training": training_curves([]),
    "histogram": histogram([]),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw_is_said(name):
    assert not list(parsed(NOTHING[name]).iter("svg"))
    assert re.search("no (values|curves|epochs)", NOTHING[name], re.IGNORECASE)


def test_a_constant_series_is_drawn():
    parsed(line_chart({"a": [(1, 0.0)]}, title="t"))
    parsed(line_chart({"a": [(3, 5.0), (3, 5.0)]}, title="t"))


def test_training_curves_draw_losses_together_and_scores_apart():
    captions = [node.text for node in parsed(training_curves(HISTORY)).iter("figcaption")]
    assert captions == ["Loss", "Validation ROC AUC"]
    legends = [[item[0].tail for item in node] for node in classed(training_curves(HISTORY), "legend")]
    assert legends == [["Loss", "Validation loss"], ["Validation ROC AUC"]]


def test_trainings_are_compared_score_by_score():
    legends = [
        [item[0].tail for item in n] for n in classed(compare_training({"A": HISTORY, "B": HISTORY[:1]}), "legend")
    ]
    assert legends == [["A, loss", "A, validation loss", "B, loss", "B, validation loss"], ["A", "B"]]


def test_roc_names_the_area():
    chart = roc_chart([{"label": "late", "fpr": [0, 0.5, 1], "tpr": [0, 0.8, 1], "roc_auc": {"value": 0.7, "low": 0.6, "high": 0.8}}])  # fmt: skip  # noqa: E501
    assert "late, AUC 0.7000 (0.6000 to 0.8000)" in chart


def test_bars_and_areas_are_proportional():
    widths = [float(node.get("width")) for node in parsed(bar_chart([("a", 4), ("b", 1)])).iter("rect")]
    assert widths == [240, 60]
    uneven = [{"low": 0, "high": 1, "count": 10}, {"low": 1, "high": 3, "count": 10}]
    heights = [float(node.get("height")) for node in parsed(histogram(uneven)).iter("rect")]
    assert heights == [64, 32]


def test_a_histogram_of_one_value_is_one_bar():
    assert len(list(parsed(histogram([{"low": 7.0, "high": 7.0, "count": 4}])).iter("rect"))) == 1


def test_confusion_shades_by_share_of_the_true_class():
    cells = classed(confusion_matrix(["a", "b"], [[3, 1], [0, 0]]), "heat")
    assert [cell.get("style") for cell in cells] == ["--share:0.750", "--share:0.250", "--share:0.000", "--share:0.000"]


def test_tables_write_numbers_to_the_right_and_all_else_as_text():
    cells = list(parsed(table(["n", "t"], [[1234567, True], [None, element("b", "x")]])).iter("td"))
    assert [(cell.text, cell.get("class")) for cell in cells[:3]] == [
        ("1,234,567", "number"),
        ("yes", None),
        (NONE, "number"),
    ]
    assert cells[3][0].tag == "b"


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (number, 336776, "336,776"), (number, 0.69123, "0.6912"), (number, 12e-6, "1.2e-05"),
        (number, float("inf"), NONE),
        (number, 4983.0, "4,983"), (number, -0.25, "-0.25"), (number, 0.0, "0"), (number, 12345.67, "12,346"),
        (percent, 0.0231, "2.3 %"), (percent, 1, "100 %"), (percent, 0.0001, "< 0.1 %"), (percent, None, NONE),
        (duration, 0.42, "0.4 s"), (duration, 42.2, "42 s"), (duration, 185, "3 min 05 s"),
        (duration, 7800, "2 h 10 min"),
        (slug, "What's new?", "what-s-new"), (slug, "…", "section"),
    ],
)  # fmt: skip
def test_values_are_written_for_people(function, value, text):
    assert function(value) == text


def test_an_interval_without_bounds_is_its_value():
    assert interval(0.5) == "0.5000"
    assert interval({"value": 0.5, "low": None, "high": None}) == "0.5000"
    assert interval(None) == NONE


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.61, 0.69), (5, 5), (0, 0), (-3, 1e6), (1e-9, 2e-9)])
def test_ticks_are_even_and_reach_around(low, high):
    ticks = axis_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


def test_compared_sets_share_one_scale_and_keep_their_colours():
    first, third = parsed(compared_shares([(0.25, 0.75), None, (0.5, 0.5)], title="t")).iter("path")
    assert (first.get("d"), first.get("class")) == ("M0 120V80h1V0h1V120", "area s0")
    assert (third.get("d"), third.get("class")) == ("M0 120V40h1V40h1V120", "step s2")
    bars = list(parsed(compared_shares([(0.5, 1.0), (1.0, 0.0)], title="t", apart=True)).iter("path"))
    assert [bar.get("d").count("M") for bar in bars] == [2, 2]
    assert bars[0].get("d").startswith("M0.14 120V60h0.36V120M1.14 120V0")


def test_compared_bars_are_as_long_as_their_shares():
    table = compared_bars([("a", (0.4, 0.1)), ("b", (None, 0.2))], ("now", "before"), of="value")
    assert [bar.get("style") for bar in parsed(table).iter("i")] == ["width:100.0%", "width:25.0%", "width:50.0%"]
    assert [cell.text for cell in classed(table, "number")] == ["now", "before", "40 %", "10 %", NONE, "20 %"]


def test_all_public_names_are_there():
    assert sorted(reports.__all__) == reports.__all__
    assert all(hasattr(reports, name) for name in reports.__all__)


@pytest.mark.chromium
def test_a_browser_draws_the_page_without_complaint(tmp_path):
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    browser = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browser)
    page = tmp_path / "page.html"
    page.write_text(html_page("Charts", list(EVERYTHING.items())))
    assert "CONSOLE" not in browser.photograph(page, tmp_path / "page.png", width=900, height=600)
    _, _, colours = browser.picture_of(tmp_path / "page.png")
    assert len(colours) > 40
    assert (31, 111, 178) in colours
