"""The validation report: what it shows, that it escapes, that it stands alone, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer

from shipway.components.common.errors import InputError
from shipway.components.data.schema.protos import read_statistics
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tables import write_dataset
from shipway.components.data.validation.report import markdown, render
from shipway.components.data.validation.report.facets import facets_html
from shipway.components.data.validation.report.shapes import distance_beyond_chance, shape_of
from shipway.components.data.validation.report.words import shown

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x00\u202e"
COLUMNS = 200


class Page(html.parser.HTMLParser):
    """The elements of a page, each with its attributes, its text and that of everything inside."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", "inside": [e["tag"] for e in self.open], **dict(attributes)}
        element["begins"] = len(self.words)
        self.elements.append(element)
        if tag not in ("meta", "input"):
            self.open.append(element)

    def handle_endtag(self, tag):
        element = self.open.pop()
        assert element["tag"] == tag
        element["text"] = "".join(self.words[element["begins"] :])

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag, style=""):
        return [e for e in self.elements if e["tag"] == tag and (not style or style in (e.get("class") or "").split())]

    def one(self, tag, style=""):
        (element,) = self.all(tag, style)
        return element


def wide(rows, seed, shifted=()):
    """Returns 200 columns of the measured tumours: as they are, rounded, and named by quarter."""
    data = load_breast_cancer(as_frame=True).frame.sample(rows, replace=True, random_state=seed)
    columns = {}
    for index in range(COLUMNS):
        values = data.iloc[:, index % 30].to_numpy()
        values = values * (1.5 if index in shifted else 1.0)
        if index % 3 == 1:
            values = np.round(values).astype(int)
        if index % 3 == 2:
            limits = np.quantile(load_breast_cancer().data[:, index % 30], (0.25, 0.5, 0.75))
            values = np.array(["small", "below", "above", "large"])[np.searchsorted(limits, values)]
        columns[f"column {index}"] = pa.array(values, mask=np.arange(rows) % 50 == index % 50)
    return columns


