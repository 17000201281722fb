"""One definition of features, read by training and by serving: both must get the same."""

from __future__ import annotations

import datetime
import math
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import InputError, TransientError
from shipway.components.features.online import FeatureReader, materialize_features
from shipway.components.features.repository import create_feature_repository
from shipway.components.features.retrieval import retrieve_features
from shipway.components.features.store import REDIS_VARIABLE

START = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
KEYS = {"key_columns": ["carrier", "line"], "time_column": "since"}
SCHEMA = """
feature { name: "carrier" type: BYTES }
feature { name: "line" type: INT }
feature { name: "since" type: INT }
feature { name: "delay" type: FLOAT }
feature { name: "flights" type: INT }
feature { name: "aircraft" type: BYTES }
feature { name: "jet" type: INT }
feature { name: "late" type: INT not_in_environment: "SERVING" }
"""


def write(table: pa.Table, directory: Path) -> Path:
    directory.mkdir()
    pq.write_table(table, directory / "part-00000.parquet")
    return directory


def history_table(days: int = 40) -> pa.Table:
    random = np.random.default_rng(5)
    rows = [
        {
            "carrier": carrier,
            "line": line,
            "since": START + datetime.timedelta(days=day, hours=int(random.integers(0, 12))),
            "delay": None if random.random() < 0.2 else float(random.normal()),
            "flights": None if random.random() < 0.2 else int(random.integers(0, 2**40)),
            "aircraft": random.choice(["A320", "", "B737 ü", None]),
            "jet": bool(random.random() < 0.5),
            "late": int(random.random() < 0.3),
        }
        for day in range(days)
        for carrier in ("UA", "AA", "ü")
        for line in (1, 2)
    ]
    table = pa.Table.from_pylist(rows)
    return table.set_column(2, "since", table["since"].cast(pa.timestamp("us", tz="UTC")))


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
    return tmp_path / "schema"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return write(history_table(), tmp_path / "history")


@pytest.fixture
def repository(tmp_path: Path, schema: Path, history: Path) -> Path:
    written = create_feature_repository(history, schema, tmp_path / "repository", **KEYS)
    assert written["features"] == ["delay", "flights", "aircraft", "jet"]
    return tmp_path / "repository"


def asked(moment: datetime.datetime) -> pa.Table:
    keys = [(carrier, line) for carrier in ("UA", "AA", "ü", "new") for line in (1, 2)]
    return pa.table(
        {
            "label": pa.array(range(len(keys))),
            "carrier": [carrier for carrier, _ in keys],
            "line": pa.array([line for _, line in keys], pa.int64()),
            "at": pa.array([moment] * len(keys), pa.timestamp("us", tz="UTC")),
        }
    )


def read_rows(directory: Path) -> list[dict]:
    return pq.read_table(directory / "part-00000.parquet").to_pylist()


def known(history: Path, carrier: str, line: int, moment: datetime.datetime) -> dict:
    """The newest row of a key that holds at a moment, found without Feast."""
    rows = [r for r in read_rows(history) if (r["carrier"], r["line"]) == (carrier, line) and r["since"] <= moment]
    return max(rows, key=lambda row: row["since"], default={})


def assert_same(found: dict, expected: dict) -> None:
    for name in ("delay", "flights", "aircraft", "jet"):
        a, b = found[name], expected.get(name)
        assert a == b or (a is not None and b is not None and math.isclose(a, b)), (name, found, expected)


@pytest.mark.parametrize("day", [3, 17, 39])
def test_training_and_serving_get_the_same_features(tmp_path: Path, repository: Path, history: Path, day: int):
    moment = START + datetime.timedelta(days=day, hours=6)
    entities = write(asked(moment), tmp_path / "entities")
    written = retrieve_features(entities, repository, tmp_path / "joined", time_column="at")
    assert written["unmatched_rows"] == 2
    assert written["rows"] == 8
    training = read_rows(tmp_path / "joined")
    assert [row["label"] for row in training] == list(range(8)), "the rows keep their order"

    materialize_features(repository, tmp_path / "online", until=moment.isoformat())
    keys = [{"carrier": row["carrier"], "line": row["line"]} for row in training]
    serving = FeatureReader(tmp_path / "online").read(keys)
    for trained, served in zip(training, serving, strict=True):
        assert_same(trained, known(history, trained["carrier"], trained["line"], moment))
        assert_same(served, trained)


def test_rows_of_many_moments_never_look_ahead(tmp_path: Path, repository: Path, history: Path):
    moments = [START + datetime.timedelta(hours=7 * i) for i in range(100)]
    table = pa.table(
        {
            "carrier": ["UA"] * 100,
            "line": pa.array([2] * 100, pa.int64()),
            "at": pa.array(moments[::-1], pa.timestamp("us", tz="UTC")),
        }
    )
    retrieve_features(write(table, tmp_path / "entities"), repository, tmp_path / "joined", time_column="at")
    for row in read_rows(tmp_path / "joined"):
        assert_same(row, known(history, "UA", 2, row["at"]))


