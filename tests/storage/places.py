"""What the tests of all stores share: fresh directories in them, and writers that race for one object."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import uuid
from functools import cached_property
from multiprocessing.synchronize import Barrier
from typing import Any

from servers import SECRET_KEY, Server

from shipway.components.common.errors import ShipwayError, StorageError
from shipway.components.common.storage.checksums import Checksums, crc32c_of, encoded_crc32c
from shipway.components.common.storage.objects import ObjectInfo, Upload
from shipway.components.common.storage.store import Store

PART_BYTES = 5 << 20
DATA = bytes(range(256)) * (9 << 12)  # 9 MiB
PARTS = DATA + DATA[: 2 << 20] + b"end"  # 11 MiB and a bit: 5, 5 and a small one

_BUCKETS: dict[Server, str] = {}


@dataclasses.dataclass(frozen=True)
class Place:
    """A directory of its own in a server's bucket."""

    server: Server

    @cached_property
    def bucket(self) -> str:
        if self.server not in _BUCKETS:
            _BUCKETS[self.server] = self.server.new_bucket()
        return _BUCKETS[self.server]

    @cached_property
    def base(self) -> str:
        name = uuid.uuid4().hex[:12]
        return f"{self.server.directory}/{name}".strip("/") if self.server.scheme == "file" else name

    @cached_property
    def store(self) -> Store:
        return self.server.store(self.bucket)

    def key(self, name: str) -> str:
        return f"{self.base}/{name}"

    def uri(self, name: str) -> str:
        return self.store.uri(self.key(name))

    def put(self, name: str, data: bytes = b"x", if_match: str = "", if_none_match: bool = False) -> ObjectInfo:
        return self.store.put_bytes(self.key(name), data, if_match, if_none_match)

    def get(self, name: str) -> bytes:
        return self.store.get_bytes(self.key(name))[0]

    def names(self, directory: str = "", recursive: bool = True) -> list[str]:
        found = self.store.list(self.key(directory).rstrip("/"), recursive)
        return [entry.key.removeprefix(f"{self.base}/") for entry in found]

    def upload(self, name: str, data: bytes, **conditions: Any) -> Upload:
        """Starts an upload in parts."""
        checksums = Checksums(crc32c=encoded_crc32c(crc32c_of(data)))
        upload = Upload(self.key(name), len(data), PART_BYTES, checksums, **conditions)
        return dataclasses.replace(upload, session=self.store._start_upload(upload))

    def send(self, upload: Upload, data: bytes, parts: list[int]) -> dict[int, str]:
        """Sends some parts."""
        size = upload.part_bytes
        return {part: self.store._send_part(upload, part, data[part * size : part * size + size]) for part in parts}

    def put_in_parts(self, name: str, data: bytes, **conditions: Any) -> ObjectInfo:
        upload = self.upload(name, data, **conditions)
        return self.store._finish_upload(upload, self.send(upload, data, list(range(upload.parts))))


def check_error(where: str, error: StorageError) -> None:
    """Asserts what every error of a store has."""
    assert error.uri == where
    assert where.rpartition("/")[2] in str(error)
    assert SECRET_KEY not in f"{error!r} {error.__cause__!r}"


def race(place: Place, name: str, version: str, writers: int = 16) -> tuple[list[str], list[int]]:
    """Lets processes write one object at the same time, each its own text.

    Args:
        place: Where it lies.
        name: Its name.
        version: The version that all of them replace; "" when there must be none.
        writers: How many processes.

    Returns:
        The texts of those that said they had written it, and the exit codes of the others.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["places", "boto3", "google.cloud.storage"])
    barrier = context.Barrier(writers)
    server = place.server.behind(place.server.url)  # without its client, which cannot be sent
    arguments = (server, place.bucket, place.key(name), version, barrier)
    processes = [context.Process(target=_write, args=(number, *arguments)) for number in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    winners = [f"writer {number}" for number, code in enumerate(codes) if code == 0]
    return winners, [code if code is not None else -1 for code in codes if code != 0]


def _write(number: int, server: Server, bucket: str, key: str, version: str, barrier: Barrier) -> None:
    store = server.store(bucket)
    store.exists(key)  # the connection is there before the start
    barrier.wait(90)
    try:
        store.put_bytes(key, f"writer {number}".encode(), version, not version)
    except ShipwayError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
