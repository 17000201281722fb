"""What is particular to S3; what all stores have in common is in the conformance suite."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fault_proxy import Fault, FaultProxy
from places import DATA, PART_BYTES, PARTS, Place
from programs import free_ports, new_directory, program, running
from servers import ACCESS_KEY, SECRET_KEY, S3Server, Server

from shipway.components.common.errors import (
    AccessDenied,
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.backends.s3 import S3Store
from shipway.components.common.storage.backends.s3_answers import checksums_in
from shipway.components.common.storage.backends.s3_errors import told_as
from shipway.components.common.storage.checksums import (
    Checksums,
    bytes_checksums,
    crc32c_of,
    encoded_crc32c,
    file_checksums,
)
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri

ALL = pytest.mark.parametrize("server", ["seaweedfs", "moto", "rclone"], indirect=True)
OTHER = '"00000000000000000000000000000000"'
MIB = 1 << 20


def opened(server: Server, bucket: str, **profile: Any) -> S3Store:
    given = dataclasses.replace(server.profile, stall_seconds=3, **profile)
    store = S3Store(StorageUri("s3", bucket, ""), given).within(Effort(Options(retry_seconds=5)))
    assert isinstance(store, S3Store)
    return store


def crc32c(data: bytes) -> str:
    return encoded_crc32c(crc32c_of(data))


@contextlib.contextmanager
def behind_proxy(server: Server, **options: Any) -> Iterator[tuple[S3Store, FaultProxy]]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with FaultProxy(host, int(port), **options) as proxy:
        yield opened(server, server.new_bucket(), endpoint_url=proxy.url), proxy


@ALL
def test_what_is_written_has_its_crc32c(server: S3Server) -> None:
    place = Place(server)
    place.put("small", DATA)
    place.put_in_parts("large", PARTS)
    for name, data in (("small", DATA), ("large", PARTS)):
        checksums = place.store.stat(place.key(name)).checksums
        assert checksums.crc32c == crc32c(data)
        metadata = server.client.head_object(Bucket=place.bucket, Key=place.key(name))["Metadata"]
        assert {key.lower(): value for key, value in metadata.items()} == {"shipway-crc32c": crc32c(data)}


@ALL
@pytest.mark.parametrize("size", [0, 5, 20 * MIB + 1], ids=["empty", "at once", "in parts"])
def test_checksums_of_what_boto3_wrote(server: S3Server, size: int, tmp_path: Path) -> None:
    place = Place(server)
    (tmp_path / "file").write_bytes((DATA * 3)[:size])
    server.client.upload_file(str(tmp_path / "file"), place.bucket, place.key("file"))
    info = place.store.stat(place.key("file"))
    assert info.size == size
    assert info.checksums
    assert file_checksums(tmp_path / "file", info.checksums) == info.checksums
    if size > PART_BYTES and server.name != "rclone":
        assert info.checksums.md5_part_bytes == 8 * MIB
    (listed,) = place.store.list(place.base)
    assert (listed.size, listed.version) == (info.size, info.version)


@pytest.mark.parametrize("server", ["seaweedfs", "moto"], indirect=True)
def test_parts_of_different_sizes_are_no_checksum(server: S3Server) -> None:
    place, pieces = Place(server), [DATA[: 5 * MIB], DATA[: 6 * MIB], b"end"]
    named = {"Bucket": place.bucket, "Key": place.key("a")}
    named["UploadId"] = server.client.create_multipart_upload(**named)["UploadId"]
    parts = []
    for number, piece in enumerate(pieces, 1):
        answer = server.client.upload_part(**named, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    server.client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert not place.store.stat(place.key("a")).checksums
    assert place.get("a") == b"".join(pieces)


CRC, MD5, SHA256 = crc32c(b"x"), "9dd4e461268c8034f5c8564e155c67a6", bytes_checksums(b"x", Checksums(sha256="?")).sha256


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ({"ETag": f'"{MD5}"'}, Checksums(md5=MD5)),
        ({"ETag": MD5, "ServerSideEncryption": "AES256"}, Checksums(md5=MD5)),
        ({"ETag": MD5, "ServerSideEncryption": "aws:kms"}, Checksums()),
        ({"ETag": MD5, "SSECustomerAlgorithm": "AES256"}, Checksums()),
        ({"ETag": '"0x8DB"'}, Checksums()),
        ({"ETag": f"{MD5}-3"}, Checksums(md5_of_parts=f"{MD5}-3")),
        ({"ETag": "0x8DB", "ChecksumCRC32C": CRC, "ChecksumCRC32": CRC}, Checksums(crc32c=CRC, crc32=CRC)),
        (
            {"ETag": "0x8DB", "ChecksumSHA256": base64.b64encode(bytes.fromhex(SHA256)).decode()},
            Checksums(sha256=SHA256),
        ),
        ({"ETag": f"{MD5}-3", "ChecksumCRC32": CRC}, Checksums(md5_of_parts=f"{MD5}-3")),
        ({"ETag": f"{MD5}-3", "ChecksumCRC32": f"{CRC}-3"}, Checksums(md5_of_parts=f"{MD5}-3")),
        ({"ETag": "0x8DB", "ChecksumCRC32": f"{CRC}-3", "ChecksumType": "COMPOSITE"}, Checksums()),
        (
            {"ETag": f"{MD5}-3", "ChecksumCRC32": CRC, "ChecksumType": "FULL_OBJECT"},
            Checksums(crc32=CRC, md5_of_parts=f"{MD5}-3"),
        ),
        ({"ETag": "0x8DB", "Metadata": {"Shipway-Crc32c": CRC}}, Checksums(crc32c=CRC)),
        ({"ETag": "0x8DB", "Metadata": {"shipway-crc32c": "nonsense"}}, Checksums()),
    ],
)
def test_which_checksums_are_of_the_whole(answer: dict[str, Any], known: Checksums) -> None:
    assert checksums_in(answer) == known


def test_keys_of_ones_own(moto: S3Server) -> None:
    bucket = moto.new_bucket()
    store = opened(moto, bucket, kms_key="a-key")
    store.put_bytes("small", b"x")
    upload = Place(moto)
    upload.__dict__.update(store=store, bucket=bucket)
    upload.put_in_parts("large", PARTS)
    for key in ("small", upload.key("large")):
        answer = moto.client.head_object(Bucket=bucket, Key=key)
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", "a-key")
        assert (store.stat(key).checksums.md5, store.stat(key).checksums.crc32c != "") == ("", True)


@ALL
def test_versions_are_compared_even_where_the_store_does_not(server: Server) -> None:
    store = opened(server, server.new_bucket())
    version = store.put_bytes("a", b"x").version
    assert store.stat("a").version == next(store.list()).version == version
    for read in (lambda: b"".join(store.read("a", 0, 1, OTHER)), lambda: store.whole("a", 1, OTHER)):
        with pytest.raises(PreconditionFailed):
            read()
    with pytest.raises(PreconditionFailed):
        store.delete("a", OTHER)
    store.delete("a", version)
    store.delete("a", version)
    assert not store.exists("a")


def test_damage_that_the_store_takes_is_found(moto: Server) -> None:
    with behind_proxy(moto) as (store, proxy):
        proxy.plan(Fault("flip", 7, side="request", method="PUT"))
        with pytest.raises(IntegrityError, match="send it again"):
            store.put_bytes("a", DATA)
        assert not store.exists("a")
        place = Place(moto)
        place.__dict__.update(store=store, base="parts")
        upload = place.upload("large", PARTS)
        proxy.plan(Fault("flip", 7, side="request", method="PUT"))
        with pytest.raises(StorageUnavailable, match="part 1 arrived damaged"):
            place.send(upload, PARTS, [0])
        store._finish_upload(upload, place.send(upload, PARTS, [0, 1, 2]))
        assert place.get("large") == PARTS


def test_damage_that_the_store_refuses_is_healed(seaweedfs: Server) -> None:
    with behind_proxy(seaweedfs) as (store, proxy):
        store.exists("a")
        proxy.plan(Fault("flip", 7, side="request", method="PUT"))
        store.put_bytes("a", DATA)
        assert [exchange.status for exchange in proxy.exchanges if exchange.method == "PUT"][-1] == 200
        assert proxy.requests == 2
        assert store.get_bytes("a")[0] == DATA


@ALL
def test_completing_twice(server: Server) -> None:
    place = Place(server)
    upload = place.upload("large", PARTS)
    receipts = place.send(upload, PARTS, [0, 1, 2])
    assert place.store._finish_upload(upload, receipts) == place.store._finish_upload(upload, receipts)
    place.put("large", b"of another")
    with pytest.raises(StorageError):
        place.store._finish_upload(upload, receipts)
    assert place.get("large") == b"of another"


def test_parts_of_several_pages(moto: Server) -> None:
    place = Place(moto)
    upload = dataclasses.replace(place.upload("many", b"x" * 1001), part_bytes=1)
    receipts = {part: place.store._send_part(upload, part, b"x") for part in range(1001)}
    assert place.store._sent_parts(upload) == receipts


def test_a_slow_network_is_no_stalled_one(rclone: Server) -> None:
    with behind_proxy(rclone, bytes_per_second=4 * MIB) as (store, proxy):
        start = time.monotonic()
        store.put_bytes("a", DATA * 2)
        assert time.monotonic() - start > store.profile.stall_seconds
        assert proxy.requests == 1


class Rangeless(http.server.BaseHTTPRequestHandler):
    """Answers every request with the whole."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("ETag", OTHER)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(DATA)

    def log_message(self, *_: object) -> None:
        pass


