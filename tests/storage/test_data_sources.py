"""Raw data out of real stores: what the data family's ingestion takes from them, and what it notices."""

from __future__ import annotations

import shutil
import uuid

import pytest
from witness import use_profiles

from shipway.components.common import progress
from shipway.components.common.errors import ConflictError, InputError, ObjectNotFound
from shipway.components.data.ingestion.sources import fetched, resolve_data
from shipway.components.data.local_data import local_source

ROWS = b"a,b\n1,x\n2,y\n"
TABLES = {"one.csv": ROWS, "two.csv.gz": b"any bytes", "large.parquet": bytes(range(256)) * 80_000}


class Raw:
    """A fresh directory in a store."""

    def __init__(self, server, bucket: str) -> None:
        self.server, self.bucket, self.base = server, bucket, uuid.uuid4().hex[:12]

    def uri(self, name: str = "") -> str:
        return f"{self.server.scheme}://{self.bucket}/{self.base}{name and '/'}{name}"

    def put(self, name: str, data: bytes) -> str:
        self.server.put(self.bucket, f"{self.base}/{name}", data)
        return self.uri(name)


@pytest.fixture(params=["moto", "seaweedfs", "fake-gcs"])
def raw(request, start, tmp_path, monkeypatch):
    server = start(request.param)
    bucket = server.new_bucket()
    use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(server, f"{server.scheme}://", server.url)], 10)
    return Raw(server, bucket)


@pytest.fixture
def claim(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIPWAY_PVC_ROOT", str(tmp_path))
    (tmp_path / "claim" / "raw").mkdir(parents=True)
    return tmp_path / "claim" / "raw"


def test_an_object(raw):
    uri = raw.put("one.csv", ROWS)
    digest = resolve_data(uri)
    assert resolve_data(uri) == digest
    with fetched(uri, digest) as (file,):
        assert (file.name, file.read_bytes()) == ("one.csv", ROWS)
    assert not file.exists()


def test_a_directory_gives_its_readable_files(raw):
    for name, data in {**TABLES, "README.md": b"read me", ".hidden.csv": b"", "deeper/three.csv": ROWS}.items():
        raw.put(name, data)
    digest = resolve_data(raw.uri())
    assert digest == resolve_data(f"{raw.uri()}/")
    with fetched(raw.uri(), digest) as files:
        assert {file.name: file.read_bytes() for file in files} == TABLES
    raw.put("README.md", b"read me again")
    assert resolve_data(raw.uri()) == digest
    raw.put("four.csv", ROWS)
    assert resolve_data(raw.uri()) != digest


def test_the_log_tells_how_far_it_is(raw, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    uri = raw.put("large.parquet", TABLES["large.parquet"])
    with fetched(uri, resolve_data(uri)):
        pass
    assert "downloading: 20 of 20 MiB (100%)" in capsys.readouterr().err


def test_what_changed_is_a_conflict(raw):
    for name, data in TABLES.items():
        raw.put(name, data)
    one, whole = resolve_data(raw.uri("one.csv")), resolve_data(raw.uri())
    raw.put("one.csv", ROWS.replace(b"1", b"3"))
    with pytest.raises(ConflictError, match="no longer holds what was resolved"), fetched(raw.uri("one.csv"), one):
        pass
    with pytest.raises(ConflictError, match="no longer holds what was resolved"), fetched(raw.uri(), whole):
        pass


def test_what_is_missing_is_named(raw):
    raw.put("texts/a.txt", b"a")
    raw.put("twice/a.csv", ROWS), raw.put("twice/A.tsv", ROWS)
    with pytest.raises(ObjectNotFound, match=rf"{raw.uri('none.csv')} holds nothing; is data_uri spelt right\?"):
        resolve_data(raw.uri("none.csv"))
    with pytest.raises(ObjectNotFound, match="no-such-bucket"):
        resolve_data(f"{raw.server.scheme}://no-such-bucket/one.csv")
    with pytest.raises(InputError, match="holds no readable files"):
        resolve_data(raw.uri("texts"))
    with pytest.raises(InputError, match="does not tell a readable format"):
        resolve_data(raw.uri("texts/a.txt"))
    with pytest.raises(InputError, match="would be one table"):
        resolve_data(raw.uri("twice"))


def test_a_source_of_any_kind_and_depth(raw):
    for key in (1, 2):
        raw.put(f"keyed/k={key}/some.tfrecord", b"records %d" % key)
    with local_source(raw.uri("keyed")) as path:
        assert (raw.server.directory / path / "k=2" / "some.tfrecord").read_bytes() == b"records 2"
    with local_source(raw.uri("keyed/k=1/some.tfrecord")) as path:
        assert path.endswith("/some.tfrecord")


def test_a_claim_is_read_where_it_is_mounted(claim):
    (claim / "one.csv").write_bytes(ROWS)
    digest = resolve_data("pvc://claim/raw")
    shutil.copy(claim / "one.csv", claim.parent / "other.csv")
    assert digest == resolve_data(str(claim.parent / "other.csv"))
    with fetched("pvc://claim/raw", digest) as files:
        assert files == [claim / "one.csv"]
    with local_source("pvc://claim/raw/one.csv") as path:
        assert path == str(claim / "one.csv")
