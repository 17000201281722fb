"""What every store does alike; what a server is known to ignore is asserted as it is."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from places import DATA, Place, check_error
from programs import free_ports
from servers import ACCESS_KEY, Server

from shipway.components.common.errors import (
    AccessDenied,
    ObjectNotFound,
    StorageUnavailable,
    UnsafeName,
)
from shipway.components.common.storage.checksums import bytes_checksums, mismatch
from shipway.components.common.storage.effort import Effort, Options

REMOTE = ("moto", "seaweedfs", "rclone", "fake-gcs", "gcs-stub")
NAMES = [
    "blank in name",
    " blanks around ",
    "plus+plus",
    "100%",
    "%41%2F%20",
    "quote'quote",
    'double"quote',
    "hash#hash",
    "question?a=b&c",
    "semicolon;comma,colon:at@",
    "brackets[1]{2}(3)<4>",
    "back\\slash",
    "tilde~caret^bar|dollar$",
    "été",  # composed
    "e\u0301te\u0301",  # decomposed: another name
    "数据/モデル",
    "\U0001f427",
    "...",
    ".hidden",
    "a" * 255,
    "/".join(["long" * 50] * 4),
]


def test_what_is_put_is_there(place: Place) -> None:
    put = place.put("m/v1/a", b"some bytes")
    info = place.store.stat(place.key("m/v1/a"))
    assert (info.key, info.size) == (place.key("m/v1/a"), 10)
    assert info.version
    assert (put.key, put.size, put.version) == (info.key, info.size, info.version)
    assert not mismatch(bytes_checksums(b"some bytes", info.checksums), info.checksums)
    assert info.checksums or place.server.scheme in ("file", "pvc")
    assert info.modified is not None
    assert abs(datetime.datetime.now(datetime.UTC) - info.modified) < datetime.timedelta(hours=1)
    data, again = place.store.get_bytes(place.key("m/v1/a"))
    assert (data, again.version) == (b"some bytes", info.version)
    (listed,) = place.store.list(place.key("m"))
    assert (listed.key, listed.size) == (info.key, 10)
    assert listed.version in ("", info.version)
    assert not mismatch(bytes_checksums(b"some bytes", listed.checksums), listed.checksums)


def test_putting_replaces(place: Place) -> None:
    first = place.put("a", b"one")
    second = place.put("a", b"second")
    assert first.version != second.version
    assert place.get("a") == b"second"
    assert place.store.stat(place.key("a")).size == 6


def test_deleting(place: Place) -> None:
    place.put("d/a")
    place.put("d/b")
    place.store.delete(place.key("d/a"))
    assert place.names("d") == ["d/b"]
    assert not place.store.exists(place.key("d/a"))
    assert place.store.exists(place.key("d/b"))
    place.store.delete(place.key("d/a"))
    place.store.delete(place.key("never/was"))


@pytest.mark.parametrize("name", ["missing", "there/missing", "there", "there/file/below"])
def test_no_such_object(place: Place, name: str) -> None:
    place.put("there/file")
    key, where = place.key(name), place.uri(name)
    calls: list[Callable[[], object]] = [
        lambda: place.store.stat(key),
        lambda: place.store.get_bytes(key),
        lambda: list(place.store.read(key, 0, 1)),
    ]
    for call in calls:
        with pytest.raises(ObjectNotFound) as caught:
            call()
        check_error(where, caught.value)
        assert not caught.value.retryable
    assert not place.store.exists(key)


def test_no_such_directory_is_empty(place: Place) -> None:
    place.put("m/v1/a")
    assert place.names("m/v2") == place.names("m/v2", recursive=False) == place.names("m/v1/a") == []


@pytest.mark.parametrize("server", REMOTE, indirect=True)
def test_no_such_bucket(server: Server) -> None:
    store = server.store("bucket-that-is-not-there")
    calls: list[Callable[[], object]] = [
        lambda: store.stat("a/b"),
        lambda: list(store.list("a/b")),
        lambda: store.put_bytes("a/b", b"x"),
        lambda: list(store.read("a/b", 0, 1)),
    ]
    for call in calls:
        with pytest.raises(ObjectNotFound) as caught:
            call()
        assert caught.value.uri.startswith(f"{server.scheme}://bucket-that-is-not-there")


def test_a_prefix_is_a_directory(place: Place) -> None:
    names = ["m/v1/a", "m/v1/deep/er/b", "m/v10/a", "m/v1-old/a", "m/v1.txt", "m/v"]
    for name in names:
        place.put(name)
    assert place.names("m/v1") == place.names("m/v1/") == ["m/v1/a", "m/v1/deep/er/b"]
    assert place.names() == place.names("m") == sorted(names)
    assert place.names("m/v") == []
    assert place.names("m", recursive=False) == ["m/v", "m/v1-old/", "m/v1.txt", "m/v1/", "m/v10/"]
    assert place.names("m/v1", recursive=False) == ["m/v1/a", "m/v1/deep/"]
    entries = place.store.list(place.key("m"), recursive=False)
    assert [entry.is_directory for entry in entries] == [False, True, False, True, True]


def test_a_file_beside_a_directory_that_starts_alike(place: Place) -> None:
    place.put("m/v1", b"file")
    place.put("m/v10/a", b"below")
    assert place.names("m/v1") == []
    assert place.names("m") == ["m/v1", "m/v10/a"]
    assert place.get("m/v1") == b"file"


def test_the_root_is_a_directory(server: Server) -> None:
    if server.scheme == "file":
        names = [entry.key for entry in server.store("").list("", recursive=False)]
        assert "tmp/" in names
        return
    bucket = server.new_bucket()
    store = server.store(bucket)
    assert list(store.list()) == []
    for key in ("b/c", "a"):
        store.put_bytes(key, b"x")
    assert [entry.key for entry in store.list()] == ["a", "b/c"]
    assert [entry.key for entry in store.list(recursive=False)] == ["a", "b/"]


@pytest.mark.parametrize("server", ["moto", "seaweedfs", "fake-gcs", "gcs-stub"], indirect=True)
def test_markers_of_directories_are_no_objects(server: Server) -> None:
    """Consoles and mounted buckets write them."""
    place = Place(server)
    server.put(place.bucket, place.key("d/"), b"")
    server.put(place.bucket, place.key("d/empty/"), b"")
    place.put("d/a")
    assert place.names() == place.names("d") == ["d/a"]
    assert place.names("d", recursive=False) == ["d/a", "d/empty/"]
    assert place.names(recursive=False) == ["d/"]


def test_listings_of_several_pages(place: Place) -> None:
    names = [f"many/{number:04}/x" for number in range(1205)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place.put, names))
    assert place.names("many") == names
    assert place.names("many", recursive=False) == [name.removesuffix("x") for name in names]


def listed(place: Place, name: str) -> str:
    """Returns what a server makes of a name."""
    return name.replace("\\", "/") if "backslashes" in place.server.ignores else name


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_names(place: Place, name: str) -> None:
    place.put(f"d/{name}", name.encode())
    place.put("d/zzz")
    assert place.get(f"d/{name}") == name.encode()
    assert place.store.stat(place.key(f"d/{name}")).key == place.key(f"d/{name}")
    assert place.names("d") == sorted([f"d/{listed(place, name)}", "d/zzz"])
    assert b"".join(place.store.read(place.key(f"d/{name}"), 0, 2)) == name.encode()[:2]
    place.store.delete(place.key(f"d/{name}"))
    assert place.names("d") == ["d/zzz"]


def test_names_that_are_directories(place: Place) -> None:
    for name in NAMES:
        place.put(f"d/{name}/below")
    assert place.names("d") == sorted(f"d/{listed(place, name)}/below" for name in NAMES)
    for name in NAMES:
        assert place.names(f"d/{listed(place, name)}") == [f"d/{listed(place, name)}/below"]


@pytest.mark.parametrize("name", ["../x", "a/../x", "a//x", "a/./x", "a/", "tab\tx", "nul\0x", "b" * 256, "c/" * 600])
def test_unsafe_names_are_not_written(place: Place, name: str) -> None:
    with pytest.raises(UnsafeName):
        place.put(f"d/{name}")
    assert place.names() == []


@pytest.mark.parametrize("server", ["moto", "fake-gcs", "gcs-stub"], indirect=True)
@pytest.mark.parametrize("name", ["../x", "/abs", "a//x", "a/./b", "a/../b", "nul\0x", "tab\tx"])
def test_unsafe_names_in_a_store_are_refused(server: Server, name: str) -> None:
    place = Place(server)
    place.put("d/good")
    server.put(place.bucket, place.key(f"d/{name}"), b"x")
    with pytest.raises(UnsafeName) as caught:
        place.names("d")
    assert caught.value.uri.rstrip("/") == place.uri("d")
    assert not caught.value.retryable


def test_objects_without_bytes(place: Place) -> None:
    assert place.put("empty", b"").size == 0
    assert place.get("empty") == b""
    assert list(place.store.read(place.key("empty"), 0, 0)) == []
    assert place.names() == ["empty"]


def test_ranges(place: Place) -> None:
    version = place.put("r", DATA).version
    key, size = place.key("r"), len(DATA)
    for start, stop in [(0, 1), (1, 2), (size - 1, size), (5, 5), (255, 1 << 20), (4 << 20, size), (0, size)]:
        for wanted in ("", version):
            chunks = list(place.store.read(key, start, stop, wanted))
            assert b"".join(chunks) == DATA[start:stop]
            assert all(0 < len(chunk) <= 4 << 20 for chunk in chunks)
    assert place.get("r") == DATA


def test_threads_share_a_store(place: Place) -> None:
    def there_and_back(number: int) -> bool:
        data = b"%d" % number * 1000
        place.put(f"t/{number}", data)
        return place.get(f"t/{number}") == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, range(64)))
    assert len(place.names("t")) == 64


@pytest.mark.parametrize("server", ["moto", "seaweedfs", "rclone"], indirect=True)
def test_wrong_credentials(server: Server) -> None:
    bucket = server.new_bucket()
    place = Place(server.behind(server.url))
    place.server.__dict__["profile"] = dataclasses.replace(server.profile, secret_key="wrong-secret-key")
    store = place.server.store(bucket)
    if "credentials" in server.ignores:
        store.put_bytes("a", b"x")
        return
    calls: list[Callable[[], object]] = [
        lambda: store.put_bytes("a", b"x"),
        lambda: store.stat("a"),
        lambda: list(store.list()),
        lambda: list(store.read("a", 0, 1)),
        lambda: store.delete("a"),
    ]
    for call in calls:
        with pytest.raises(AccessDenied) as caught:
            call()
        assert caught.value.uri.startswith(f"s3://{bucket}")
        assert not caught.value.retryable
        assert "wrong-secret-key" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert "wrong-secret-key" not in repr(store.profile)


@pytest.mark.parametrize("server", REMOTE, indirect=True)
def test_nobody_answers(server: Server) -> None:
    (port,) = free_ports(1)
    store = server.behind(f"http://127.0.0.1:{port}").store("some-bucket").within(Effort(Options(retry_seconds=0)))
    calls: list[Callable[[], object]] = [
        lambda: store.stat("a"),
        lambda: store.put_bytes("a", b"x"),
        lambda: list(store.list("a")),
        lambda: list(store.read("a", 0, 1)),
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert caught.value.uri.rstrip("/") == f"{server.scheme}://some-bucket/a"
        assert caught.value.retryable
        assert ACCESS_KEY not in str(caught.value)
