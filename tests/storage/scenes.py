"""Operations on a store behind a proxy, each with what it should leave and what it did leave."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from fault_proxy import FaultProxy
from range_server import RangeServer
from servers import Server
from witness import on_disk, remove, stored

from shipway.components.common import storage
from shipway.components.common.storage import Options

OLD = b"what was there before"
OPTIONS = Options(workers=4, part_mib=5, retry_seconds=5)

Found = Callable[[], dict[str, bytes]]


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One operation: how to run it, what it should leave in its place, what it did leave, and what was there before."""

    run: Callable[[], object]
    wanted: dict[str, bytes]
    found: Found
    before: dict[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Scene:
    """A store behind a proxy, with what is to be read put there, and on the disk what is to be written."""

    server: Server | RangeServer
    bucket: str
    root: str
    proxy: FaultProxy
    disk: Path

    def open(self, key: str) -> tuple[storage.Store, str]:
        return storage.open_store(f"{self.root}/{key}", OPTIONS)

    def read(self, name: str) -> Attempt:
        store, key = self.open(f"source/{name}")
        target = self.fresh_path()
        target.mkdir()
        (target / name).write_bytes(OLD)
        run = lambda: store.get_file(key, target / name)  # noqa: E731
        return Attempt(run, {name: self.source(name)}, lambda: on_disk(target), {name: OLD})

    def read_directory(self, directory: str) -> Attempt:
        target = self.fresh_path()
        run = lambda: storage.download(f"{self.root}/{directory}/", target, OPTIONS)  # noqa: E731
        return Attempt(run, stored(self.server, self.bucket, directory), lambda: on_disk(target))

    def write(self, name: str, at_once: bool = False) -> Attempt:
        directory, data = self.fresh(), self.source(name)
        store, key = self.open(f"{directory}/{name}")
        put = (lambda: store.put_bytes(key, data)) if at_once else lambda: store.put_file(self.disk / name, key)
        return Attempt(put, {name: data}, self.stored(directory))

    def write_directory(self) -> Attempt:
        directory = self.fresh()
        run = lambda: storage.upload(self.disk / "version", f"{self.root}/{directory}", OPTIONS)  # noqa: E731
        return Attempt(run, on_disk(self.disk / "version"), self.stored(directory))

    def publish(self) -> Attempt:
        directory = self.fresh()
        source, target = self.disk / "version", f"{self.root}/{directory}"
        run = lambda: storage.publish_version(source, target, options=OPTIONS)  # noqa: E731
        return Attempt(run, on_disk(self.disk / "published"), self.stored(directory))

    def replicate_from(self) -> Attempt:
        target = self.fresh_path()
        run = lambda: storage.replicate(f"{self.root}/published", str(target), OPTIONS)  # noqa: E731
        return Attempt(run, on_disk(self.disk / "published"), lambda: on_disk(target))

    def replicate_to(self) -> Attempt:
        directory = self.fresh()
        source, target = str(self.disk / "published"), f"{self.root}/{directory}"
        run = lambda: storage.replicate(source, target, OPTIONS)  # noqa: E731
        return Attempt(run, on_disk(self.disk / "published"), self.stored(directory))

    def source(self, name: str) -> bytes:
        return (self.disk / name).read_bytes()

    def stored(self, directory: str) -> Found:
        return lambda: stored(self.server, self.bucket, directory)

    def fresh(self) -> str:
        return f"fresh/{uuid.uuid4().hex[:8]}"

    def fresh_path(self) -> Path:
        return self.disk / "targets" / uuid.uuid4().hex[:8]

    def tidy(self) -> None:
        remove(self.server, self.bucket, "fresh")
        shutil.rmtree(self.disk / "targets", ignore_errors=True)
        (self.disk / "targets").mkdir()
