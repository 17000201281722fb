from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shipway.components.common.errors import (
    AccessDenied,
    ConflictError,
    InputError,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
)
from shipway.components.data.ingestion import sources
from shipway.components.data.ingestion.sources import fetched, resolve_data, table_name

from ..conftest import web_server

CSV = "a,b\n1,x\n2,y\n"


def test_digest_is_of_the_bytes(csv, tmp_path):
    file = csv(CSV)
    first = resolve_data(str(file))
    assert re.fullmatch("sha256:[0-9a-f]{64}", first)
    (tmp_path / "copy.csv").write_text(CSV)
    assert resolve_data((tmp_path / "copy.csv").as_uri()) == first
    csv(CSV + "3,z\n")
    assert resolve_data(str(file)) != first


def test_directory_digest_knows_names_and_leaves_other_files_alone(csv, tmp_path):
    csv(CSV, "one.csv"), csv(CSV, "two.csv")
    first = resolve_data(str(tmp_path / "raw"))
    csv("hello", "README.md"), csv(CSV, ".hidden.csv")
    assert resolve_data(str(tmp_path / "raw")) == first
    (tmp_path / "raw" / "two.csv").rename(tmp_path / "raw" / "three.csv")
    assert resolve_data(str(tmp_path / "raw")) != first


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "empty"),
        ("/no/such/file.csv", "/no/such/file.csv does not exist"),
        ("ftp://host/file.csv", "ftp:// is not known"),
        ("file://elsewhere/file.csv", "cannot name a host"),
        ("/dev/zero", "neither a file nor a directory"),
        ("http://127.0.0.1:1/x", "does not tell a readable format"),
    ],
)
def test_nothing_readable(uri, message):
    with pytest.raises(InputError, match=message):
        resolve_data(uri)


def test_directory_without_tables(tmp_path):
    with pytest.raises(InputError, match="without readable files"):
        resolve_data(str(tmp_path))


def test_two_files_of_one_table(csv, tmp_path):
    csv(CSV, "t.csv"), csv(CSV, "T.tsv")
    with pytest.raises(InputError, match="would be one table"):
        resolve_data(str(tmp_path / "raw"))


@pytest.mark.parametrize(
    "name", ["x.zip", "noending", ".csv", "a\nb.csv", '"; DROP TABLE x.csv', "..csv", "%2e%2e.csv"]
)
def test_names_that_name_no_table(name):
    with pytest.raises(InputError):
        table_name(Path(name))


def test_changed_source_is_a_conflict(csv):
    file = csv(CSV)
    digest = resolve_data(str(file))
    csv(CSV + "3,z\n")
    with pytest.raises(ConflictError, match="no longer holds"), fetched(str(file), digest):
        pass
    with pytest.raises(ConflictError, match="while it was read"), fetched(str(file), resolve_data(str(file))):
        csv(CSV)


@pytest.mark.parametrize("fault", ["plain", "tagged", "weak", "nohead", "twice", "short"])
def test_web_files_arrive_whole(served, fault, impatient):
    directory, address = served
    (directory / "my data.csv").write_text(CSV * 1000)
    uri = f"{address}/{fault}/my%20data.csv?token=secret"
    digest = resolve_data(uri)
    with fetched(uri, digest) as (file,):
        assert file.read_text() == CSV * 1000
        assert file.name == "my data.csv"
    assert not file.exists()
    (directory / "my data.csv").write_text(CSV)
    with pytest.raises(ConflictError) as conflict, fetched(uri, digest):
        pass
    assert "secret" not in str(conflict.value)


def test_strong_tag_is_resolved_without_the_body(served):
    directory, address = served
    (directory / "a.csv").write_text(CSV)
    digest = resolve_data(f"{address}/tagged/a.csv")
    assert digest != resolve_data(f"{address}/plain/a.csv")
    assert resolve_data(f"{address}/weak/a.csv") == resolve_data(str(directory / "a.csv"))


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("plain/none.csv", ObjectNotFound, "answered 404"),
        ("forbidden/a.csv", AccessDenied, "answered 403.*token"),
        ("busy/a.csv", StorageUnavailable, "answered 503.*later"),
        ("cut/a.csv", StorageUnavailable, "cut/a.csv"),
    ],
)
def test_web_faults(served, path, error, message, impatient):
    directory, address = served
    (directory / "a.csv").write_text(CSV)
    with pytest.raises(error, match=message):
        resolve_data(f"{address}/{path}?token=secret")


def test_unreachable_address_is_tried_again_then_named(impatient, caplog):
    with pytest.raises(StorageUnavailable, match=r"https://127.0.0.1:1/a.csv cannot be read: .*refused") as error:
        resolve_data("https://127.0.0.1:1/a.csv?token=secret")
    assert "secret" not in str(error.value) + caplog.text
    assert len([record for record in caplog.records if "trying again" in record.message]) > 2


def test_passwords_in_addresses_are_refused_and_not_repeated():
    with pytest.raises(InputError, match="take user and password out") as error:
        resolve_data("https://user:secret@127.0.0.1:1/a.csv")
    assert "secret" not in str(error.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(alternative, False).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + signed.public_bytes(pem))
    return file


@pytest.mark.parametrize("trusted", [True, False])
def test_https_trusts_what_ssl_cert_file_says(tmp_path, certificate, trusted):
    (tmp_path / "a.csv").write_text(CSV)
    script = (
        "import sys; from shipway.components.common.process import step\n"
        "from shipway.components.data.ingestion.sources import resolve_data\n"
        "with step(): print(resolve_data(sys.argv[1]))"
    )
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    environment.pop("SSL_CERT_FILE", None)
    if trusted:
        environment["SSL_CERT_FILE"] = str(certificate)
    with web_server(tmp_path, certificate) as address:
        run = subprocess.run(
            [sys.executable, "-c", script, f"{address}/plain/a.csv"], env=environment, capture_output=True, text=True
        )
    if trusted:
        assert (run.returncode, run.stdout.strip()) == (0, resolve_data(str(tmp_path / "a.csv")))
    else:
        assert run.returncode == StorageError.exit_code
        assert "self-signed certificate" in run.stderr
        assert "SSL_CERT_FILE" in run.stderr


def test_module_needs_no_heavy_library():
    heavy = "{'pyarrow', 'duckdb', 'tensorflow', 'numpy', 'kfp'}"
    script = f"import sys, {sources.__name__}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
