"""SIGKILL in the middle of every kind of transfer: nothing wrong is left, and the next run sends little again."""

from __future__ import annotations

import dataclasses
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy
from killable import PART_MIB, SLOW_MIB_PER_SECOND, WORKERS, Call, Run
from servers import Server
from witness import on_disk, remove, stored, use_profiles

from shipway.components.common import storage
from shipway.components.common.errors import ObjectNotFound

MIB = 1 << 20
AGAIN_BYTES = WORKERS * PART_MIB * MIB
# Listings, checks of what is there, a manifest.
TALK_BYTES = MIB // 4
BYTES_PER_SECOND = int(SLOW_MIB_PER_SECOND * MIB)
FILES = {"weights.bin": 22 * MIB + 5, **{f"shards/{number:02}": MIB + number for number in range(12)}}
SIZE = sum(FILES.values())
SERVERS = {"s3": "seaweedfs", "gs": "gcs-stub"}
SCHEMES = ("file", *SERVERS)


@dataclasses.dataclass
class Place:
    """A directory of its own in a store, and one on the disk."""

    server: Server | None
    bucket: str
    name: str
    proxy: FaultProxy
    disk: Path

    @property
    def uri(self) -> str:
        return f"{self.server.scheme}://{self.bucket}/{self.name}" if self.server else str(self.disk / "store")

    def found(self, directory: str) -> dict[str, bytes]:
        if self.server:
            return stored(self.server, self.bucket, f"{self.name}/{directory}")
        return on_disk(self.disk / "store" / directory)

    def fill(self, source: Path) -> None:
        """Puts the files of a directory into ``source``."""
        for name, data in on_disk(source).items():
            if self.server:
                self.server.put(self.bucket, f"{self.name}/source/{name}", data)
            else:
                path = self.disk / "store" / "source" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, rng = tmp_path_factory.mktemp("source") / "files", random.Random(5)
    for name, size in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(rng.randbytes(size))
    return directory