def test_a_store_without_ranges() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rangeless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        profile = Profile(f"http://127.0.0.1:{server.server_address[1]}", access_key="a", secret_key="b")
        store = S3Store(StorageUri("s3", "bucket", ""), profile)
        for start, stop in ((0, len(DATA)), (0, 10), (2 * MIB + 5, 2 * MIB + 9), (len(DATA) - 1, len(DATA))):
            assert b"".join(store.read("a", start, stop)) == DATA[start:stop]
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, "NoSuchKey", ObjectNotFound),
        (404, "404", ObjectNotFound),
        (403, "403", AccessDenied),
        (400, "ExpiredToken", AccessDenied),
        (403, "RequestTimeTooSkewed", AccessDenied),
        (403, "SignatureDoesNotMatch", StorageUnavailable),
        (412, "PreconditionFailed", PreconditionFailed),
        (500, "PreconditionFailed", PreconditionFailed),
        (409, "ConditionalRequestConflict", StorageUnavailable),
        (409, "BucketAlreadyExists", StorageError),
        (503, "SlowDown", StorageUnavailable),
        (200, "InternalError", StorageUnavailable),
        (429, "429", StorageUnavailable),
        (400, "RequestTimeout", StorageUnavailable),
        (400, "BadDigest", StorageUnavailable),
        (400, "XAmzContentSHA256Mismatch", StorageUnavailable),
        (501, "NotImplemented", StorageError),
        (416, "InvalidRange", StorageError),
    ],
)
def test_what_refusals_are(status: int, code: str, error: type[StorageError]) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "of my-key"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with (
        pytest.raises(StorageError, match=r"^s3://bucket/a") as caught,
        told_as("s3://bucket/a", Profile(access_key="my-key"), accepted=True),
    ):
        raise ClientError(answer, "GetObject")
    assert type(caught.value) is error
    assert caught.value.uri == "s3://bucket/a"
    assert "my-key" not in str(caught.value)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_credentials_of_the_environment(
    seaweedfs: Server, no_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Place(seaweedfs)
    place.put("a")

    def exists() -> bool:
        return opened(seaweedfs, place.bucket, access_key="", secret_key="").exists(place.key("a"))

    with pytest.raises(AccessDenied, match="no usable credentials"):
        exists()
    with pytest.raises(AccessDenied, match="no usable credentials"):
        opened(seaweedfs, place.bucket, access_key="", secret_key="").whole(place.key("a"), 1)
    monkeypatch.setenv("AWS_PROFILE", "harbour")
    with pytest.raises(AccessDenied, match="harbour"):
        exists()
    file = tmp_path / ".aws/credentials"
    file.parent.mkdir()
    file.write_text(f"[harbour]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    assert exists()
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(AccessDenied, match="/nowhere/token"):
        exists()


def test_anonymous(seaweedfs: Server) -> None:
    store = opened(seaweedfs, seaweedfs.new_bucket(), anonymous=True)
    with pytest.raises(AccessDenied):
        store.put_bytes("a", b"x")
    with pytest.raises(AccessDenied):
        store.whole("a", 1)


def test_an_address_that_is_none(moto: Server) -> None:
    with pytest.raises(InputError, match="correct endpoint_url"):
        opened(moto, "bucket", endpoint_url="https://").stat("a")


def test_stores_of_an_operation_share_the_client(moto: Server) -> None:
    store = opened(moto, moto.new_bucket())
    other = store.within(Effort())
    store.put_bytes("a", b"x")
    assert isinstance(other, S3Store)
    assert other._client.client is store._client.client


def test_small_objects_are_read_fast(seaweedfs: Server) -> None:
    with behind_proxy(seaweedfs) as (store, proxy):
        names = {"plain": b"x", "é ü+%41#?&=~*": b"y", "empty": b"", "deep/er/large": DATA[: 4 * MIB]}
        versions = {name: store.put_bytes(name, data).version for name, data in names.items()}
        proxy.plan()
        for name, data in names.items():
            assert store._fast.get(name, versions[name]) == data
            assert store.whole(name, len(data), versions[name]) == data
            assert store._fast.get(name, OTHER) is None
        assert proxy.requests == 3 * len(names)
        assert store._fast.get("missing", "") is None
        with pytest.raises(ObjectNotFound):
            store.whole("missing", 1)


def test_what_the_fast_client_cannot_is_done_without_it(seaweedfs: Server) -> None:
    with behind_proxy(seaweedfs) as (store, proxy):
        version = store.put_bytes("a", DATA[:MIB]).version
        for number in range(1, 6):
            proxy.plan(Fault("cut", 1000, method="GET"))
            assert store.whole("a", MIB, version) == DATA[:MIB]
            assert proxy.requests == 2
            assert store._fast._failures == min(number, 3)


@pytest.mark.parametrize("how", ["profile", "environment", "no_proxy"])
def test_proxies(seaweedfs: Server, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with behind_proxy(seaweedfs) as (direct, proxy):
        direct.put_bytes("a", b"x")
        bucket, asked = direct.root.bucket, proxy.requests
        monkeypatch.setenv("http_proxy", proxy.url if how == "environment" else "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", {"profile": "*", "no_proxy": "127.0.0.1"}.get(how, ""))
        given = {"proxy": proxy.url.replace("//", "//user:password@")} if how == "profile" else {}
        host = seaweedfs.url if how == "no_proxy" else "http://storage.invalid"
        store = opened(seaweedfs, bucket, endpoint_url=host, **given)
        version = store.stat("a").version
        assert store.put_bytes("a", b"x").version == version
        assert store.whole("a", 1, version) == store._fast.get("a", version) == b"x"
        assert store._fast._failures == 0
        assert proxy.requests == asked + (0 if how == "no_proxy" else 4)


def test_a_proxy_that_is_not_there(seaweedfs: Server) -> None:
    store = opened(seaweedfs, "bucket", proxy="http://user:password@127.0.0.1:1")
    for call in (lambda: store._stat("a"), lambda: store.whole("a", 1)):
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert "password" not in f"{caught.value} {caught.value.__cause__}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file.with_name("key.pem")), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def secure(certificate: Path) -> Iterator[S3Server]:
    """Moto with a certificate of an authority that nobody knows."""
    (port,), directory = free_ports(1), new_directory()
    command = [program("bin/moto_server"), "-H", "127.0.0.1", "-p", str(port), "-c", str(certificate)]
    command += ["-k", str(certificate.with_name("key.pem"))]
    server = S3Server("moto", "s3", f"https://127.0.0.1:{port}", directory, frozenset({"credentials"}))

    def ask() -> None:
        opened(server, "bucket", verify_tls=False).exists("a")

    with running("moto", directory, command, ask):
        yield server


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates(secure: S3Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    trusting, careless = (
        opened(secure, "bucket", ca_bundle=str(certificate)),
        opened(secure, "bucket", verify_tls=False),
    )
    trusting._client.client.create_bucket(Bucket="bucket")
    version = trusting.put_bytes("a", DATA).version
    for store in (trusting, careless):
        assert store.whole("a", len(DATA), version) == DATA
    assert (trusting._fast.get("a", version), careless._fast.get("a", version)) == (None, DATA)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert opened(secure, "bucket").exists("a")
    assert opened(secure, "bucket")._fast.get("a", version) is None
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(StorageError, match="name the authority's certificates as ca_bundle") as caught:
        opened(secure, "bucket")._stat("a")
    assert not caught.value.retryable
    with pytest.raises(StorageError, match="correct ca_bundle"):
        opened(secure, "bucket", ca_bundle="/nowhere.pem")._stat("a")
    with pytest.raises(StorageUnavailable):
        opened(secure, "bucket", endpoint_url=secure.url.replace("https", "http"))._stat("a")
