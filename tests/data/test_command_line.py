from __future__ import annotations

import gzip
import io
import json
import signal
import socket
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from shipway.components.data import command_line
from shipway.components.data.validation.catalogue import CATALOGUE

MODULE = command_line.__name__
ROWS = 2000


def months(seed, **changes):
    """Flights of a month: keys, numbers, categories, a label, missing values."""
    generator = np.random.default_rng(seed)
    delay = np.round(generator.gamma(2, 9, ROWS) - 10, 1)
    columns = {
        "flight": np.arange(ROWS),
        "carrier": generator.choice(["UA", "B6", "EV"], ROWS),
        "distance": generator.integers(90, 4000, ROWS),
        "dep_delay": np.where(generator.random(ROWS) < 0.02, None, delay),
        "late": (delay + generator.normal(0, 12, ROWS) > 15).astype(int),
    }
    return pa.table({name: pa.array(list(column)) for name, column in {**columns, **changes}.items()})


def shipway_data(*arguments, expect=0):
    """Runs the command line and returns what it printed: the result, or what was wrong."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["shipway data", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as exit_:
            command_line.main()
    signal.signal(signal.SIGTERM, handler)
    assert (exit_.value.code or 0) == expect, err.getvalue()
    return out.getvalue() if expect in (0, 3) else err.getvalue()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """January in several formats, its statistics and schema, made by the command line; February in Parquet."""
    root = tmp_path_factory.mktemp("work")
    january = months(1)
    pc.write_csv(january, root / "january.csv")
    (root / "january.csv.gz").write_bytes(gzip.compress((root / "january.csv").read_bytes()))
    pq.write_table(january, root / "january.parquet")
    pq.write_table(months(2), root / "february.parquet")
    (root / "cut.parquet").write_bytes((root / "february.parquet").read_bytes()[:9000])
    shipway_data("stats", root / "january.csv", "-o", root / "january")
    shipway_data("schema", root / "january", "--label", "late", "-o", root / "schema")
    return root


def anomalies(directory):
    return json.loads((directory / "anomalies" / "anomalies.json").read_text())


@pytest.mark.parametrize("verb", [(), ("stats",), ("schema",), ("validate",), ("report",), ("checks",)])
def test_help(verb):
    text = shipway_data(*verb, "--help")
    assert text.startswith("Usage: shipway data")
    assert verb == ("checks",) or "\n  shipway data " in text


def test_help_loads_nothing_heavy():
    heavy = "numpy pyarrow pandas tensorflow tensorflow_data_validation duckdb jinja2 google.protobuf"
    code = f"import sys, {MODULE}; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["january.csv.gz", "january.parquet"])
def test_stats_are_the_same_from_any_format(work, tmp_path, name):
    told = json.loads(shipway_data("stats", work / name, "-o", tmp_path / "out", "--json"))
    assert told == {"output": str(tmp_path / "out"), "rows": ROWS, "columns": 5}
    written, of_csv = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "out", work / "january"))
    for field in ("name", "missing", "unique", "top_values"):
        assert [column[field] for column in written["columns"]] == [column[field] for column in of_csv["columns"]]
    assert (tmp_path / "out" / "statistics.pb").is_file()
    assert (tmp_path / "out" / "distributions.json").is_file()


def test_stats_of_an_address(work, served, tmp_path):
    directory, address = served
    (directory / "january.csv.gz").write_bytes((work / "january.csv.gz").read_bytes())
    shipway_data("stats", f"{address}/plain/january.csv.gz", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").read_bytes() == (work / "january" / "summary.json").read_bytes()


def test_odd_values_take_one_line_each(tmp_path):
    (tmp_path / "odd.csv").write_text('a,"b\nb",c\n1,x,\n-inf,"y\nz",\nnan,x,\n')
    lines = shipway_data("stats", tmp_path / "odd.csv", "-o", tmp_path / "out").splitlines()
    assert lines[1].split(maxsplit=2) == ["a", "FLOAT", "0.0%  -infinity to 1, median 1"]
    assert lines[2] == f"{'b b':<28} STRING      0.0%  2 distinct: x, y z"
    assert lines[3].split() == ["c", "STRING", "100.0%"]


def test_stats_options(work, tmp_path):
    text = shipway_data(
        "stats", work / "january.parquet", "-o", tmp_path / "out", "--slice-column", "carrier", "--weight-column",
        "distance", "--sample-fraction", "0.5", "--seed", "3", "--processes", "2",
    )  # fmt: skip
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "3 distinct: " in lines["carrier"]
    assert "median" in lines["distance"]
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]
    assert 0.4 * ROWS < rows < 0.6 * ROWS
    assert f"rows         {rows:,}" in text


def test_schema(work, tmp_path):
    before = (work / "schema" / "schema.pbtxt").read_bytes()
    assert b'not_in_environment: "SERVING"' in before
    options = ("--range-column", "dist*", "--range-margin", "0")
    shipway_data("schema", work / "january.parquet", *options, "-o", tmp_path / "new")
    assert "int_domain" in (tmp_path / "new" / "schema.pbtxt").read_text()
    pq.write_table(months(3, fresh=["x"] * ROWS), tmp_path / "march.parquet")
    update = ("--update", work / "schema", "-o", tmp_path / "proposal")
    text = shipway_data("schema", tmp_path / "march.parquet", *update)
    assert "| fresh | adds |" in text
    assert "changes      1" in text
    assert {file.name for file in (tmp_path / "proposal").iterdir()} == {
        "changes.diff", "changes.json", "changes.md", "schema.pbtxt",
    }  # fmt: skip
    assert (work / "schema" / "schema.pbtxt").read_bytes() == before


def test_good_data_passes(work, tmp_path):
    previous = ("--previous", work / "january", "--label", "late", "--key-column", "flight")
    text = shipway_data(
        "validate", work / "february.parquet", "--schema", work / "schema", *previous, "-o", tmp_path / "out"
    )
    assert "anomalies    0" in text
    assert "rejected     False" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"anomalies", "report.html", "statistics"}
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


@pytest.fixture
def bad(tmp_path):
    """March, where a carrier is new, a flight is there twice, and distances are of another unit."""
    march = months(3, carrier=["ZZ"] * 400 + ["UA"] * (ROWS - 400), flight=[7, 7, *range(ROWS - 2)])
    pq.write_table(march, tmp_path / "march.parquet")
    return tmp_path / "march.parquet"


def test_bad_data_is_rejected_and_everything_is_written(work, bad, tmp_path):
    keys = ("--key-column", "flight", "--statistics")
    shipway_data("stats", bad, "-o", tmp_path / "march")
    schema = work / "schema" / "schema.pbtxt"
    text = shipway_data("validate", bad, "--schema", schema, *keys, tmp_path / "march", "-o", tmp_path / "o", expect=3)
    assert "fail  schema               carrier" in text
    assert "fail  duplicate_keys" in text
    assert "rejected     True" in text
    assert anomalies(tmp_path / "o")["rejected"]
    assert not (tmp_path / "o" / "statistics").exists()
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "validate", bad, "--schema", schema, "-o", tmp_path / "o", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["rejected"]) == (3, True)
    assert done.stderr.startswith("shipway: DataRejected: the data does not look as it must: ")
    assert f"{tmp_path}/o/report.html shows why" in done.stderr


def test_what_checks_ask_is_settable(work, bad, tmp_path):
    (tmp_path / "checks.yaml").write_text("schema: off\nduplicate_keys: {severity: warn}\n")
    options = ("--key-column", "flight", "--checks", tmp_path / "checks.yaml")
    text = shipway_data("validate", bad, "--schema", work / "schema", *options, "-o", tmp_path / "out")
    assert "warn  duplicate_keys" in text
    assert "carrier" not in text
    shipway_data("validate", bad, "--schema", work / "schema", "--on-anomaly", "warn", "-o", tmp_path / "out")


@pytest.mark.parametrize("name", ["january.csv", "january.parquet"])
def test_quarantine(work, tmp_path, name):
    rule = ("--rule", "distance >= 200", "--on-anomaly", "quarantine", "--min-clean-fraction", "0.5")
    text = shipway_data("validate", work / name, "--schema", work / "schema", *rule, "-o", tmp_path / "out", "--json")
    told = json.loads(text)
    distances = pq.read_table(work / "january.parquet")["distance"].to_numpy()
    assert told["quarantined"] == (distances < 200).sum() > 0
    clean = pq.read_table(tmp_path / "out" / "clean" / "part-00000.parquet")
    assert clean["distance"].to_pylist() == distances[distances >= 200].tolist()
    assert anomalies(tmp_path / "out")["quarantine"]["rows"] == told["quarantined"]
    assert list((tmp_path / "out" / "anomalies" / "quarantine").glob("part-*.parquet"))


def test_a_quarantine_that_catches_nothing_leaves_rows_of_its_own(work, tmp_path):
    source = tmp_path / "source.parquet"
    source.write_bytes((work / "january.parquet").read_bytes())
    options = ("--schema", work / "schema", "--on-anomaly", "quarantine", "-o", tmp_path / "out")
    shipway_data("validate", source, *options)
    source.unlink()
    assert pq.read_table(tmp_path / "out" / "clean").num_rows == ROWS


def test_a_schema_that_asks_in_vain_is_refused(work, tmp_path):
    text = (work / "schema" / "schema.pbtxt").read_text()
    (tmp_path / "schema.pbtxt").write_text(text + 'feature { name: "late" type: FLOAT }\n')
    options = ("--schema", tmp_path / "schema.pbtxt", "-o", tmp_path / "out")
    assert "asks for what no data would be held against" in shipway_data(
        "validate", work / "january.parquet", *options, expect=2
    )
    assert not (tmp_path / "out").exists()


def test_serving_data_has_no_label(work, tmp_path):
    pq.write_table(months(4).drop(["late"]), tmp_path / "requests.parquet")
    command = ("validate", tmp_path / "requests.parquet", "--schema", work / "schema", "-o", tmp_path / "out")
    shipway_data(*command, "--environment", "SERVING")
    assert "late" in shipway_data(*command, expect=3)


def test_report(work, tmp_path):
    others = ("--previous", work / "january", "--serving", work / "january.csv")
    told = shipway_data("report", work / "february.parquet", *others, "-o", tmp_path / "a" / "page.html", "--json")
    assert json.loads(told) == {"output": str(tmp_path / "a" / "page.html"), "rows": ROWS, "columns": 5}
    page = (tmp_path / "a" / "page.html").read_text()
    assert "carrier" in page
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["page.html"]


def test_the_facets_view_is_an_option(work, tmp_path):
    shipway_data("report", work / "january", "--previous", work / "january", "--facets", "-o", tmp_path / "page.html")
    assert "facets-overview" in (tmp_path / "page.html").read_text()


def test_checks():
    listed = json.loads(shipway_data("checks", "--json"))
    assert [check["name"] for check in listed] == [spec.name for spec in CATALOGUE]
    text = shipway_data("checks")
    for spec in CATALOGUE:
        assert f"{spec.name} " in text
        assert spec.description in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats", "nowhere.csv", "-o", "out"], "nowhere.csv"),
        (["stats", "january.csv", "-o", "january.parquet"], "-o january.parquet is a file"),
        (["stats", "january.csv", "-o", "."], r"-o . holds something else (no statistics.pb)"),
        (["schema", "january", "-o", "january"], "holds something else (no schema.pbtxt)"),
        (["validate", "cut.parquet", "--schema", "schema", "-o", "out"], "InputError: cut.parquet is no readable"),
        (["stats", "ftp://host/flights", "-o", "out"], "ftp:// is not known; it can be a path"),
        (["schema", "schema", "-o", "schema"], "would replace schema, which is to be read"),
        (["schema", "january", "-o", "out", "--label", "lat"], "did you mean 'late'?"),
        (["schema", "january", "-o", "out", "--tighten"], "--tighten is for --update"),
        (["schema", "january", "-o", "out", "--update", "schema", "--label", "late"], "--label and --range-column"),
        (["validate", "january.csv", "-o", "out", "--schema", "nowhere.pbtxt"], "schema_uri nowhere.pbtxt cannot be"),
        (["validate", "january.csv", "-o", "out", "--schema", "schema", "--label", "lat"], "did you mean 'late'?"),
        (["validate", "january.csv", "-o", "out", "--schema", "schema", "--checks", "no.yaml"], "--checks no.yaml"),
        (["validate", "january.csv", "-o", "out"], "Missing option '--schema'"),
        (["report", "january", "-o", "schema"], "-o schema is a directory; name a file"),
    ],
)
def test_mistakes(work, arguments, message, monkeypatch):
    monkeypatch.chdir(work)
    told = shipway_data(*arguments, expect=2)
    assert message in told
    assert "Traceback" not in told
    assert not (work / "out").exists()
    assert not list(work.glob(".*"))


def test_stopped_from_outside(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.csv"
        command = [sys.executable, "-m", MODULE, "stats", address, "-o", str(tmp_path / "out")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGTERM)
                _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told == "shipway: Preempted: stopped by SIGTERM; nothing was written\n"
    assert list(tmp_path.iterdir()) == []
