from __future__ import annotations

import datetime
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import ConflictError, InputError
from shipway.components.data.ingestion.ingestion import ingest_data
from shipway.components.data.ingestion.sources import resolve_data


def types(table):
    return {name: str(kind) for name, kind in zip(table.column_names, table.schema.types, strict=True)}


def test_types_and_missing_values(csv, ingest):
    file = csv(
        "flag,count,share,day,moment,zoned,name,code,none\n"
        'true,1,0.5,2013-01-31,2013-01-31 10:00:00,2013-01-31T10:00:00Z,"a, ""b""\nc",007,NA\n'
        'false,NA,1e3,"",NA,2013-01-31T10:00:00+02:00,é,010,\n'
    )
    metadata, tables = ingest(file)
    assert metadata["tables"] == {"data": 2}
    assert types(tables["data"]) == {
        "flag": "bool", "count": "int64", "share": "double", "day": "date32[day]", "moment": "timestamp[us]",
        "zoned": "timestamp[us, tz=UTC]", "name": "string", "code": "string", "none": "string",
    }  # fmt: skip
    first, second = tables["data"].to_pylist()
    assert first["name"] == 'a, "b"\nc'
    assert first["day"] == datetime.date(2013, 1, 31)
    assert second["zoned"].hour == 8
    assert [name for name, value in second.items() if value is None] == ["count", "day", "moment", "none"]


@pytest.mark.parametrize(
    ("last", "kind"), [("7", "int64"), ("2.5", "double"), ("x", "string"), ("NA", "int64"), ("1e400", "double")]
)
def test_types_are_inferred_over_all_rows(csv, ingest, last, kind):
    _, tables = ingest(csv("v\n" + "1\n" * 60_000 + last + "\n"))
    assert types(tables["data"])["v"] == kind
    assert tables["data"].num_rows == 60_001


def test_only_iso_dates_are_dates(csv, ingest):
    _, tables = ingest(csv("d,e\n01/02/2020,2020-02-01\n03/04/2020,2020-04-03\n"))
    assert types(tables["data"]) == {"d": "string", "e": "date32[day]"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_line_ends(csv, ingest, delimiter, end):
    rows = [f"name one{delimiter}b", f"1.5x{delimiter}2", f'"a{delimiter}b"{delimiter}3']
    _, tables = ingest(csv(end.join(rows) + end))
    assert tables["data"].to_pydict() == {"name one": ["1.5x", f"a{delimiter}b"], "b": [2, 3]}


def test_byte_order_mark_and_missing_last_line_end(csv, ingest):
    _, tables = ingest(csv("\ufeffa,b\n1,2\n3,4"))
    assert tables["data"].to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_directory_of_csv_gzip_and_parquet(csv, ingest, tmp_path):
    csv("a\n1\n", "one.csv")
    csv(gzip.compress(b"a\n2\n"), "two.csv.gz")
    pq.write_table(pa.table({"a": [3]}), tmp_path / "raw" / "three-x.parquet")
    metadata, tables = ingest(tmp_path / "raw")
    assert metadata["tables"] == {"one": 1, "two": 1, "three-x": 1}
    assert metadata["rows"] == 3
    assert {name: table["a"].to_pylist() for name, table in tables.items()} == {"one": [1], "two": [2], "three-x": [3]}


def test_paths_are_no_patterns(csv, ingest, tmp_path):
    odd = tmp_path / "it's [a] *.d"
    odd.mkdir()
    csv("a\n1\n").rename(odd / "t.csv")
    (tmp_path / "it's a x.d").mkdir()
    assert ingest(odd / "t.csv", "out [b]*")[1]["t"]["a"].to_pylist() == [1]


def test_same_bytes_give_same_bytes(csv, ingest, tmp_path):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(300_000, 2)).round(6)
    file = csv("x,y\n" + "\n".join(f"{x},{y}" for x, y in values) + "\n")
    first, tables = ingest(file)
    second, _ = ingest(file, "again")
    assert first == second
    assert first["digest"] == directory_digest(tmp_path / "again")
    assert np.array_equal(tables["data"]["x"].to_numpy(), values[:, 0])
    part = pq.ParquetFile(tmp_path / "tables" / "data" / "part-00000.parquet")
    assert part.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.csv: is empty"),
        ("\n\n", "data.csv: is empty"),
        ("a,b\n", "holds column names and no rows"),
        (bytes(range(256)) * 40, "is no text"),
        ("a,b\n1,caf\xe9\n".encode("latin-1"), "line 2: is not UTF-8"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"1,\xff\n", "line 50002: is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "is no text"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "line 3: 2 fields where the first line names 3 columns; mend"),
        ("a,b,c\n1,2,3\n4,5,6,7\n", "line 3: 4 fields"),
        ('a,b,c\n1,"x\ny",3\n4,5\n', "line 4: 2 fields"),
        ("a,b,c\n" + "1,2,3\n" * 100_000 + "4,5\n" + "1,2,3\n" * 10, "line 100002: 2 fields"),
        ("a,b,c\n1,2,3\n4,5", "line 3: 2 fields .* is the file cut off"),
        ('a,b\n1,x\n2,"unclo', "line 3: .*quotation mark missing, or the file cut off"),
        ('a,b\n1,x\n2,"c"d\n', "line 3: "),
        ("a,b\r\n1,2\n3,4\r\n", "line endings all the same"),
        ("a,A\n1,2\n", "column 'a' is named more than once"),
        ("1,2\n3,4\n", "expected a first line of column names"),
    ],
)
def test_broken_text(csv, tmp_path, content, message):
    file = csv(content)
    with pytest.raises(InputError, match=message) as error:
        ingest_data(str(file), resolve_data(str(file)), tmp_path / "tables")
    assert str(file) in str(error.value)
    assert not (tmp_path / "tables").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("damage", ["cut", "not gzip"])