def described(columns, directory):
    """Describes columns; returns the summary, the distributions, and the statistics' path."""
    write_dataset(pa.table(columns), directory / "data")
    generate_statistics(directory / "data", directory / "statistics")
    return (
        *(json.loads((directory / "statistics" / name).read_text()) for name in ("summary.json", "distributions.json")),
        directory / "statistics",
    )


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    return described(wide(3000, 1, shifted=(6, 8)), tmp_path_factory.mktemp("today"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return described(wide(4000, 2), tmp_path_factory.mktemp("earlier"))


def finding(check, severity, feature="", **fields):
    empty = {"value": None, "threshold": None, "measure": "", "moved": [], "rows": None}
    said = {"short": f"{check} found", "description": f"{check} says why"}
    return {"check": check, "severity": severity, "feature": feature, **said, **empty, **fields}


MOVED = [{"bin": "20 to 25", "before": 0.05, "after": 0.3}, {"bin": "10 to 15", "before": 0.5, "after": 0.2}]
DRIFT = finding("drift", "fail", "column 6", value=0.41, threshold=0.2, measure="psi", moved=MOVED)
FINDINGS = [finding("empty_strings", "warn", "column 8", rows=17), DRIFT, finding("duplicate_rows", "fail")]
CHECKS = [
    {"name": "constant", "severity": "warn", "findings": 0, "seconds": 0.01, "not_run": ""},
    {"name": "label_leakage", "severity": "fail", "findings": 0, "seconds": 0.0, "not_run": "needs a label"},
    {"name": "drift", "severity": "fail", "findings": 1, "seconds": 0.2, "not_run": ""},
]
COMPARED = {"baseline": "previous", "feature": "column 6", "measure": "psi", "value": 0.41, "threshold": 0.2}


def judged(findings=(), rows=3000, rejected=False, on_anomaly="fail", quarantine=None):
    comparisons = [{**COMPARED, "moved": MOVED, "note": ""}]
    return {
        "rows": rows, "rejected": rejected, "on_anomaly": on_anomaly, "anomalies": list(findings),
        "checks": CHECKS, "comparisons": comparisons, "quarantine": quarantine,
    }  # fmt: skip


def caught(row, rule, column, value, **cells):
    names = ("quarantine_row", "quarantine_rule", "quarantine_column", "quarantine_value")
    return {**dict(zip(names, (row, rule, column, value), strict=True)), **cells}


@pytest.fixture(scope="module")
def page(today, earlier):
    """The report of 200 columns against earlier and serving data, with anomalies and quarantined rows."""
    cells = {name: f"cell of {name}" for name in today[1]["columns"]}
    lines = [caught(row, "empty_strings", "column 8", "", **cells) for row in range(150)]
    lines.append(caught(7000, "row_rules", "column 1, column 2", "3, 4", **cells))
    serving = {**earlier[1], "columns": {k: v for k, v in earlier[1]["columns"].items() if k != "column 0"}}
    anomalies = judged(
        FINDINGS, rejected=True, quarantine={"rows": 151, "by_rule": {"empty_strings": 150, "row_rules": 1}}
    )
    return render(anomalies, today[0], today[1], earlier[1], serving, lines)


@pytest.fixture(scope="module")
def parsed(page):
    return Page(page)


def test_a_page_of_200_columns_is_small_and_always_the_same(page, parsed, today, earlier):
    assert len(page.encode()) < 2_000_000
    assert len(parsed.all("details", "column")) == COLUMNS
    arguments = (judged(FINDINGS), today[0], today[1], earlier[1])
    assert render(*arguments) == render(*arguments)


def test_nothing_is_fetched_and_only_its_own_script_runs(page, parsed):
    policy = next(e["content"] for e in parsed.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parsed.one("script")["text"].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; ")
    assert not re.findall(r"https?:|@import|url\(|src=|javascript:", page)
    assert all(e["href"].startswith("#") for e in parsed.elements if "href" in e)


def test_links_lead_to_columns(parsed):
    places = {e["id"] for e in parsed.elements if "id" in e}
    links = [e["href"][1:] for e in parsed.all("a")]
    assert set(links) <= places
    assert len(places) == sum("id" in e for e in parsed.elements)
    assert any(link.startswith("column-") for link in links)


def test_the_worst_comes_first(parsed):
    assert [e["text"] for e in parsed.all("h2")] == ["Anomalies", "Quarantine", "Columns", "Checks"]
    groups = [e["text"] for e in parsed.all("details", "group")]
    assert ["column 6" in groups[0], "whole dataset" in groups[1], "column 8" in groups[2]] == [True] * 3
    assert "0.41 psi, threshold 0.2" in groups[0]
    assert re.search(r"what moved mostthis dataprevious20 to 25\s*30 %5 %", groups[0])
    moved = [float(e["data-moved"]) for e in parsed.all("details", "column")]
    assert moved == sorted(moved, reverse=True)
    assert {e["data-name"] for e in parsed.all("details", "column")[:2]} == {"column 6", "column 8"}


def test_only_what_changed_is_called_changed(parsed):
    changed = {e["data-name"] for e in parsed.all("details", "column") if "data-changed" in e}
    assert changed == {"column 6", "column 8"}


def test_the_verdict_and_the_numbers_stand_on_top(parsed):
    header = parsed.one("header")["text"]
    for words in ("✕ rejected", "2 failures, 1 warning", "3,000", "previous 4,000", "200", "2 changed", "of 3"):
        assert words in header


@pytest.mark.parametrize(
    ("findings", "options", "words", "sentence"),
    [
        ([], {}, "passed", "looks as its schema"),
        (FINDINGS[:1], {}, "passed with warnings", "1 warning; warnings stop nothing"),
        (FINDINGS, {"on_anomaly": "warn"}, "passed with warnings", "on_anomaly=warn lets the data go on"),
        (FINDINGS, {"rejected": True}, "rejected", "on_anomaly=fail lets nothing"),
        (FINDINGS, {"on_anomaly": "quarantine", "quarantine": {"rows": 9, "by_rule": {"drift": 9}}},
         "passed with warnings", "9 rows set aside"),
    ],
)  # fmt: skip
def test_verdicts(today, findings, options, words, sentence):
    anomalies = judged(findings, **options)
    page = Page(render(anomalies, today[0], today[1]))
    assert page.all("title")[0]["text"] == f"Data validation · {words}"
    assert sentence in page.one("header")["text"]
    assert words in markdown(anomalies, today[0]).splitlines()[0]


def test_data_that_was_only_described_did_not_pass(today, earlier):
    unjudged = {"rows": 3000, "rejected": False, "on_anomaly": "", "anomalies": []}
    parsed = Page(render(unjudged, today[0], today[1], earlier[1]))
    assert [e["text"] for e in parsed.all("h2")] == ["Columns"]
    assert "described" in parsed.one("header")["text"]
    assert "passed" not in parsed.one("header")["text"]


def test_checks_say_what_they_found_and_why_they_did_not_run(parsed):
    table = parsed.one("table", "checks")["text"]
    assert re.search(r"drift\s*fail\s*1 finding.*constant\s*warn\s*✓ nothing found.*not run: needs a label", table)


def test_a_quarantined_row_opens_to_the_whole_row_and_the_reason(page, parsed):
    rows = parsed.all("details", "sampled")
    assert 1 < len(rows) <= 4000 / COLUMNS
    assert "150 of" not in page
    assert "of 151 shown" in page
    last = rows[-1]["text"]
    assert all(words in last for words in ("7,000", "row_rules", "column 1, column 2", "3, 4", "cell of column 199"))
    assert "empty_strings says why" in rows[0]["text"]
    assert "(empty)" in rows[0]["text"]
    marked = [e["text"] for e in parsed.all("div", "caught")]
    assert marked[0] == "column 8cell of column 8"
    assert marked[-2:] == ["column 1cell of column 1", "column 2cell of column 2"]


def test_a_row_with_several_reasons_is_one_line(today):
    lines = [caught(3, "a", "x", "1", x=1, y=None), caught(3, "b", "", None, x=1, y=None)]
    quarantine = {"rows": 1, "by_rule": {"a": 1, "b": 1}}
    parsed = Page(render(judged(on_anomaly="quarantine", quarantine=quarantine), today[0], today[1], quarantined=lines))
    row = parsed.one("details", "sampled")["text"]
    assert "a and 1 more reason" in row
    assert "ymissing" in row


def test_hostile_names_and_values_stay_text(tmp_path):
    columns = {HOSTILE.replace("\x00", ""): [HOSTILE, "b", "b", None], "n": [1, 2, 3, 4]}
    summary, distributions, _ = described(columns, tmp_path)
    name = next(iter(columns))
    findings = [
        finding(HOSTILE, "fail", name, value=2.0, threshold=1.0, measure=HOSTILE, short=HOSTILE, description=HOSTILE,
                moved=[{"bin": HOSTILE, "before": 0.1, "after": 0.2}])
    ]  # fmt: skip
    anomalies = judged(findings, on_anomaly="quarantine", quarantine={"rows": 1, "by_rule": {HOSTILE: 1}})
    anomalies["checks"] = [{"name": HOSTILE, "severity": "fail", "findings": 1, "seconds": 1, "not_run": HOSTILE}]
    anomalies["comparisons"] = [
        {"baseline": HOSTILE, "feature": name, "measure": HOSTILE, "value": 2.0, "threshold": 1.0, "note": HOSTILE}
    ]
    line = caught(0, HOSTILE, name, HOSTILE, **{name: HOSTILE})
    parsed = Page(render(anomalies, summary, distributions, distributions, quarantined=[line]))
    assert not parsed.all("img")
    assert len(parsed.all("script")) == 1
    assert not [key for element in parsed.elements for key in element if key.startswith("on")]
    text = parsed.one("main")["text"]
    assert "<img src=x onerror=alert(1)>" in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "<img" not in markdown(anomalies, summary).replace("\\<", "")


def test_nothing_in_a_value_is_hidden_or_endless():
    assert shown("UA ") == "UA␣"
    assert shown("  ") == "␣␣"
    assert shown("") == "(empty)"
    assert shown("a\tb\u200b\ud800") == "a␉b\\u200b\\ud800"
    assert shown(1577836800) == "1577836800"
    assert len(shown("x" * 200_000_000)) < 200


def test_data_without_rows_or_columns_has_a_page(tmp_path):
    nothing = {"x": pa.array([], pa.float64()), "s": pa.array([], pa.string())}
    summary, distributions, _ = described(nothing, tmp_path)
    full = described({"x": [1.5, 2.5, None]}, tmp_path / "full")[1]
    for previous in (None, full, distributions):
        page = render(judged(rows=0), summary, distributions, previous)
        assert "no values" in page
    empty = {"rows": 0, "columns": {}}
    assert "passed" in render(judged(rows=0), {"rows": 0, "columns": []}, empty)


def test_columns_that_came_went_or_changed_their_kind(tmp_path):
    now = described({"kept": ["1", "2"] * 50, "came": [1] * 100}, tmp_path / "now")
    before = described({"kept": [1, 2] * 50, "went": ["a"] * 100}, tmp_path / "before")
    lines = Page(render(judged(rows=100), now[0], now[1], before[1])).all("details", "column")
    tags = {"kept": "changed", "came": "new", "went": "gone"}
    assert {e["data-name"] for e in lines} == set(tags)
    assert all(tags[e["data-name"]] in e["text"] and e["data-moved"] == "1.0000" for e in lines)


def test_a_column_that_serving_lacks_is_no_change(parsed):
    (line,) = (e for e in parsed.all("details", "column") if e["data-name"] == "column 0")
    assert "not in serving" in line["text"]
    assert "data-changed" not in line


def test_shares_of_bins_are_those_of_the_values(tmp_path):
    columns = {"area": load_breast_cancer().data[:, 3], "whole": np.round(load_breast_cancer().data[:, 3]).astype(int)}
    _, distributions, _ = described(columns, tmp_path)
    for name, values in columns.items():
        shape = shape_of([distributions["columns"][name], None])
        assert shape.series[1] is None
        assert sum(shape.series[0]) == pytest.approx(1)
        for label, share in zip(shape.labels[1:-1], shape.series[0][1:-1], strict=True):
            low, high = (float(part.replace(",", "")) for part in label.split(" to "))
            inside = (values >= low) & ((values <= high) if name == "whole" else (values < high))
            assert share == pytest.approx(inside.mean(), abs=1e-9 if name == "whole" else 0.011)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([7.25] * 20, 1),
        ([*np.linspace(0, 1, 1000), 1e9], 40),
        ([-1e308, 1e308] * 10, 0),
        ([5e-324, 0.0] * 10, 40),
        ([1e18, 1e18 + 1024] * 10, 40),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_awkward_numbers_have_a_shape_or_none(tmp_path, values, labels):
    _, distributions, _ = described({"x": np.array(values, float)}, tmp_path)
    shape = shape_of([distributions["columns"]["x"]])
    assert len(shape.labels if shape else ()) <= labels
    if shape:
        assert sum(shape.series[0]) == pytest.approx(1)
    if 1e9 in values:
        assert shape.labels[-1].endswith("and above")


def test_few_numbers_are_drawn_one_by_one(tmp_path):
    _, now, _ = described({"x": [1, 2, 10] * 5}, tmp_path / "now")
    _, before, _ = described({"x": [2, 3] * 5}, tmp_path / "before")
    shape = shape_of([now["columns"]["x"], before["columns"]["x"]])
    assert shape.labels == ("1", "2", "3", "10")
    assert shape.series == (pytest.approx((1 / 3, 1 / 3, 0, 1 / 3)), (0, 0.5, 0.5, 0))


def test_samples_of_one_population_did_not_move_and_a_shift_did(today, earlier):
    moved = {
        name: distance_beyond_chance(column, earlier[1]["columns"][name], (3000, 4000))
        for name, column in today[1]["columns"].items()
    }
    assert {name for name, share in moved.items() if share > 0.02} == {"column 6", "column 8"}


def test_identifiers_did_not_move(tmp_path):
    sides = [
        described({"id": [f"{side}-{i}" for i in range(5000)]}, tmp_path / side)[1]["columns"]["id"]
        for side in ("now", "before")
    ]
    assert distance_beyond_chance(*sides, (5000, 5000)) == 0


def test_markdown_is_short_and_plain(today):
    findings = [finding("drift", "warn", f"a|b_{index}") for index in range(30)] + [finding("rows", "fail")]
    text = markdown(judged(findings), today[0])
    lines = text.splitlines()
    assert lines[2] == "1 failure, 30 warnings; on\\_anomaly=fail lets the data go on. 3,000 rows, 200 columns."
    assert lines[6] == "| fail | \\(all\\) | rows | rows found: rows says why |"
    assert "a\\|b\\_0" in lines[7]
    assert lines[-1] == "11 more are in the report."


def test_the_facets_view_is_whole_and_says_what_it_loads(today, earlier):
    now, before = (read_statistics(side[2]) for side in (today, earlier))
    now.datasets.add(name="a slice")
    page = facets_html(now, before)
    assert page.startswith("<!doctype html>")
    assert "scripts from cdnjs.cloudflare.com and raw.githubusercontent.com" in page
    encoded = re.search(r'proto-input="([^"]+)"', page).group(1)
    shown_statistics = type(now).FromString(base64.b64decode(encoded))
    assert [d.name for d in shown_statistics.datasets] == ["this data", "previous"]
    assert len(shown_statistics.datasets[0].features) == COLUMNS
    with pytest.raises(InputError, match="no dataset"):
        facets_html(type(now)())


def browser():
    file = Path(__file__).parents[2] / "common" / "reports" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def in_browser(page, tmp_path):
    """Opens the report at an address and returns the page as it then is."""

    def run(hash_="", text=page):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--dump-dom",
        ]  # fmt: skip
        address = (tmp_path / "page.html").as_uri() + hash_
        done = subprocess.run([browser().CHROMIUM, *flags, address], check=True, capture_output=True, timeout=90)
        assert b"CONSOLE" not in done.stderr, done.stderr
        return Page(done.stdout.decode())

    return run


@pytest.mark.chromium
@pytest.mark.parametrize(
    ("hash_", "seen"),
    [
        ("#only=anomalies", ["column 8", "column 6"]),
        ("#only=changed&find=LUMN+8", ["column 8"]),
        ("#find=column+19&sort=name", ["column 19", *(f"column 19{digit}" for digit in range(10))]),
        ("#sort=anomalies&find=column+8", ["column 8", *(f"column 8{digit}" for digit in range(10))]),
    ],
)
def test_columns_are_found_filtered_and_sorted(in_browser, hash_, seen):
    page = in_browser(hash_)
    lines = [e["data-name"] for e in page.all("details", "column") if "hidden" not in e]
    assert lines[0] == seen[0]
    assert sorted(lines) == sorted(seen)
    assert page.one("output")["text"] == f"{len(seen)} of 200 columns"
    assert "hidden" not in page.one("form")


@pytest.mark.chromium
def test_all_columns_are_shown_at_first_and_a_link_opens_one(in_browser):
    place = next(e["id"] for e in in_browser().elements if (e.get("id") or "").startswith("column-"))
    lines = in_browser(f"#{place}").all("details", "column")
    assert len([line for line in lines if "hidden" not in line]) == COLUMNS
    assert [index for index, line in enumerate(lines) if "open" in line] == [0]


@pytest.mark.chromium
def test_200_columns_are_drawn_within_two_seconds(in_browser, page):
    timer = "<script>onload = () => { document.body.offsetHeight; document.title = performance.now(); }</script>"
    page = re.sub(r"script-src &#39;.*?&#39;", "script-src 'unsafe-inline'", page).replace("</body>", f"{timer}</body>")
    assert 0 < float(in_browser(text=page).all("title")[0]["text"]) < 2000


@pytest.mark.chromium
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_it_without_complaint(page, tmp_path, dark):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    complaints = browser().photograph(tmp_path / "page.html", tmp_path / "page.png", dark, width=1200, height=1500)
    assert "CONSOLE" not in complaints
    _, _, colours = browser().picture_of(tmp_path / "page.png")
    background, drawn = ((17, 21, 27), (108, 176, 245)) if dark else ((247, 247, 245), (31, 111, 178))
    assert colours[background] > 0.05 * 1200 * 1500 / 16
    assert drawn in colours


@pytest.mark.chromium
def test_without_scripts_everything_is_there(in_browser, page):
    page = in_browser(text=re.sub(r"<script>.*?</script>", "", page, flags=re.S))
    assert not [e for e in page.all("details", "column") if "hidden" in e]
    assert "hidden" in page.one("form")
