"""How Google Cloud Storage is reached: credentials, certificates, proxy."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcs_stub import UNIT, Fault, GcsStub

from shipway.components.common.errors import AccessDenied, StorageError, StorageUnavailable
from shipway.components.common.storage.backends.gs import GsStore
from shipway.components.common.storage.checksums import Checksums, crc32c_of, encoded_crc32c
from shipway.components.common.storage.objects import Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri


@pytest.fixture
def stub() -> Iterator[GcsStub]:
    with GcsStub() as server:
        server.buckets.add("bucket")
        yield server


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def opened(**profile: Any) -> GsStore:
    return GsStore(StorageUri("gs", "bucket", ""), Profile(**{"stall_seconds": 5, **profile}))


def test_without_credentials(no_credentials: None) -> None:
    with pytest.raises(AccessDenied, match=r"gs://bucket.*credentials_file"):
        opened().stat("a")
    with pytest.raises(AccessDenied, match="not found"):
        opened(credentials_file="/nowhere.json").stat("a")


def test_the_emulator_of_the_environment(stub: GcsStub, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", stub.url.removeprefix("http://"))
    assert opened().put_bytes("a", b"x").size == 1
    assert {authorization for _, authorization in stub.requests} == {""}


def service_account(path: Path, key: rsa.RSAPrivateKey, token_uri: str) -> str:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    document = {
        "type": "service_account",
        "client_email": "tests@example.invalid",
        "private_key": key.private_bytes(*form).decode(),
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(document))
    return str(path)


def workload_identity(path: Path, token_url: str) -> str:
    (path.parent / "token").write_text("of the cluster")
    document = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(path.parent / "token")},
    }
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize("kind", ["service account", "workload identity"])
def test_credentials_from_a_file(stub: GcsStub, key: rsa.RSAPrivateKey, tmp_path: Path, kind: str) -> None:
    path, token = tmp_path / "credentials.json", f"{stub.url}/token"
    file = service_account(path, key, token) if kind == "service account" else workload_identity(path, token)
    store = opened(endpoint_url=stub.url, credentials_file=file)
    store.put_bytes("a", b"x")
    assert store.get_bytes("a")[0] == b"x"
    assert [request for request, _ in stub.requests].count("POST /token?") == 1
    assert {authorization for _, authorization in stub.requests} - {""} == {"Bearer a-token"}
    refused = opened(endpoint_url=stub.url, credentials_file=file)
    stub.faults.append(Fault("POST /token", status=400, times=9))
    with pytest.raises(AccessDenied, match="not accepted"):
        refused.stat("a")


def test_everything_goes_through_the_proxy(
    stub: GcsStub, key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    file = service_account(tmp_path / "credentials.json", key, "http://tokens.invalid/token")
    proxy = stub.url.replace("//", "//user:password@")
    store = opened(endpoint_url="http://storage.invalid", credentials_file=file, proxy=proxy)
    assert store.put_bytes("a", b"x") == store.stat("a")
    data = os.urandom(UNIT)
    upload = Upload("big", UNIT, UNIT, Checksums(crc32c=encoded_crc32c(crc32c_of(data))))
    upload = dataclasses.replace(upload, session=store._start_upload(upload))
    assert store._finish_upload(upload, {0: store._send_part(upload, 0, data)}).size == UNIT
    away = opened(endpoint_url="http://storage.invalid", anonymous=True, proxy="http://user:password@127.0.0.1:1")
    with pytest.raises(StorageUnavailable, match="refused") as caught:
        away._stat("a")
    assert "password" not in str(caught.value)


def certificate(path: Path, key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return str(path)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    authority = certificate(tmp_path / "authority.pem", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    stub = GcsStub()
    stub.socket, stub.url = context.wrap_socket(stub.socket, server_side=True), stub.url.replace("http", "https")
    with stub:
        stub.buckets.add("bucket")
        file = service_account(tmp_path / "credentials.json", key, f"{stub.url}/token")
        given: dict[str, Any] = {"endpoint_url": stub.url, "credentials_file": file}
        assert opened(**given, ca_bundle=authority).put_bytes("a", b"x").size == 1
        assert stub.requests[-1][1] == "Bearer a-token"
        assert opened(**given, verify_tls=False).exists("a")
        for credentials in ({"anonymous": True}, {"credentials_file": file}):
            with pytest.raises(StorageError, match="name the authority's certificates as ca_bundle") as caught:
                opened(endpoint_url=stub.url, **credentials)._stat("a")
            assert not caught.value.retryable
        with pytest.raises(StorageError, match="correct ca_bundle"):
            opened(endpoint_url=stub.url, ca_bundle="/nowhere.pem").stat("a")


def test_an_address_that_is_none() -> None:
    with pytest.raises(StorageError, match="correct endpoint_url") as caught:
        opened(endpoint_url="https://").stat("a")
    assert not caught.value.retryable
