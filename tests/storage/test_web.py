from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import http.server
import os
import re
import shutil
import ssl
import subprocess
import threading
from urllib.parse import unquote, urlsplit

import pytest

from shipway.components.common.errors import (
    AccessDenied,
    CapabilityMissing,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.backends.web import WebStore
from shipway.components.common.storage.checksums import NO_CHECKSUMS, crc32c_of, encoded_crc32c
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri, parse_uri

DATA = bytes(range(256)) * 12_000  # three chunks and a bit
CRC32C = encoded_crc32c(crc32c_of(DATA))
MD5, SHA256 = (base64.b64encode(hashlib.new(name, DATA).digest()).decode() for name in ("md5", "sha256"))
ENVIRONMENT = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http_proxy", "https_proxy")
ENVIRONMENT += ("all_proxy", "no_proxy")


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths are ``/FAULT/…``; everything below a fault is the server's ``data``."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        fault = urlsplit(self.path).path.split("/")[1]
        seen = sum(path == self.path for _, path, _ in self.server.requests)
        getattr(self, f"_{fault}", self._file)(fault, seen)

    def _file(self, fault, seen, **headers):
        data, status = self.server.data, 200
        headers = {name.replace("_", "-"): value for name, value in headers.items()} | self.server.headers
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and fault != "rangeless":
            first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{'*' if fault == 'starred' else len(data)}"
            status, data = (206, data[first : last + 1]) if first <= last else (416, b"")
        if fault == "elsewhere" and wanted:
            headers["Content-Range"] = f"bytes 0-{len(data)}/{len(self.server.data)}"
        self._answer(status, data, headers, half=fault == "short" and self.command == "GET" and seen % 2)

    def _answer(self, status, data=b"", headers=None, half=False):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Transfer-Encoding" not in (headers or {}) and "Connection" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(data[: len(data) // 2] if half else data)
            self.close_connection |= half

    def _status(self, fault, seen):
        self._answer(int(self.path.split("/")[2]), b"x")

    def _once(self, fault, seen):
        self._answer(503) if seen == 1 else self._file(fault, seen)

    def _nohead(self, fault, seen):
        self._answer(int(self.path.split("/")[2])) if self.command == "HEAD" else self._file(fault, seen)

    def _emptyhead(self, fault, seen):
        self._answer(200) if self.command == "HEAD" else self._file(fault, seen)

    def _chunked(self, fault, seen):
        pieces = [self.server.data[at : at + 70_000] for at in range(0, len(self.server.data), 70_000)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        self._answer(200, body, {"Transfer-Encoding": "chunked"})

    def _endless(self, fault, seen):
        self._answer(200, self.server.data, {"Connection": "close"})

    def _tagged(self, fault, seen):
        self._file(fault, seen, ETag=f'"{hashlib.md5(self.server.data).hexdigest()}"')

    def _weak(self, fault, seen):
        self._file(fault, seen, ETag='W/"1"')

    def _compressed(self, fault, seen):
        self._file(fault, seen, Content_Encoding="gzip", Content_MD5=MD5)

    def _redirect(self, fault, seen):
        self._answer(302, headers={"Location": unquote(self.path.split("/", 2)[2])})

    def _stall(self, fault, seen):
        self.server.released.wait(20)

    def __getattr__(self, name):
        if name == "_http:":  # asked as a proxy
            return lambda fault, seen: self._file(fault, seen)
        raise AttributeError(name)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(certificate=None, host="127.0.0.1"):
    with http.server.ThreadingHTTPServer((host, 0), Handler) as server:
        server.data, server.headers, server.requests, server.connections = DATA, {}, [], 0
        server.released, server.daemon_threads = threading.Event(), True
        server.handle_error = lambda *_: None  # clients hang up as they like
        scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.address = f"{scheme}://{host}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server():
    with serving() as started:
        yield started


def opened(address, seconds=0.0, **profile):
    uri = parse_uri(address)
    store = WebStore(StorageUri(uri.scheme, uri.bucket, ""), Profile(**profile))
    return store.within(Effort(Options(retry_seconds=seconds))), uri.key


def fetched(address, **profile):
    store, key = opened(address, 5.0, **profile)
    info = store.stat(key)
    return b"".join(store.read(key, 0, info.size, info.version)), info


WHOLE = (
    "plain",
    "tagged",
    "weak",
    "rangeless",
    "once",
    "nohead/405",
    "nohead/501",
    "nohead/403",
    "emptyhead",
    "starred",
)
WHOLE += ("chunked", "endless", "short")


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("data", [DATA, b"x", b""], ids=len)
def test_files_arrive_whole(server, path, data):
    server.data = data
    received, info = fetched(f"{server.address}/{path}/my%20data.csv?token=secret")
    assert (received, info.size) == (data, len(data))
    assert {headers["Accept-Encoding"] for _, _, headers in server.requests} == {"identity"}
    assert {urlsplit(path).query for _, path, _ in server.requests} == {"token=secret"}


@pytest.mark.parametrize("path", ["plain", "rangeless", "chunked"])
@pytest.mark.parametrize(("start", "stop"), [(0, 10), (5, 6), (1_000_000, 2_900_000), (len(DATA) - 7, len(DATA))])
def test_ranges(server, path, start, stop):
    store, key = opened(f"{server.address}/{path}/file")
    chunks = list(store._read(key, start, stop, ""))
    assert b"".join(chunks) == DATA[start:stop]
    assert all(0 < len(chunk) <= 1 << 20 for chunk in chunks)


def test_a_connection_serves_many_requests(server):
    store, key = opened(f"{server.address}/tagged/file")
    version = store.stat(key).version
    for start in range(0, 2_000_000, 200_000):
        assert b"".join(store.read(key, start, start + 200_000, version)) == DATA[start : start + 200_000]
    assert server.connections == 1


def test_versions_are_strong_tags(server):
    store, key = opened(f"{server.address}/tagged/file")
    version = store.stat(key).version
    assert re.fullmatch('"[0-9a-f]{32}"', version)
    assert opened(f"{server.address}/weak/file")[0].stat("weak/file").version == ""
    server.data = DATA[::-1]
    with pytest.raises(PreconditionFailed, match="no longer the version") as error:
        list(store.read(key, 0, 10, version))
    assert (error.value.retryable, error.value.uri) == (False, f"{server.address}/tagged/file")
    server.data = b"short"
    with pytest.raises(PreconditionFailed, match="shorter than 1,000 bytes"):
        list(store.read(key, 990, 1000, version))


def test_when_it_was_written(server):
    server.headers = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    store, key = opened(f"{server.address}/plain/file")
    assert store.stat(key).modified == datetime.datetime(2015, 10, 21, 7, 28, tzinfo=datetime.UTC)
    for nonsense in ("", "yesterday"):
        server.headers = {"Last-Modified": nonsense}
        assert store.stat(key).modified is None


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"x-goog-hash": f"crc32c={CRC32C},md5={MD5}"}, {"crc32c", "md5"}),
        ({"x-goog-hash": f"crc32c={CRC32C}", "x-goog-stored-content-encoding": "identity"}, {"crc32c"}),
        ({"x-goog-hash": f"crc32c={CRC32C}", "x-goog-stored-content-encoding": "gzip"}, set()),
        ({"Content-MD5": MD5}, {"md5"}),
        ({"Content-MD5": MD5, "Content-Encoding": "br"}, set()),
        ({"Repr-Digest": f"sha-256=:{SHA256}:, md5=:{MD5}:"}, {"sha256"}),
        ({"Digest": f"SHA-256={SHA256}"}, {"sha256"}),
        ({"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-sha256": SHA256}, {"crc32c", "sha256"}),
        ({"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-type": "FULL_OBJECT"}, {"crc32c"}),
        ({"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-type": "COMPOSITE"}, set()),
        ({"x-amz-checksum-crc32c": f"{CRC32C}-3", "x-goog-hash": "crc32c=?", "Digest": "sha-256=AAAA"}, set()),
    ],
)
def test_checksums_that_headers_tell(server, headers, known, tmp_path):
    server.headers = headers
    store, key = opened(f"{server.address}/plain/file")
    found = store.stat(key).checksums
    assert {name for name in ("crc32c", "crc32", "md5", "sha256") if getattr(found, name)} == known
    assert store.get_file(key, tmp_path / "file").checksums == found
    assert (tmp_path / "file").read_bytes() == DATA
    server.data = b"!" + DATA[1:]
    if known:
        with pytest.raises(IntegrityError, match="arrived damaged"):
            store.get_bytes(key)


