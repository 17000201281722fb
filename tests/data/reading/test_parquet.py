from __future__ import annotations

import datetime
import decimal
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.reading import open_source, parquet_files

UTC = datetime.UTC


@pytest.fixture
def parquet(tmp_path):
    """Writes a table, by default in row groups of 100 rows."""

    def write(columns, name="data.parquet", **settings):
        file = tmp_path / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, file, **{"row_group_size": 100, **settings})
        return file

    return write


def read(path, columns=None):
    source = open_source(path)
    batches = [batch for unit in source.units for batch in unit.batches(columns)]
    table = pa.Table.from_batches(batches, None if columns else source.schema)
    assert columns or source.rows == table.num_rows
    return table


def message(path):
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def test_units_are_row_groups(parquet, monkeypatch):
    monkeypatch.setattr(parquet_files, "_LEAST_BYTES", 1000)
    table = pa.table({"a": np.arange(5050), "b": [f"x{n}" for n in range(5050)]})
    source = open_source(parquet(table))
    assert 10 < len(source.units) <= 51
    assert sum(unit.rows for unit in source.units) == source.rows == 5050
    units = pickle.loads(pickle.dumps(source.units))
    batches = [batch for unit in units for batch in unit.batches(["b", "a"], 30)]
    assert max(batch.num_rows for batch in batches) <= 30
    assert pa.Table.from_batches(batches).equals(table.select(["b", "a"]))
    assert source.exact
    assert source.settled() is source


def test_large_row_groups_are_shared(parquet, monkeypatch):
    monkeypatch.setattr(parquet_files, "_SLICE_ROWS", 1000)
    table = pa.table({"a": np.arange(5050)})
    source = open_source(parquet(table, row_group_size=10_000))
    assert [unit.rows for unit in source.units] == [1263, 1263, 1263, 1261]
    assert read(source.files[0]).equals(table)
    assert next(source.units[2].batches(None, 1000)).num_rows <= 1000


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows(parquet, rows, tmp_path):
    table = pa.table({"a": pa.array([7][:rows], pa.int32()), "b": pa.array(["x"][:rows], pa.string())})
    assert read(parquet(table)).schema == pa.schema([("a", pa.int64()), ("b", pa.string())])
    with pq.ParquetWriter(tmp_path / "none.parquet", table.schema):
        pass
    assert read(tmp_path / "none.parquet").num_rows == 0


