from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.data.tables import read_dataset, write_dataset
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.quarantine import quarantine, quarantined_lines


def caught(check, feature, rows, severity="fail", short=""):
    return Finding(check, severity, feature, short, "", row_numbers=np.array(rows, np.int64))


@pytest.fixture(scope="module")
def table():
    rows = 200_000
    moment = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
    return pa.table(
        {
            "id": np.arange(rows),
            "text": pa.array([f"text {'x' * (n % 300)}" if n % 7 else None for n in range(rows)]),
            "time": pa.array([moment + datetime.timedelta(minutes=n) for n in range(rows)], pa.timestamp("us", "UTC")),
            "parts": pa.array([[n, n + 1] for n in range(rows)]),
        }
    )


def test_rows_are_split(table, tmp_path):
    pq.write_table(table.slice(0, 70_001), tmp_path / "part-00000.parquet")
    pq.write_table(table.slice(70_001), tmp_path / "part-00001.parquet")
    findings = [
        caught("damaged_text", "text", [7, 299, 70_001, 199_999]),
        caught("row_rules", "", [299], short="id < 299"),
        caught("future_times", "time", [299]),
        caught("list", "parts", [5]),
        caught("placeholders", "text", [11], severity="warn"),
        Finding("drift", "fail", "text", "", ""),
    ]
    done = quarantine(dataset_files(tmp_path), findings, tmp_path, tmp_path / "clean")
    assert (done.rows, done.clean, done.columns) == (5, 199_995, 4)
    assert done.as_json() == {"rows": 5, "by_rule": {"damaged_text": 4, "id < 299": 1, "future_times": 1, "list": 1}}
    lines = pq.read_table(tmp_path / "quarantine").to_pylist()
    reasons = [tuple(line[f"quarantine_{name}"] for name in ("row", "rule", "column", "value")) for line in lines]
    assert reasons == [
        (5, "list", "parts", "[5, 6]"),
        (7, "damaged_text", "text", None),
        (299, "damaged_text", "text", f"text {'x' * 195}"),
        (299, "id < 299", "", ""),
        (299, "future_times", "time", "2013-01-01 04:59:00.000000"),
        (70_001, "damaged_text", "text", f"text {'x' * (70_001 % 300)}"[:200]),
        (199_999, "damaged_text", "text", f"text {'x' * (199_999 % 300)}"[:200]),
    ]
    assert [line["id"] for line in lines] == [5, 7, 299, 299, 299, 70_001, 199_999]
    kept = np.setdiff1d(np.arange(table.num_rows), [5, 7, 299, 70_001, 199_999])
    assert read_dataset(tmp_path / "clean") == table.take(pa.array(kept))


def test_the_same_rows_give_the_same_bytes(table, tmp_path):
    written = write_dataset(table, tmp_path / "whole")
    done = quarantine(dataset_files(tmp_path / "whole"), [], tmp_path, tmp_path / "clean")
    assert (done.rows, done.clean, done.digest) == (0, 200_000, written["digest"])
    assert pq.read_metadata(tmp_path / "quarantine" / "part-00000.parquet").num_rows == 0


def test_lines_for_people(table, tmp_path):
    write_dataset(table, tmp_path / "whole")
    findings = [caught("often", "id", range(1000)), caught("seldom", "text", [150_000])]
    quarantine(dataset_files(tmp_path / "whole"), findings, tmp_path, tmp_path / "clean")
    lines = quarantined_lines(tmp_path, limit=20)
    assert [line["quarantine_rule"] for line in lines] == ["often"] * 10 + ["seldom"]
    assert lines[-1]["id"] == 150_000
    assert quarantined_lines(tmp_path / "whole") == []


def test_every_row_caught(table, tmp_path):
    write_dataset(table, tmp_path / "whole")
    done = quarantine(
        dataset_files(tmp_path / "whole"), [caught("all", "", range(200_000))], tmp_path, tmp_path / "clean"
    )
    assert (done.rows, done.clean) == (200_000, 0)
    assert read_dataset(tmp_path / "clean").schema == table.schema


def test_refused(table, tmp_path):
    write_dataset(table.slice(0, 5), tmp_path / "whole")
    with pytest.raises(InputError, match="row 5 of 5"):
        quarantine(dataset_files(tmp_path / "whole"), [caught("a", "id", [5])], tmp_path, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "whole" / "part-00001.parquet")
    with pytest.raises(InputError, match="different columns"):
        quarantine(dataset_files(tmp_path / "whole"), [], tmp_path, tmp_path / "clean")
    write_dataset(pa.table({"quarantine_row": [1]}), tmp_path / "taken")
    with pytest.raises(InputError, match="quarantine_row, which"):
        quarantine(dataset_files(tmp_path / "taken"), [], tmp_path, tmp_path / "clean")
