from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import InputError
from shipway.components.data.ingestion.transformation import transform_data
from shipway.components.data.tables import read_dataset


@pytest.fixture
def tables(tmp_path):
    for name, columns in {
        "flights": {"origin": ["EWR", "JFK", "EWR", "LGA"], "delay": [30, None, 5, 16], "x y": [1, 2, 3, 4]},
        "weather-2": {"origin": ["EWR", "JFK"], "wind": [9.5, float("nan")]},
    }.items():
        (tmp_path / "tables" / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), tmp_path / "tables" / name / "part-00000.parquet")
    return tmp_path / "tables"


def run(tables, sql):
    metadata = transform_data(tables, tables.parent / "out", sql)
    table = read_dataset(tables.parent / "out")
    assert metadata == {
        "rows": table.num_rows,
        "columns": table.num_columns,
        "digest": directory_digest(tables.parent / "out"),
    }
    return table


def test_join_derive_and_order(tables):
    sql = """
        -- late flights; with weather
        SELECT f.*, w.wind, (delay > 15)::BIGINT AS late, delay / 0 AS nothing, 1.5 AS price,
            sum(delay) OVER () AS total
        FROM flights f LEFT JOIN "weather-2" w USING (origin) WHERE delay IS NOT NULL ORDER BY delay DESC; -- end
    """
    table = run(tables, sql)
    assert table["delay"].to_pylist() == [30, 16, 5]
    assert table["wind"].to_pylist() == [9.5, None, 9.5]
    assert table["late"].to_pylist() == [1, 1, 0]
    assert [str(table.schema.field(name).type) for name in ("late", "price", "total")] == ["int64", "double", "double"]


def test_order_and_bytes_repeat(tables):
    sql = "SELECT i % 97 AS k, i, hash(i) % 1000 / 7 AS v FROM range(300_000) t(i) JOIN flights ON true ORDER BY k"
    first = transform_data(tables, tables.parent / "a", sql)
    assert first == transform_data(tables, tables.parent / "b", sql)
    assert first["rows"] == 1_200_000


def test_nan_is_missing(tables):
    assert run(tables, 'SELECT * FROM "weather-2"')["wind"].to_pylist() == [9.5, None]


def test_nan_in_lists_is_missing(tables):
    sql = """SELECT CASE origin WHEN 'EWR' THEN [wind, 1] WHEN 'JFK' THEN [2, wind] END AS "a list"
        FROM (FROM "weather-2" UNION ALL SELECT 'LGA', 3)"""
    assert run(tables, sql)["a list"].to_pylist() == [[9.5, 1], [2, None], None]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("'a'::ENUM ('a', 'b')", "string"),
        ("TIME '10:00:00'", "string"),
        ("NULL", "string"),
        ("1::UTINYINT", "int64"),
        ("1::HUGEINT", "double"),
        ("1::DECIMAL(18, 3)", "double"),
        ("1::TINYINT", "int8"),
        ("true", "bool"),
        ("DATE '2020-01-01'", "date32[day]"),
        ("TIMESTAMP_NS '2020-01-01 00:00:00'", "timestamp[us]"),
        ("TIMESTAMPTZ '2020-01-01 00:00:00'", "timestamp[us, tz=UTC]"),
        ("[1::UTINYINT]", "list<element: int64>"),
        ("[1::FLOAT]", "list<element: float>"),
        ("[1.5::DECIMAL(18, 3)]", "list<element: double>"),
        ("[true]", "list<element: bool>"),
        ("[1, 2]::INTEGER[2]", "list<element: int32>"),
        ("[delay, 1e-3]", "list<element: double>"),
        ("CAST('[1, 2.5]' AS FLOAT[])", "list<element: float>"),
    ],
)
def test_types_of_a_dataset(tables, expression, kind):
    assert (
        str(run(tables, f'SELECT {expression} AS v, delay AS "d AS \'d" FROM flights').schema.field("v").type) == kind
    )


def test_empty_sql_takes_the_only_table(tables):
    with pytest.raises(InputError, match=r"there are 2 tables(.|\n)*flights.*origin, delay, x y"):
        transform_data(tables, tables.parent / "out")
    for file in (tables / "weather-2").iterdir():
        file.unlink()
    (tables / "weather-2").rmdir()
    assert run(tables, "  ")["delay"].to_pylist() == [30, None, 5, 16]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT arr_dely FROM flights", 'arr_dely(.|\n)*"flights": origin, delay, x y\n  "weather-2": origin, wind'),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nope", "nope does not exist"),
        ("SELECT CAST(origin AS INT) AS v FROM flights", "Could not convert"),
        ("SELECT * FROM flights WHERE false", "no rows"),
        ("SELECT * FROM flights f JOIN flights g USING (delay)", "more than one column 'origin', 'x y'"),
        ("SELECT ['a'] AS v", r"'v' has the type VARCHAR\[\]"),
        ("SELECT [[1]] AS v", r"'v' has the type INTEGER\[\]\[\]"),
        ("SELECT [{'a': 1}] AS v", "'v' has the type STRUCT"),
        ("SELECT [DATE '2020-01-01'] AS v", r"'v' has the type DATE\[\]"),
        ("SELECT {'a': 1} AS v", "'v' has the type STRUCT"),
        ("SELECT 'a'::BLOB AS v", "'v' has the type BLOB"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("DROP VIEW flights", "one SELECT"),
        ("COPY flights TO '/tmp/x.parquet'", "one SELECT"),
        ("SELECT 1) TO '/tmp/x.parquet'; --", "syntax error"),
        ("-- nothing", "one SELECT"),
    ],
)
def test_wrong_sql(tables, sql, message):
    with pytest.raises(InputError, match=message):
        transform_data(tables, tables.parent / "out", sql)
    assert [path.name for path in tables.parent.iterdir()] == ["tables"]


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{file}')",
        "read_text('{file}')",
        "'{file}'",
        "glob('{folder}/*')",
        "read_csv('http://127.0.0.1:1/a.csv')",
    ],
)
def test_sql_reads_the_views_only(tables, csv, source):
    secret = csv("password\nswordfish\n", "secret.csv")
    with pytest.raises(InputError, match="the SQL failed") as error:
        transform_data(
            tables, tables.parent / "out", f"SELECT * FROM {source.format(file=secret, folder=secret.parent)}"
        )
    assert "swordfish" not in str(error.value)


def test_no_tables(tmp_path):
    with pytest.raises(InputError, match="holds no tables"):
        transform_data(tmp_path / "none", tmp_path / "out")


def test_a_root_like_a_hive_partition_adds_no_column(tmp_path):
    folder = tmp_path / "exp=1" / "tables" / "t"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2]}), folder / "part-00000.parquet")
    transform_data(folder.parent, tmp_path / "exp=1" / "out")
    assert pq.read_schema(tmp_path / "exp=1" / "out" / "part-00000.parquet").names == ["a"]
    assert read_dataset(tmp_path / "exp=1" / "out").column_names == ["a"]