PLAIN = {
    "bool": (pa.array([True, None]), pa.bool_(), [True, None]),
    "int8": (pa.array([1, None], pa.int8()), pa.int64(), [1, None]),
    "uint32": (pa.array([2**32 - 1, None], pa.uint32()), pa.int64(), [2**32 - 1, None]),
    "uint64": (pa.array([2**64 - 1, None], pa.uint64()), pa.uint64(), [2**64 - 1, None]),
    "float32": (pa.array([0.5, None], pa.float32()), pa.float32(), [0.5, None]),
    "decimal": (pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)), pa.float64(), [1.25, None]),
    "wide decimal": (pa.array([decimal.Decimal(10) ** 30, None], pa.decimal256(40, 0)), pa.float64(), [1e30, None]),
    "large string": (pa.array(["é", None], pa.large_string()), pa.string(), ["é", None]),
    "binary": (pa.array([b"\xff", None], pa.binary(1)), pa.binary(), [b"\xff", None]),
    "dictionary": (pa.array(["b", None]).dictionary_encode(), pa.string(), ["b", None]),
    "null": (pa.nulls(2), pa.null(), [None, None]),
    "time": (pa.array([datetime.time(0, 0, 1, 500_000), None], pa.time64("us")), pa.float64(), [1.5, None]),
    "time32": (pa.array([datetime.time(0, 1), None], pa.time32("ms")), pa.float64(), [60.0, None]),
    "duration": (pa.array([datetime.timedelta(hours=-1), None], pa.duration("ms")), pa.float64(), [-3600.0, None]),
    "zone": (
        pa.array([0, None], pa.timestamp("ms", "UTC")), pa.timestamp("us", "UTC"),
        [datetime.datetime(1970, 1, 1, tzinfo=UTC), None],
    ),
    "list": (pa.array([[1, None], None, []][:2], pa.list_(pa.int16())), pa.large_list(pa.int64()), [[1, None], None]),
    "strings": (pa.array([[], ["x"]], pa.large_list(pa.large_string())), pa.large_list(pa.string()), [[], ["x"]]),
    "fixed": (pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), pa.large_list(pa.int64()), [[1, 2], [3, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_types_become_plain(parquet, name):
    array, kind, values = PLAIN[name]
    table = read(parquet({"c": array, "d": ["x", "y"]}))
    assert table.schema.field("c").type == kind
    assert table["c"].to_pylist() == values


def test_dates_outside_the_range_of_pandas(parquet):
    days = [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]
    moments = [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59), None]
    table = read(parquet({
        "days": pa.array(days), "days64": pa.array(days, pa.date64()), "us": pa.array(moments, pa.timestamp("us")),
        "ms": pa.array(moments, pa.timestamp("ms")),
    }))  # fmt: skip
    midnights = [day and datetime.datetime(day.year, day.month, day.day) for day in days]
    assert table.schema.types == [pa.timestamp("us")] * 4
    assert table.to_pydict() == {"days": midnights, "days64": midnights, "us": moments, "ms": moments}


def test_time_beyond_microseconds(parquet):
    nanos = pa.array([-1_500, 1_999], pa.timestamp("ns"))
    assert read(parquet({"t": nanos}, version="2.6"))["t"].cast(pa.int64()).to_pylist() == [-1, 1]
    far = pa.array([2**62], pa.timestamp("ms"))
    assert "column 't': cannot become timestamp[us]" in message(parquet({"t": far}))


@pytest.mark.parametrize(
    "array",
    [
        pa.array([{"x": 1}]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[{"x": 1}]]),
        pa.array([[[1]]]),
    ],
)
def test_nested_types_are_refused(parquet, array):
    assert "data.parquet, column 'c': " in message(parquet({"c": array}))
    assert "cannot be read; give plain values or lists of them" in message(parquet({"c": array}))


def test_files_share_types(parquet):
    parquet({"a": pa.array([1], pa.int8()), "b": pa.array([2.5], pa.float32()), "c": pa.nulls(1)}, "one.parquet")
    folder = parquet({"c": ["x"], "a": pa.array([1.5]), "b": pa.array([1])}, "two.parquet").parent
    table = read(folder)
    assert table.schema == pa.schema([("a", pa.float64()), ("b", pa.float64()), ("c", pa.string())])
    assert table.to_pydict() == {"a": [1.0, 1.5], "b": [2.5, 1.0], "c": [None, "x"]}


def test_files_contradict_each_other(parquet):
    parquet({"a": [1]}, "one.parquet")
    folder = parquet({"a": ["x"]}, "two.parquet").parent
    assert "two.parquet, column 'a': is string, but int64 in" in message(folder)
    parquet({"b": ["x"]}, "two.parquet")
    assert "two.parquet: lacks 'a' and has 'b' besides" in message(folder)


def test_repeated_name(parquet):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    assert "column 'a' is there more than once" in message(parquet(table))


def test_broken_files(parquet):
    values = np.random.default_rng(0).integers(0, 10**9, 20_000)
    file = parquet({"a": values, "b": values.astype(str)}, compression="zstd", row_group_size=5000)
    content = file.read_bytes()
    for wrong in (b"", b"PAR1", content[: len(content) // 2], content[:-8], b"a,b\n1,2\n"):
        file.write_bytes(wrong)
        assert "data.parquet is no readable Parquet file" in message(file)
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    for group in range(4):
        damaged = bytearray(content)
        start = metadata.row_group(group).column(1).data_page_offset
        damaged[start : start + 16] = bytes(16)
        file.write_bytes(bytes(damaged))
        assert "data.parquet is no readable Parquet file" in message(file)


def test_wide_table(parquet):
    table = pa.table({f"c{number}": [number, None] for number in range(5000)})
    assert read(parquet(table), ["c4999", "c7"]).to_pydict() == {"c4999": [4999, None], "c7": [7, None]}
    assert read(parquet(table)).shape == (2, 5000)