def test_a_part_has_no_checksum_of_the_whole(server):
    server.headers = {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    store, key = opened(f"{server.address}/nohead/501/file")
    assert store.stat(key).checksums == NO_CHECKSUMS


def test_what_comes_compressed_stays_so(server):
    received, info = fetched(f"{server.address}/compressed/file.gz")
    assert (received, info.checksums) == (DATA, NO_CHECKSUMS)


@pytest.mark.parametrize(
    ("status", "error", "message", "retryable"),
    [
        (400, StorageError, "answered 400", False),
        (401, AccessDenied, "answered 401.*bearer_token in a profile", False),
        (403, AccessDenied, "answered 403", False),
        (404, ObjectNotFound, "answered 404.*spelt right", False),
        (410, ObjectNotFound, "answered 410", False),
        (204, StorageError, "answered 204.*no file", False),
        (408, StorageUnavailable, "answered 408.*later", True),
        (425, StorageUnavailable, "answered 425", True),
        (429, StorageUnavailable, "answered 429", True),
        (500, StorageUnavailable, "answered 500", True),
        (503, StorageUnavailable, "answered 503.*later", True),
        (507, StorageUnavailable, "answered 507", True),
    ],
)
def test_statuses(server, status, error, message, retryable):
    address = f"{server.address}/status/{status}/file"
    store, key = opened(f"{address}?token=secret")
    for attempt in (lambda: store.stat(key), lambda: list(store.read(key, 0, 10))):
        with pytest.raises(StorageError, match=message) as raised:
            attempt()
        assert type(raised.value) is error
        assert (raised.value.retryable, raised.value.uri) == (retryable, address)
        assert "secret" not in str(raised.value)


def test_another_range_than_asked_for_is_refused(server):
    store, key = opened(f"{server.address}/elsewhere/file")
    with pytest.raises(StorageError, match="asked for the bytes from 1,000 and answered with 'bytes 0-"):
        list(store.read(key, 1000, 2000))


def test_answers_that_break_off_are_taken_up(server):
    store, key = opened(f"{server.address}/short/file", 10)
    assert b"".join(store.read(key, 0, len(DATA))) == DATA
    assert len(server.requests) > 1
    with pytest.raises(StorageUnavailable) as error:
        list(opened(f"{server.address}/short/other")[0]._read("short/other", 0, len(DATA), ""))
    assert error.value.retryable


def test_silence_has_an_end(server):
    store, key = opened(f"{server.address}/stall/file?token=secret", stall_seconds=0.2)
    with pytest.raises(StorageUnavailable, match=r"cannot be read.*timed out") as error:
        store.stat(key)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/a?token=secret", "https://nowhere.invalid/a?token=secret"])
def test_unreachable_addresses(address):
    store, key = opened(address)
    with pytest.raises(
        StorageUnavailable, match=r"/a cannot be read.*check the address, the network and the proxy"
    ) as error:
        store.stat(key)
    assert error.value.retryable
    assert error.value.__suppress_context__
    assert "secret" not in str(error.value) + error.value.uri


def test_there_is_nothing_to_list_or_write(server, tmp_path):
    store, key = opened(f"{server.address}/plain/directory?token=secret")
    with pytest.raises(StorageError, match="cannot be listed; give the address of one file") as error:
        list(store.list(key))
    assert "secret" not in str(error.value)
    (tmp_path / "file").write_bytes(b"x")
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 20 << 20)
    for write in (
        lambda: store.put_bytes("a", b""),
        lambda: store.delete("a"),
        lambda: store.put_file(tmp_path / "file", "a", if_none_match=True),
        lambda: store.put_file(large, "a"),
    ):
        with pytest.raises(CapabilityMissing, match="can only be read; write to gs://") as error:
            write()
        assert not error.value.retryable


