from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.reading import open_source, tfrecords


@pytest.fixture
def folder(tmp_path):
    """Makes small files of a value each, told by their names."""

    def make(**names):
        for name, value in names.items():
            file = tmp_path / "raw" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".csv"):
                file.write_text(f"v\n{value}\n")
            elif name.endswith(".parquet"):
                pq.write_table(pa.table({"v": [value]}), file)
            else:
                file.write_text("something else")
        return tmp_path / "raw"

    return make


def read(path, columns=None, **settings):
    source = open_source(path, **settings)
    batches = [batch for unit in source.units for batch in unit.batches(columns)]
    return pa.Table.from_batches(batches, None if columns else source.schema).to_pydict()


def test_directories_name_columns(folder):
    root = folder(**{"year=2013/month=01/a.csv": 1, "year=2013/month=10/b.csv": 2, "year=2014/month=02/a.csv": 3})
    found = read(root)
    assert found == {"v": [1, 2, 3], "year": [2013, 2013, 2014], "month": [1, 10, 2]}
    assert read(root, ["month"]) == {"month": [1, 10, 2]}
    assert read(root, ["year", "v"]) == {"year": [2013, 2013, 2014], "v": [1, 2, 3]}
    assert open_source(root).schema.types == [pa.int64()] * 3


def test_partitions_of_text_and_of_nothing(folder):
    root = folder(**{
        "city=S%C3%A3o%20Paulo/n=1/a.parquet": 1, "city=x=y/n=__HIVE_DEFAULT_PARTITION__/a.parquet": 2,
        "city=7/n=-3/a.parquet": 3,
    })  # fmt: skip
    assert read(root) == {"v": [3, 1, 2], "city": ["7", "São Paulo", "x=y"], "n": [-3, 1, None]}


def test_partitions_that_do_not_fit(folder):
    with pytest.raises(InputError, match="its directories name"):
        open_source(folder(**{"k=1/a.csv": 1, "b.csv": 2}))


def test_partition_named_like_a_column(folder):
    with pytest.raises(InputError, match="'v' names a directory and a column"):
        open_source(folder(**{"v=1/a.csv": 1}))


def test_hidden_and_foreign_files_are_left_alone(folder):
    root = folder(**{
        "a.csv": 1, "sub/b.CSV.csv": 2, ".c.csv": 3, "_d.csv": 4, "_temporary/e.csv": 5, ".git/f.csv": 6, "notes.md": 7,
    })  # fmt: skip
    source = open_source(root)
    assert [file.name for file in source.files] == ["a.csv", "b.CSV.csv"]
    assert source.bytes == sum(file.stat().st_size for file in source.files)


def test_mixed_formats(folder):
    root = folder(**{"a.csv": 1, "b.parquet": 2})
    with pytest.raises(InputError, match=r"holds csv \(a.csv\) and parquet \(b.parquet\); say which format"):
        open_source(root)
    assert read(root, format="parquet") == {"v": [2]}
    assert read(root, format="csv") == {"v": [1]}


def test_format_given_for_files_of_any_name(folder):
    root = folder(**{"a.csv": 1})
    (root / "a.csv").rename(root / "part-00000")
    with pytest.raises(InputError, match="is a directory without readable files"):
        open_source(root)
    with pytest.raises(InputError, match="has a name that tells no readable format"):
        open_source(root / "part-00000")
    assert read(root, format="csv") == read(root / "part-00000", format="csv") == {"v": [1]}
    with pytest.raises(InputError, match="format 'xml' cannot be read"):
        open_source(root, format="xml")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "none.csv")
    with pytest.raises(InputError, match="without readable files"):
        open_source(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="neither a file nor a directory"):
        open_source(tmp_path / "pipe.csv")


@pytest.mark.skipif(os.geteuid() != 0, reason="the test gives rights away and takes them back")
@pytest.mark.parametrize("forbidden", ["a.csv", "a.parquet", "a.tfrecord", "sub", "."])
def test_files_that_may_not_be_read(forbidden):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "sub").mkdir()
        for file in ("sub/b.csv", forbidden if "." in forbidden[1:] else "c.csv"):
            (root / file).write_text("v\n1\n")
        (root / forbidden).chmod(0)
        assert tfrecords.tfrecord_units  # loaded while everything may be read
        os.seteuid(65534)
        try:
            with pytest.raises(InputError, match="may not be read"):
                open_source(root / forbidden if "." in forbidden[1:] else root)
        finally:
            os.seteuid(0)
            (root / forbidden).chmod(0o755)
