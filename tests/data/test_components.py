"""The bodies of the faces, run as KFP's executor runs them: each function's source without its decorator."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ["_KFP_RUNTIME"] = "true"

from kfp import dsl

import shipway.components.data

FACES = Path(shipway.components.data.__file__).with_name("components")

SQL = """
SELECT f.day::TIMESTAMP + to_hours(f.hour) AS departure, f.carrier, f.hour, w.wind, (f.delay > 15)::BIGINT AS late
FROM flights f LEFT JOIN weather w USING (day, hour) WHERE f.delay IS NOT NULL ORDER BY departure, carrier
"""


@pytest.fixture(scope="module")
def components():
    trees = [ast.parse(face.read_text()) for face in sorted(FACES.glob("*.py"))]
    bodies = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    for body in bodies:
        body.decorator_list = []
    namespace = {"dsl": dsl}
    exec(compile(ast.Module(bodies, []), FACES, "exec"), namespace)
    return SimpleNamespace(**namespace)


@pytest.fixture
def artifact(tmp_path):
    return lambda kind, name: kind(name=name, uri=str(tmp_path / "artifacts" / name))


def write_flights(folder: Path, delays=lambda i: "NA" if i % 11 == 0 else i * 37 % 60) -> None:
    folder.mkdir(parents=True)
    flights = [f"2013-01-{i // 24 + 1:02d},{i % 24},{'UA' if i % 3 else 'AA'},{delays(i)}" for i in range(480)]
    weather = [f"2013-01-{i // 24 + 1:02d},{i % 24},{i % 13}.5" for i in range(0, 480, 2)]
    (folder / "flights.csv").write_text("day,hour,carrier,delay\n" + "\n".join(flights) + "\n")
    (folder / "weather.csv").write_text("day,hour,wind\n" + "\n".join(weather) + "\n")


def test_chain(components, tmp_path, artifact):
    source = tmp_path / "source"
    write_flights(source)
    tables, rows, statistics, schema, anomalies = (
        artifact(dsl.Dataset, n) for n in ("tables", "rows", "stats", "schema", "bad")
    )
    splits = [artifact(dsl.Dataset, name) for name in ("train", "validation", "test")]
    prepared = [artifact(dsl.Dataset, f"prepared_{name}") for name in ("train", "validation", "test")]
    report, summary = artifact(dsl.HTML, "report.html"), artifact(dsl.Markdown, "summary.md")
    clean, encoders = artifact(dsl.Dataset, "clean"), artifact(dsl.Artifact, "encoders")
    verdict, metrics = artifact(dsl.Markdown, "verdict.md"), artifact(dsl.Metrics, "metrics")

    digest = components.resolve_data(str(source))
    components.ingest_data(str(source), digest, tables)
    components.transform_data(tables, rows, SQL)
    components.generate_statistics(statistics, rows)
    components.infer_schema(statistics, schema, label="late")
    found = components.validate_data(
        rows, statistics, schema, clean, anomalies, report, verdict, metrics, previous_statistics=statistics
    )
    assert found == 0
    components.split_data(clean, *splits, label="late", time_column="departure", test_from="2013-01-17")
    components.prepare_data(*splits, *prepared, summary, encoders, "late", time_column="departure")

    assert tables.metadata["tables"] == {"flights": 480, "weather": 240}
    assert tables.metadata["source_digest"] == digest
    assert rows.metadata["rows"] == 436
    assert statistics.metadata == {"rows": 436, "columns": 5}
    assert schema.metadata["features"] == 5
    assert {**anomalies.metadata, "warnings": 0} == {"rows": 436, "anomalies": 0, "warnings": 0, "quarantined": 0}
    assert clean.metadata["rows"] == metrics.metadata["rows"] == 436
    assert Path(verdict.path).read_text()
    assert [split.metadata["split"] for split in splits] == ["train", "validation", "test"]
    assert splits[2].metadata["from"] == "2013-01-17T00:00:00+00:00"
    assert sum(split.metadata["rows"] for split in prepared) == 436
    assert {split.metadata["features"] for split in prepared} == {3}
    json.dumps([a.metadata for a in (tables, rows, schema, *splits, *prepared)])
    assert Path(report.path).read_text().startswith("<!")
    assert Path(summary.path).read_text().startswith("# Prepared data")


def test_statistics_of_files(components, tmp_path, artifact):
    write_flights(tmp_path / "source")
    statistics = artifact(dsl.Artifact, "statistics")
    components.generate_statistics(statistics, data_uri=f"file://{tmp_path}/source/flights.csv")
    assert statistics.metadata == {"rows": 480, "columns": 4}
    with pytest.raises(SystemExit) as stopped:
        components.generate_statistics(statistics)
    assert stopped.value.code == 2


def test_errors_become_exit_codes(components, tmp_path, artifact, capsys):
    with pytest.raises(SystemExit) as stopped:
        components.resolve_data(str(tmp_path / "none.csv"))
    assert stopped.value.code == 2
    assert f"InputError: {tmp_path}/none.csv does not exist" in capsys.readouterr().err


def test_rejected_data_leaves_its_anomalies(components, tmp_path, artifact):
    statistics, schema, anomalies = (artifact(dsl.Artifact, n) for n in ("statistics", "schema", "anomalies"))
    for name, delays in (("good", lambda i: i % 60), ("bad", lambda i: "x" if i == 400 else i % 60)):
        write_flights(tmp_path / name, delays)
        tables, rows = artifact(dsl.Dataset, f"tables-{name}"), artifact(dsl.Dataset, f"rows-{name}")
        components.ingest_data(str(tmp_path / name), components.resolve_data(str(tmp_path / name)), tables)
        components.transform_data(tables, rows, "SELECT * FROM flights")
        components.generate_statistics(statistics, rows)
        if name == "good":
            components.infer_schema(statistics, schema)
    clean, report = artifact(dsl.Dataset, "clean"), artifact(dsl.HTML, "report.html")
    summary, metrics = artifact(dsl.Markdown, "summary.md"), artifact(dsl.Metrics, "metrics")
    with pytest.raises(SystemExit) as stopped:
        components.validate_data(rows, statistics, schema, clean, anomalies, report, summary, metrics)
    assert stopped.value.code == 3
    written = json.loads((Path(anomalies.path) / "anomalies.json").read_text())
    assert {anomaly["feature"] for anomaly in written["anomalies"]} == {"delay"}