def test_the_token_goes_to_its_host_alone(server):
    with serving(host="127.0.0.2") as other:
        for target in (server, other):
            target.requests.clear()
            address = f"{server.address}/redirect/{target.address}/plain/file"
            assert fetched(address, bearer_token="secret\n")[0] == DATA
            sent = [headers.get("Authorization") for _, path, headers in target.requests if "redirect" not in path]
            assert set(sent) == {"Bearer secret" if target is server else None}
        assert {headers.get("Authorization") for _, _, headers in server.requests} == {"Bearer secret"}


def test_a_password_file_is_not_sent_unasked(server, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    for token, sent in (("", {None}), ("t", {"Bearer t"})):
        server.requests.clear()
        fetched(f"{server.address}/plain/file", bearer_token=token)
        assert {headers.get("Authorization") for _, _, headers in server.requests} == sent


def test_redirects_that_lead_nowhere(server):
    for target, message in (
        ("file:///etc/passwd?secret", "no usable address"),
        ("/redirect/x?secret", "no usable|no file"),
    ):
        store, key = opened(f"{server.address}/redirect/{target}")
        with pytest.raises(StorageError, match=message) as error:
            store.stat(key)
        assert not error.value.retryable
        assert "secret" not in str(error.value)


def test_proxies(server, monkeypatch):
    address = "http://nowhere.invalid/plain/file"
    assert fetched(address, proxy=server.address)[0] == DATA
    assert {path for _, path, _ in server.requests} == {address}
    monkeypatch.setenv("http_proxy", server.address)
    assert fetched(address)[0] == DATA
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetched(address, proxy=server.address)[0] == DATA
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetched(f"{server.address}/plain/file")[0] == DATA


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(file.with_name("ca.pem"))]
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_name("ca.pem").read_bytes())
    return file


