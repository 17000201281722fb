"""Whole operations, alike over every store and between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from places import DATA, Place, check_error
from servers import Server
from witness import on_disk, stored, use_profiles

from shipway.components.common import storage
from shipway.components.common.errors import (
    CapabilityMissing,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    UnsafeName,
    VersionConflictError,
)

OPTIONS = storage.Options(part_mib=5, retry_seconds=5)
TREE = {
    "MODEL.txt": b"a model",
    "weights/large.bin": DATA,  # two parts
    "weights/empty": b"",
    "100% blank + été.txt": b"name",
}
EVERY = ["file", "pvc", "moto", "seaweedfs", "fake-gcs", "gcs-stub"]
UNSAFE = ["../x", "/abs", "a//x", "a/./b", "a/../../b", "nul\0x"]


@pytest.fixture
def reached(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh directory in every server in turn, which its URI leads to."""
    return reach(monkeypatch, tmp_path, server)[0]


def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *servers: Server) -> list[Place]:
    places = [Place(each) for each in servers]
    ways = {place.server: f"{place.server.scheme}://{place.bucket}" for place in places if place.server.url}
    use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(each, uri, each.url) for each, uri in ways.items()], 10)
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    return places


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "tree", TREE)


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def there(place: Place, name: str) -> dict[str, bytes]:
    return stored(place.server, place.bucket, place.key(name))


def test_there_and_back(reached: Place, tree: Path, tmp_path: Path) -> None:
    size = sum(map(len, TREE.values()))
    sent = storage.upload(tree, reached.uri("d"), OPTIONS)
    assert (sent.files, sent.bytes, sent.unchanged) == (4, size, 0)
    assert sent.moved_bytes >= size
    assert there(reached, "d") == TREE
    got = storage.download(reached.uri("d"), tmp_path / "back", OPTIONS)
    assert (got.files, got.bytes) == (4, size)
    assert on_disk(tmp_path / "back") == TREE
    assert {path.name for path in tmp_path.iterdir()} <= {"tree", "back", "state", "profiles.yaml"}


def test_what_is_there_is_not_sent_again(reached: Place, tree: Path) -> None:
    storage.upload(tree, reached.uri("d"), OPTIONS)
    again = storage.upload(tree, reached.uri("d"), OPTIONS)
    assert again.unchanged == 4
    (tree / "MODEL.txt").write_bytes(b"b model")  # as long as before
    changed = storage.upload(tree, reached.uri("d"), OPTIONS)
    assert changed.unchanged == 3
    if reached.server.url:
        assert (again.moved_bytes, changed.moved_bytes) == (0, 7)
    assert there(reached, "d") == {**TREE, "MODEL.txt": b"b model"}


@pytest.mark.parametrize("name", TREE)
def test_one_file(reached: Place, tree: Path, tmp_path: Path, name: str) -> None:
    storage.upload(tree / name, reached.uri(f"d/{name}"), OPTIONS)
    (tmp_path / "back").write_bytes(b"is replaced")
    storage.download(reached.uri(f"d/{name}"), tmp_path / "back", OPTIONS)
    assert (tmp_path / "back").read_bytes() == TREE[name]