def test_broken_gzip(csv, tmp_path, damage):
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(50_000)))
    file = csv(whole[: len(whole) // 2] if damage == "cut" else b"a,b\n1,2\n", "data.csv.gz")
    with pytest.raises(InputError, match="complete"):
        ingest_data(str(file), resolve_data(str(file)), tmp_path / "tables")


def test_broken_parquet(csv, tmp_path):
    pq.write_table(pa.table({"a": list(range(10_000))}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (b"a,b\n1,2\n", whole[:-100], whole[100:], b""):
        file = csv(content, "data.parquet")
        with pytest.raises(InputError, match="no complete Parquet file"):
            ingest_data(str(file), resolve_data(str(file)), tmp_path / "tables")


def test_one_bad_file_publishes_nothing(csv, tmp_path):
    csv("a\n1\n", "good.csv"), csv("a,b\n1\n", "other.csv")
    with pytest.raises(InputError, match=r"other\.csv, line 2"):
        ingest_data(str(tmp_path / "raw"), resolve_data(str(tmp_path / "raw")), tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_other_digest_is_a_conflict(csv, tmp_path):
    with pytest.raises(ConflictError):
        ingest_data(str(csv("a\n1\n")), "sha256:" + "0" * 64, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_from_the_web(served, ingest):
    directory, address = served
    (directory / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    metadata, tables = ingest(f"{address}/tagged/t.csv.gz")
    assert metadata["tables"] == {"t": 1}
    assert tables["t"]["a"].to_pylist() == [1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_path_like_a_hive_partition_adds_no_column(tmp_path, ingest, suffix):
    folder = tmp_path / "year=2013"
    folder.mkdir()
    file = folder / f"month=1.{suffix}"
    if suffix == "csv":
        file.write_text("a,b\n1,x\n2,y\n")
    else:
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), file)
    _, tables = ingest(file)
    assert tables["month=1"].column_names == ["a", "b"]