@pytest.fixture
def secure(certificate):
    with serving(certificate) as server:
        yield server


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "ca_bundle", "verify_tls"])
def test_certificates_that_are_trusted(secure, certificate, name, monkeypatch, tmp_path):
    authority = certificate.with_name("ca.pem")
    profile = {"ca_bundle": {"ca_bundle": str(authority)}, "verify_tls": {"verify_tls": False}}.get(name, {})
    if name == "SSL_CERT_DIR":
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(authority)]
        digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        (tmp_path / f"{digest}.0").write_bytes(authority.read_bytes())
    if not profile:
        monkeypatch.setenv(name, str(tmp_path if name == "SSL_CERT_DIR" else authority))
    assert fetched(f"{secure.address}/tagged/file?token=secret", **profile)[0] == DATA
    assert secure.connections <= 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_certificates_that_are_not(secure, certificate, host, monkeypatch):
    if host == "localhost":  # trusted, but of another host
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("ca.pem")))
    store, key = opened(f"{secure.address.replace('127.0.0.1', host)}/plain/file?token=secret", 5)
    with pytest.raises(StorageError, match=r"no secure connection: .*set SSL_CERT_FILE, or ca_bundle") as error:
        store.stat(key)
    assert (type(error.value), error.value.retryable) == (StorageError, False)
    assert "secret" not in str(error.value)


def test_a_bundle_is_trusted_alone_and_must_be_there(secure, certificate, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("ca.pem")))
    (tmp_path / "other.pem").write_bytes(certificate.with_name("ca.pem").read_bytes().replace(b"A", b"B"))
    for bundle, message in ((tmp_path / "other.pem", "ca_bundle"), (tmp_path / "none.pem", "invalid path.*none.pem")):
        store, key = opened(f"{secure.address}/plain/file", ca_bundle=str(bundle))
        with pytest.raises(StorageError, match=message) as error:
            store.stat(key)
        assert not error.value.retryable


def test_a_server_without_tls_is_named(server):
    store, key = opened(f"{server.address.replace('http', 'https')}/plain/file")
    with pytest.raises(StorageError, match="no secure connection"):
        store.stat(key)