def test_a_directory_that_another_starts_like(reached: Place, tmp_path: Path) -> None:
    for name in ("m/v1/a", "m/v10/a", "m/v1-old"):
        reached.put(name)
    storage.download(reached.uri("m/v1"), tmp_path / "back")
    assert on_disk(tmp_path / "back") == {"a": b"x"}
    with pytest.raises(ObjectNotFound) as caught:
        storage.download(reached.uri("m/v"), tmp_path / "none")
    check_error(reached.uri("m/v"), caught.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("server", ["moto", "fake-gcs", "gcs-stub"], indirect=True)
@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_not_downloaded(reached: Place, tmp_path: Path, name: str) -> None:
    reached.put("d/good")
    reached.server.put(reached.bucket, reached.key(f"d/{name}"), b"outside")
    before = on_disk(tmp_path)
    with pytest.raises(UnsafeName):
        storage.download(reached.uri("d"), tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert on_disk(tmp_path) == before


@pytest.mark.parametrize("server", ["moto", "fake-gcs", "gcs-stub"], indirect=True)
def test_a_name_that_is_file_and_directory(reached: Place, tmp_path: Path) -> None:
    for name in ("d/a", "d/a/b"):
        reached.put(name)
    with pytest.raises(UnsafeName, match="both a file and a directory"):
        storage.download(reached.uri("d"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_publishing(reached: Place, tree: Path, tmp_path: Path) -> None:
    uri = reached.uri("m/v1")
    first = storage.publish_version(tree, uri, {"accuracy": 0.9}, OPTIONS)
    assert (first.created, first.transfer.files) == (True, 4)
    manifest = storage.read_manifest(uri)
    assert (manifest["accuracy"], manifest["digest"]) == (0.9, first.digest)
    sha256s = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert sha256s == {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in TREE.items()}
    assert storage.verify(uri) == storage.verify(uri, deep=True) == manifest
    before = there(reached, "m/v1")
    assert before.keys() == {*TREE, "MANIFEST.json"}
    again = storage.publish_version(tree, uri, {"accuracy": 0.9}, OPTIONS)
    assert (again.created, again.digest, again.transfer.moved_bytes) == (False, first.digest, 0)
    (tree / "MODEL.txt").write_bytes(b"other")
    with pytest.raises(VersionConflictError) as caught:
        storage.publish_version(tree, uri, options=OPTIONS)
    check_error(uri, caught.value)
    assert there(reached, "m/v1") == before
    storage.download(uri, tmp_path / "back", OPTIONS)
    assert on_disk(tmp_path / "back") == before


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_publishing_what_was_left_unfinished(reached: Place, tree: Path) -> None:
    uri = reached.uri("m/v1")
    for name in ("weights/large.bin", "weights/empty"):
        storage.upload(tree / name, f"{uri}/{name}", OPTIONS)
    with pytest.raises(ObjectNotFound, match="no published version"):
        storage.read_manifest(uri)
    finished = storage.publish_version(tree, uri, options=OPTIONS)
    assert (finished.created, finished.transfer.unchanged) == (True, 2)
    if reached.server.url:
        assert finished.transfer.moved_bytes < 4096
    storage.verify(uri, deep=True)


@pytest.mark.parametrize("server", EVERY, indirect=True)
@pytest.mark.parametrize("left", [{"weights/empty": b"something"}, {"not-ours": b"x"}], ids=["changed", "foreign"])
def test_publishing_over_something_else(reached: Place, tree: Path, left: dict[str, bytes]) -> None:
    for name, data in left.items():
        reached.put(f"m/v1/{name}", data)
    with pytest.raises(VersionConflictError, match=next(iter(left))):
        storage.publish_version(tree, reached.uri("m/v1"), options=OPTIONS)
    assert there(reached, "m/v1") == left


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
def test_no_publishing_without_conditions(reached: Place, tree: Path) -> None:
    found = storage.capabilities(reached.uri("m"))
    assert not found.conditional_create
    assert not found.conditional_replace
    for attempt in (
        lambda: storage.publish_version(tree, reached.uri("m/v1"), options=OPTIONS),
        lambda: storage.set_alias(reached.uri("m/alias"), {"version": "v1"}, None),
    ):
        with pytest.raises(CapabilityMissing) as caught:
            attempt()
        assert "unconditional_publish" in str(caught.value)
    assert there(reached, "m") == {}


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_verifying(reached: Place, tree: Path) -> None:
    uri, key = reached.uri("m/v1"), reached.key("m/v1")
    storage.publish_version(tree, uri, options=OPTIONS)
    changes: list[tuple[str, bool, Callable[[], None]]] = [
        ("MODEL.txt", True, lambda: reached.server.put(reached.bucket, f"{key}/MODEL.txt", b"b model")),
        ("weights/empty", False, lambda: reached.server.put(reached.bucket, f"{key}/weights/empty", b"longer")),
        ("extra", False, lambda: reached.server.put(reached.bucket, f"{key}/extra", b"x")),
        ("weights/large.bin", False, lambda: reached.store.delete(f"{key}/weights/large.bin")),
    ]
    for name, deep, change in changes:
        change()
        with pytest.raises(IntegrityError, match=name) as caught:
            storage.verify(uri, deep=deep, options=OPTIONS)
        assert caught.value.uri == uri


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_a_changed_version_is_not_downloaded(reached: Place, tree: Path, tmp_path: Path) -> None:
    storage.publish_version(tree, reached.uri("m/v1"), options=OPTIONS)
    reached.server.put(reached.bucket, reached.key("m/v1/MODEL.txt"), b"b model")
    with pytest.raises(IntegrityError):
        storage.download(reached.uri("m/v1"), tmp_path / "back", OPTIONS)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("server", EVERY, indirect=True)
@pytest.mark.parametrize("name", ["../x", "/abs", "a/../../x"])
def test_a_manifest_leads_nowhere_else(reached: Place, tree: Path, tmp_path: Path, name: str) -> None:
    storage.publish_version(tree, reached.uri("m/v1"), options=OPTIONS)
    manifest = storage.read_manifest(reached.uri("m/v1"))
    manifest["files"][0]["path"] = name
    digest = hashlib.sha256()
    for file in sorted(manifest["files"], key=lambda file: Path(file["path"])):
        digest.update(f"{file['path']}\0{file['sha256']}\n".encode())
    manifest["digest"] = f"sha256:{digest.hexdigest()}"
    reached.server.put(reached.bucket, reached.key("m/v1/MANIFEST.json"), json.dumps(manifest).encode())
    before = on_disk(tmp_path)
    for attempt in (
        lambda: storage.download(reached.uri("m/v1"), tmp_path / "back"),
        lambda: storage.replicate(reached.uri("m/v1"), str(tmp_path / "back")),
        lambda: storage.verify(reached.uri("m/v1")),
    ):
        with pytest.raises(UnsafeName):
            attempt()
    assert on_disk(tmp_path) == before


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_aliases(reached: Place) -> None:
    uri = reached.uri("m/champion")
    assert storage.read_alias(uri) is None
    first = storage.set_alias(uri, {"version": "v1"}, None)
    assert storage.read_alias(uri) == first
    with pytest.raises(PreconditionFailed):
        storage.set_alias(uri, {"version": "v0"}, None)
    second = storage.set_alias(uri, {"version": "v2"}, first)
    with pytest.raises(PreconditionFailed) as caught:
        storage.set_alias(uri, {"version": "v3"}, first)
    check_error(uri, caught.value)
    assert storage.read_alias(uri) == second
    assert second.document == {"version": "v2"}


KINDS = ["file", "pvc", "seaweedfs", "gcs-stub"]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_replicating(
    start: Callable[[str], Server],
    source: str,
    target: str,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, copy = reach(monkeypatch, tmp_path, start(source), start(target))
    published = storage.publish_version(tree, here.uri("m/v1"), {"accuracy": 0.9}, OPTIONS)
    with pytest.raises(ObjectNotFound):
        storage.replicate(here.uri("m/v2"), copy.uri("copy/v2"), OPTIONS)
    made = storage.replicate(here.uri("m/v1"), copy.uri("copy/v1"), OPTIONS)
    assert (made.created, made.digest) == (True, published.digest)
    assert there(copy, "copy/v1") == there(here, "m/v1")
    assert storage.verify(copy.uri("copy/v1"), deep=True) == published.manifest
    again = storage.replicate(here.uri("m/v1"), copy.uri("copy/v1"), OPTIONS)
    assert (again.created, again.transfer.moved_bytes < 4096) == (False, True)
    here.server.put(here.bucket, here.key("m/v1/MODEL.txt"), b"b model")
    with pytest.raises(IntegrityError):
        storage.replicate(here.uri("m/v1"), copy.uri("copy/v3"), OPTIONS)
    assert "MANIFEST.json" not in there(copy, "copy/v3")
