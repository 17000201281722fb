from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.local_data import (
    local_dataset,
    local_source,
    output_directory,
    output_page,
    settings_file,
)
from shipway.components.data.tables import read_dataset

TEXT = "n,s\n" + "".join(f"{i},v{i % 7}\n" for i in range(500))
TABLE = pa.table({"n": range(500), "s": [f"v{i % 7}" for i in range(500)]})


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    pq.write_table(TABLE, tmp_path / "t.parquet")
    (tmp_path / "parts").mkdir()
    for number in range(2):
        pq.write_table(TABLE.slice(250 * number, 250), tmp_path / "parts" / f"part-0000{number}.parquet")
    for key in (1, 2):
        (tmp_path / "keyed" / f"k={key}").mkdir(parents=True)
        pq.write_table(TABLE.slice(250 * (key - 1), 250), tmp_path / "keyed" / f"k={key}" / "some.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "parts"])
def test_any_source_is_a_dataset(sources, name):
    with local_dataset(str(sources / name), sources / "scratch") as (dataset, known_as):
        assert read_dataset(dataset).to_pydict() == TABLE.to_pydict()
        assert (dataset == sources / name) == (name == "parts")
        assert known_as == (dataset if "csv" in name else sources / name)
    assert pq.read_table(sources / "t.parquet").num_rows == 500


def test_keys_of_directories_are_columns(sources):
    with local_dataset(str(sources / "keyed"), sources / "scratch") as (dataset, _):
        assert read_dataset(dataset)["k"].to_pylist() == [1] * 250 + [2] * 250


def test_a_file_uri(sources):
    with local_source(f"file://{sources}/t%2Ecsv") as path:
        assert path == str(sources / "t.csv")


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("t.csv", [], "t.csv is a file; name a directory"),
        ("parts", [], r"holds something else \(no mark\); name another directory"),
        ("earlier", ["earlier/data.csv"], "would replace .*earlier/data.csv, which is to be read"),
        ("earlier", ["earlier"], "would replace"),
    ],
)
def test_outputs_that_would_lose_something(sources, name, inputs, message):
    (sources / "earlier").mkdir()
    (sources / "earlier" / "mark").touch()
    with pytest.raises(InputError, match=message):
        output_directory(sources / name, "mark", [sources / given for given in inputs])


@pytest.mark.parametrize("name", ["earlier", "empty", "new"])
def test_outputs_that_lose_nothing(sources, name):
    for existing in ("earlier", "empty"):
        (sources / existing).mkdir()
    (sources / "earlier" / "mark").touch()
    output_directory(sources / name, "mark", [sources / "t.csv", None, "https://example.com/earlier/x.csv"])


def test_a_page_is_there_whole_or_not_at_all(tmp_path):
    def broken():
        with output_page(tmp_path / "a" / "page.html") as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list((tmp_path / "a").iterdir()) == []
    with output_page(tmp_path / "a" / "page.html") as aside:
        aside.write_text("whole")
    assert [file.read_text() for file in (tmp_path / "a").iterdir()] == ["whole"]
    with (
        pytest.raises(InputError, match=r"is a directory; name a file, such as .*/a/report\.html"),
        output_page(tmp_path / "a"),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "cannot be read"), ("- a\n", "must map names of checks"), ("", "must map names of checks")],
)
def test_settings_that_are_none(tmp_path, text, message):
    (tmp_path / "checks.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        settings_file(tmp_path / "checks.yaml")


def test_settings(tmp_path):
    (tmp_path / "checks.yaml").write_text("drift: {severity: fail}\nduplicate_rows: off\n")
    assert settings_file(tmp_path / "checks.yaml") == {"drift": {"severity": "fail"}, "duplicate_rows": False}
    assert settings_file(None) is None