def test_types_survive(tmp_path: Path, repository: Path):
    entities = write(asked(START), tmp_path / "entities")
    retrieve_features(entities, repository, tmp_path / "joined", time_column="at")
    kinds = pq.read_schema(tmp_path / "joined" / "part-00000.parquet")
    assert [str(kinds.field(name).type) for name in ("delay", "flights", "aircraft", "jet")] == [
        "double", "int64", "string", "bool",
    ]  # fmt: skip


def test_numbers_that_a_join_would_round_are_refused(tmp_path: Path, schema: Path):
    table = history_table(2)
    big = write(table.set_column(4, "flights", pa.array([2**53 + 1] * table.num_rows)), tmp_path / "big")
    with pytest.raises(InputError, match=r"'flights'.*2\*\*53"):
        create_feature_repository(big, schema, tmp_path / "repository", **KEYS)


def test_too_old_features_do_not_count(tmp_path: Path, schema: Path, history: Path):
    create_feature_repository(history, schema, tmp_path / "repository", **KEYS, max_age_seconds=3600)
    entities = write(asked(START + datetime.timedelta(days=60)), tmp_path / "entities")
    written = retrieve_features(entities, tmp_path / "repository", tmp_path / "joined", time_column="at")
    assert written["unmatched_rows"] == 8


def test_a_moved_repository_works(tmp_path: Path, repository: Path):
    moved = tmp_path / "elsewhere" / "copy"
    moved.parent.mkdir()
    repository.rename(moved)
    materialize_features(moved, tmp_path / "online")
    before = directory_digest(moved)
    retrieve_features(
        write(asked(START + datetime.timedelta(days=50)), tmp_path / "entities"),
        moved, tmp_path / "joined", time_column="at",
    )  # fmt: skip
    assert read_rows(tmp_path / "joined")[0]["jet"] is not None
    assert directory_digest(moved) == before, "reading changes nothing"


def test_the_definitions_are_feasts_own(repository: Path):
    feast = Path(sys.executable).with_name("feast")
    shown = subprocess.run(
        [str(feast), "-c", str(repository), "feature-views", "list"], capture_output=True, text=True, check=True
    )
    assert "features" in shown.stdout


@pytest.mark.redis
def test_redis_serves_the_same(tmp_path: Path, schema: Path, history: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv(REDIS_VARIABLE, f"127.0.0.1:{port}")
    create_feature_repository(history, schema, tmp_path / "repository", **KEYS, online_store="redis")
    assert str(port) not in (tmp_path / "repository" / "feature_store.yaml").read_text()
    with pytest.raises(TransientError, match="redis"):
        materialize_features(tmp_path / "repository", tmp_path / "online")
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.05)
        materialize_features(tmp_path / "repository", tmp_path / "online")
        (row,) = FeatureReader(tmp_path / "online").read([{"carrier": "ü", "line": 1}])
        assert_same(row, known(history, "ü", 1, START + datetime.timedelta(days=99)))
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_columns": ["carier"]}, "no column 'carier'"),
        ({"key_columns": []}, "key_columns and time_column are needed"),
        ({"key_columns": ["delay"]}, "a key is a string or a whole number"),
        ({"time_column": "line"}, "give a timestamp"),
        ({"feature_view": "a__b"}, "letters, digits"),
        ({"max_age_seconds": -1}, "max_age_seconds=-1"),
        ({"online_store": "memory"}, "must be one of sqlite, redis"),
    ],
)
def test_wrong_parameters_say_what_is_wrong(tmp_path: Path, schema: Path, history: Path, change: dict, message: str):
    with pytest.raises(InputError, match=message):
        create_feature_repository(history, schema, tmp_path / "repository", **{**KEYS, **change})
    assert not (tmp_path / "repository").exists()


def test_rows_that_cannot_be_joined_are_refused(tmp_path: Path, repository: Path):
    table = asked(START)
    lacking = table.set_column(1, "carrier", pa.array([None] * 8, pa.string()))
    for place, (bad, message) in enumerate(
        [
            (table.drop_columns(["line"]), "no column 'line'"),
            (lacking, "lacks 8 values"),
            (table.append_column("delay", pa.array([1.0] * 8)), "names of features: delay"),
            (table.slice(0, 0), "no rows"),
        ]
    ):
        entities = write(bad, tmp_path / f"entities{place}")
        with pytest.raises(InputError, match=message):
            retrieve_features(entities, repository, tmp_path / "joined", time_column="at")


def test_a_reader_says_which_keys_it_takes(tmp_path: Path, repository: Path):
    materialize_features(repository, tmp_path / "online")
    reader = FeatureReader(tmp_path / "online")
    assert reader.read([]) == []
    with pytest.raises(InputError, match="carrier, line"):
        reader.read([{"carrier": "UA"}])
    with pytest.raises(InputError, match="feature_store"):
        FeatureReader(tmp_path)
    with pytest.raises(InputError, match="before all rows"):
        materialize_features(repository, tmp_path / "never", until="2012-01-01")
    assert not (tmp_path / "never").exists()