@pytest.fixture(scope="module")
def published(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("published") / "version"
    storage.publish_version(source, str(directory))
    return directory


@pytest.fixture
def place_of(
    start: Callable[[str], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    """Returns a place in the store of a scheme, behind a proxy."""
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    made: list[Place] = []

    def place(scheme: str) -> Place:
        if scheme == "file":
            made.append(Place(None, "", "", FaultProxy("127.0.0.1", 9), tmp_path))
        else:
            server = start(SERVERS[scheme])
            host, _, port = server.url.removeprefix("http://").partition(":")
            made.append(Place(server, server.new_bucket(), uuid.uuid4().hex, FaultProxy(host, int(port)), tmp_path))
        ways = [(one.server, f"{one.server.scheme}://{one.bucket}", one.proxy.url) for one in made if one.server]
        use_profiles(monkeypatch, tmp_path / "profiles.yaml", ways, stall_seconds=10)
        return made[-1]

    yield place
    for one in made:
        one.proxy.__exit__()
        if one.server:
            remove(one.server, one.bucket, one.name)


def settled(proxy: FaultProxy) -> int:
    """Returns the bytes of all bodies, both ways, when no more come."""
    before, now = -1, 0
    while now != before:
        time.sleep(0.3)
        before, now = now, proxy.request_bytes + proxy.response_bytes
    return now


def killed_and_resumed(call: Call, share: float, between: Callable[[], None], *places: Place, size: int = SIZE) -> None:
    """Kills a call, looks what is there, runs it again, and compares what went over the wires with what had to."""
    wires = [place.proxy for place in places if place.server]
    for proxy in wires:
        proxy.bytes_per_second = BYTES_PER_SECOND
    run = Run(*call, slow=not wires)
    run.kill_at(share)
    before = [settled(proxy) for proxy in wires]
    between()
    for proxy in wires:
        proxy.bytes_per_second = 0
        proxy.plan()
    moved = Run(*call).moved()
    for proxy, first in zip(wires, before, strict=True):
        assert first + settled(proxy) <= size + AGAIN_BYTES + TALK_BYTES
    if not wires and call[0] != "download":  # what has no checksum is read twice
        assert moved <= size - run.done + AGAIN_BYTES + TALK_BYTES


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_download_of_a_file(place_of: Callable[[str], Place], source: Path, scheme: str, share: float) -> None:
    place = place_of(scheme)
    place.fill(source)
    target = place.disk / "weights.bin"

    def between() -> None:
        assert not target.exists()

    call = ("download", f"{place.uri}/source/weights.bin", target)
    killed_and_resumed(call, share, between, place, size=FILES["weights.bin"])
    assert target.read_bytes() == (source / "weights.bin").read_bytes()
    assert not list(place.disk.glob(".*.part*"))


@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_download_of_a_directory(place_of: Callable[[str], Place], source: Path, scheme: str, share: float) -> None:
    place = place_of(scheme)
    place.fill(source)
    target = place.disk / "files"

    def between() -> None:
        assert not target.exists()

    killed_and_resumed(("download", f"{place.uri}/source/", target), share, between, place)
    assert on_disk(target) == on_disk(source)
    assert not list(place.disk.rglob(".*.part*"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_upload_of_a_file(place_of: Callable[[str], Place], source: Path, scheme: str) -> None:
    place = place_of(scheme)
    data = (source / "weights.bin").read_bytes()

    def between() -> None:
        assert place.found("target") == {}

    call = ("upload", source / "weights.bin", f"{place.uri}/target/weights.bin")
    killed_and_resumed(call, 0.5, between, place, size=FILES["weights.bin"])
    assert place.found("target") == {"weights.bin": data}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_upload_of_a_directory(place_of: Callable[[str], Place], source: Path, scheme: str) -> None:
    place, wanted = place_of(scheme), on_disk(source)

    def between() -> None:
        assert place.found("target").items() < wanted.items()

    killed_and_resumed(("upload", source, f"{place.uri}/target"), 0.6, between, place)
    assert place.found("target") == wanted


@pytest.mark.parametrize("share", [0.1, 0.8])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_publish_version(
    place_of: Callable[[str], Place], source: Path, published: Path, scheme: str, share: float
) -> None:
    place, wanted = place_of(scheme), on_disk(published)
    uri = f"{place.uri}/target"

    def between() -> None:
        unfinished(place, wanted)

    killed_and_resumed(("publish_version", source, uri), share, between, place)
    assert place.found("target") == wanted
    storage.verify(uri, deep=True)


def unfinished(place: Place, wanted: dict[str, bytes]) -> None:
    found = place.found("target")
    assert found.items() < wanted.items()
    assert "MANIFEST.json" not in found
    with pytest.raises(ObjectNotFound, match="finished"):
        storage.verify(f"{place.uri}/target")


@pytest.mark.parametrize(
    ("origin", "scheme"), [("file", "s3"), ("file", "gs"), ("s3", "file"), ("s3", "gs"), ("gs", "s3")]
)
def test_replicate(place_of: Callable[[str], Place], published: Path, origin: str, scheme: str) -> None:
    there, place, wanted = place_of(origin), place_of(scheme), on_disk(published)
    there.fill(published)

    def between() -> None:
        unfinished(place, wanted)

    call = ("replicate", f"{there.uri}/source", f"{place.uri}/target")
    killed_and_resumed(call, 0.6, between, there, place)
    assert place.found("target") == wanted
    storage.verify(f"{place.uri}/target", deep=True)


def test_a_kill_just_before_the_manifest(place_of: Callable[[str], Place], source: Path, published: Path) -> None:
    place, wanted = place_of("s3"), on_disk(published)
    held_up = Fault("stall", 0, side="request", method="PUT", path="MANIFEST.json")
    place.proxy.plan(held_up)
    Run("publish_version", source, f"{place.uri}/target").kill_when(held_up)
    unfinished(place, wanted)
    assert Run("publish_version", source, f"{place.uri}/target").moved() < MIB
    assert place.found("target") == wanted


def test_a_kill_just_after_the_manifest(place_of: Callable[[str], Place], source: Path, published: Path) -> None:
    place = place_of("s3")
    held_up = Fault("stall", -1, method="PUT", path="MANIFEST.json")
    place.proxy.plan(held_up)
    Run("publish_version", source, f"{place.uri}/target").kill_when(held_up)
    assert place.found("target") == on_disk(published)
    assert Run("publish_version", source, f"{place.uri}/target").moved() < MIB
    assert not storage.publish_version(source, f"{place.uri}/target").created


def test_a_kill_before_an_upload_is_known_to_be_complete(place_of: Callable[[str], Place], source: Path) -> None:
    place = place_of("s3")
    held_up = Fault("stall", -1, method="POST", path="uploadId=")
    place.proxy.plan(held_up)
    call = ("upload", source / "weights.bin", f"{place.uri}/target/weights.bin")
    Run(*call).kill_when(held_up)
    assert Run(*call).moved() == 0
    assert place.found("target") == {"weights.bin": (source / "weights.bin").read_bytes()}


def test_many_kills_in_a_row(place_of: Callable[[str], Place], source: Path) -> None:
    place = place_of("s3")
    place.fill(source)
    target = place.disk / "files"
    place.proxy.bytes_per_second = BYTES_PER_SECOND
    for share in (0.2, 0.4, 0.6, 0.8):
        Run("download", f"{place.uri}/source/", target).kill_at(share)
        assert not target.exists()
    Run("download", f"{place.uri}/source/", target).moved()
    assert on_disk(target) == on_disk(source)
    assert settled(place.proxy) <= SIZE + 4 * (AGAIN_BYTES + TALK_BYTES)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("name", ["", "weights.bin"])
def test_one_of_two_who_download_the_same(
    place_of: Callable[[str], Place], source: Path, name: str, victim: int
) -> None:
    place = place_of("s3")
    place.fill(source)
    target = place.disk / "target"
    place.proxy.bytes_per_second = BYTES_PER_SECOND
    runs = [Run("download", f"{place.uri}/source/{name}", target) for _ in range(2)]
    runs.pop(victim).kill_at(0.3)
    runs[0].moved()
    assert (target.read_bytes() if name else on_disk(target)) == (
        (source / name).read_bytes() if name else on_disk(source)
    )
    left = [path for path in os.listdir(place.disk) if path.endswith(".part")]
    assert len(left) <= 1  # the victim's, which the next one takes up
