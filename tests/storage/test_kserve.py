from __future__ import annotations

import base64
import dataclasses
import logging
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml
from hypothesis import given
from hypothesis import strategies as st
from programs import program
from servers import Server

from shipway.components.common.errors import InputError
from shipway.components.common.storage import kserve
from shipway.components.common.storage.kserve import (
    model_uri,
    profile_of_secret,
    service_account,
    storage_secret,
    write_kustomization,
)
from shipway.components.common.storage.profiles import Profile, profile_for
from shipway.serving.manifests import inference_service

Write = Callable[..., None]
ACCESS_KEY, SECRET_KEY = "the-access-key", "the-secret-key"


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the file of profiles with one entry, and a directory of credentials for it."""
    path = tmp_path / "profiles.yaml"
    path.touch()
    monkeypatch.setenv("SHIPWAY_STORAGE_PROFILES", str(path))
    for name in os.environ:
        if name.startswith(("AWS_", "S3_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)

    def written(prefix: str, keys: dict[str, str] | None = None, **settings: Any) -> None:
        directory = tmp_path / "the credentials"
        directory.mkdir(exist_ok=True)
        for name, text in (keys or {}).items():
            (directory / name).write_text(text)
        if keys:
            settings["credentials"] = str(directory)
        path.write_text(yaml.safe_dump({prefix: settings}))

    return written


@pytest.fixture
def built() -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Runs kubectl's kustomize over a directory; returns the manifests by kind."""
    kubectl = program("bin/kubectl")

    def run(directory: Path, *arguments: str) -> dict[str, dict[str, Any]]:
        done = subprocess.run(
            [kubectl, "kustomize", *arguments, directory], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}

    return run


def s3_keys(**more: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, **more}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://models/m/v1", "s3://models/m/v1/"),
        ("s3://models/m/v1/", "s3://models/m/v1/"),
        ("gs://models/m/v1", "gs://models/m/v1/"),
        ("pvc://claim/m/v1", "pvc://claim/m/v1"),
        ("https://host/m/v1.tar.gz?version=2", "https://host/m/v1.tar.gz?version=2"),
    ],
)
def test_the_uri_that_kserve_gets(uri: str, expected: str) -> None:
    assert model_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///models/v1", "do not see the files of this machine"),
        ("models/v1", "do not see the files of this machine"),
        ("minio://models/v1", "write s3://"),
        ("s3://models/", "whole bucket"),
        ("https://host/m/v1/?a", "name a file"),
    ],
)
def test_uris_that_kserve_could_not_read(uri: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        model_uri(uri)


def test_a_secret_has_the_annotations_and_no_data(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    write(
        "s3://models",
        s3_keys(),
        endpoint_url="https://minio.example:9000",
        region="eu-west-1",
        addressing_style="virtual",
        ca_bundle=str(tmp_path / "ca.pem"),
    )
    assert storage_secret("minio", "s3://models/m/v1", "serving") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "minio",
            "namespace": "serving",
            "labels": {"app.kubernetes.io/managed-by": "shipway"},
            "annotations": {
                "serving.kserve.io/s3-endpoint": "minio.example:9000",
                "serving.kserve.io/s3-usehttps": "1",
                "serving.kserve.io/s3-verifyssl": "1",
                "serving.kserve.io/s3-region": "eu-west-1",
                "serving.kserve.io/s3-usevirtualbucket": "true",
                "serving.kserve.io/s3-cabundle-configmap": "minio-ca",
            },
        },
        "type": "Opaque",
    }
    write("s3://models", endpoint_url="http://minio:9000", anonymous=True, verify_tls=False)
    assert storage_secret("minio", "s3://models")["metadata"]["annotations"] == {
        "serving.kserve.io/s3-endpoint": "minio:9000",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-verifyssl": "0",
        "serving.kserve.io/s3-useanoncredential": "true",
    }


def test_what_a_secret_has_no_place_for_is_told(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PROXY", "http://me:pass-word@proxy:3128")
    write("gs://models", endpoint_url="http://localhost:9000", proxy="env:MY_PROXY", anonymous=True)
    with caplog.at_level(logging.WARNING):
        assert "annotations" not in storage_secret("gcs", "gs://models/m")["metadata"]
    assert "no place for proxy and endpoint_url" in caplog.text
    assert "pass-word" not in caplog.text
    with pytest.raises(InputError, match="the token, into the pod's manifest"):
        storage_secret("hub", "https://host/x")
    with pytest.raises(InputError, match="nothing to log in to"):
        storage_secret("hub", "pvc://claim/x")
    with pytest.raises(InputError, match="cannot name anything in a cluster"):
        storage_secret("Not_a_name", "s3://models/x")


def test_a_service_account_leads_to_a_secret_or_has_a_role(write: Write) -> None:
    assert service_account("models", "s3://models", "minio", namespace="serving") == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "models",
            "namespace": "serving",
            "labels": {"app.kubernetes.io/managed-by": "shipway"},
        },
        "secrets": [{"name": "minio"}],
    }
    write("s3://models", region="eu-west-1")
    role = "arn:aws:iam::123456789012:role/models"
    assert service_account("models", "s3://models", role=role)["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": role,
        "serving.kserve.io/s3-verifyssl": "1",
        "serving.kserve.io/s3-region": "eu-west-1",
    }
    account = service_account("models", "gs://models", role="models@project.iam.gserviceaccount.com")
    assert account["metadata"]["annotations"] == {
        "iam.gke.io/gcp-service-account": "models@project.iam.gserviceaccount.com"
    }
    with pytest.raises(InputError, match="one of the two"):
        service_account("models", "s3://models", "minio", role)


def test_kubectl_makes_what_the_profile_says(write: Write, built: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    write("s3://models", s3_keys(), endpoint_url="https://minio:9000", ca_bundle=str(tmp_path / "ca.pem"))
    directory = tmp_path / "cluster" / "storage"
    command = write_kustomization(directory, "s3://models/m/v1", "minio", "serving")
    assert command == (
        f"kubectl kustomize --load-restrictor LoadRestrictionsNone {directory} | kubectl apply --server-side -f -"
    )
    for path in directory.iterdir():
        assert not any(text in path.read_text() for text in (ACCESS_KEY, SECRET_KEY))
    manifests = built(directory, "--load-restrictor", "LoadRestrictionsNone")
    assert manifests["Secret"] == {
        **storage_secret("minio", "s3://models", "serving"),
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in s3_keys().items()},
    }
    assert manifests["ServiceAccount"] == service_account("minio", "s3://models", "minio", namespace="serving")
    assert manifests["ConfigMap"]["metadata"]["name"] == "minio-ca"
    assert manifests["ConfigMap"]["data"] == {"cabundle.crt": "certificates"}
    with pytest.raises(InputError, match="speaks of certificates"):
        profile_of_secret(manifests["Secret"])
    profile = profile_for("s3://models/m")
    assert profile_of_secret(manifests["Secret"], profile.ca_bundle) == dataclasses.replace(profile, credentials="")


@pytest.mark.parametrize("uri", ["s3://models/flights/1", "gs://models/flights/1/", "pvc://claim/flights/1"])
def test_an_inference_service_names_a_model_by_this_uri(uri: str) -> None:
    release = dict.fromkeys(("name", "release", "digest", "model_digest"), "")
    manifest = inference_service("flights", {**release, "uri": uri})
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == model_uri(f"{uri.rstrip('/')}/model")


def test_credentials_below_the_directory_need_no_leave(write: Write, built: Any, tmp_path: Path) -> None:
    write("s3://models", {"accesskey": ACCESS_KEY, "secretkey": SECRET_KEY})
    command = write_kustomization(tmp_path, "s3://models/m", "minio")
    assert command == f"kubectl apply --server-side -k {shlex.quote(str(tmp_path))}"
    manifests = built(tmp_path)
    assert profile_of_secret(manifests["Secret"]) == Profile(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    assert set(manifests) == {"Secret", "ServiceAccount"}


def test_other_ways_to_log_in(write: Write, built: Any, tmp_path: Path) -> None:
    key = "gcloud-application-credentials.json"
    write("gs://models", {key: "{}"})
    write_kustomization(tmp_path, "gs://models/m", "gcs")
    assert built(tmp_path)["Secret"]["data"] == {key: base64.b64encode(b"{}").decode()}
    write("gs://models", anonymous=True)
    write_kustomization(tmp_path, "gs://models/m", "gcs")
    assert set(built(tmp_path)) == {"ServiceAccount"}
    write("s3://models", anonymous=True)
    write_kustomization(tmp_path, "s3://models/m", "public")
    manifests = built(tmp_path)
    assert profile_of_secret(manifests["Secret"]) == Profile(anonymous=True)
    write("s3://models", region="eu-west-1")
    write_kustomization(tmp_path, "s3://models/m", "models", role="arn:aws:iam::123456789012:role/models")
    manifests = built(tmp_path)
    assert set(manifests) == {"ServiceAccount"}
    assert profile_of_secret(manifests["ServiceAccount"]) == Profile(region="eu-west-1")


@pytest.mark.parametrize(
    ("uri", "keys", "expected"),
    [
        ("s3://models", {}, "must be made of files"),
        ("gs://models", {}, "must be made of files"),
        ("s3://models", s3_keys(AWS_SESSION_TOKEN="the-token"), "no session token"),
        ("s3://models", s3_keys(AWS_SECRET_ACCESS_KEY=f"{SECRET_KEY}\n"), "AWS_SECRET_ACCESS_KEY has blanks"),
    ],
)
def test_what_no_secret_can_be_made_of(
    uri: str, keys: dict[str, str], expected: str, write: Write, tmp_path: Path
) -> None:
    write(uri, keys)
    with pytest.raises(InputError, match=expected) as caught:
        write_kustomization(tmp_path / "cluster", uri, "minio")
    assert SECRET_KEY not in str(caught.value)
    assert not (tmp_path / "cluster").exists()


def test_variables_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in s3_keys().items():
        monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match="must be made of files"):
        write_kustomization(tmp_path / "cluster", "s3://models", "minio")


def test_a_secret_that_somebody_else_made() -> None:
    keys = {"awsAccessKeyID": "a", "awsSecretAccessKey": "b", "S3_ENDPOINT": "other:9000", "AWS_DEFAULT_REGION": "us"}
    secret = {
        "kind": "Secret",
        "metadata": {"annotations": {"serving.kserve.io/s3-endpoint": "minio:9000"}},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in keys.items()},
    }
    assert profile_of_secret(secret) == Profile("https://minio:9000", "us", access_key="a", secret_key="b")
    headers = {"https-host": "hub", "headers": '{"Authorization": "Bearer the-token"}'}
    assert profile_of_secret({"kind": "Secret", "stringData": headers}) == Profile(bearer_token="the-token")
    for wrong, expected in (
        ({"kind": "List"}, "neither a Secret nor a ServiceAccount"),
        ({"kind": "Secret", "data": {"AWS_SECRET_ACCESS_KEY": SECRET_KEY}}, "not text in base64"),
        ({"kind": "Secret", "stringData": {"gcloud-application-credentials.json": SECRET_KEY}}, "mount it"),
        ({"kind": "Secret", "stringData": {"AWS_SECRET_ACCESS_KEY": SECRET_KEY}}, "no AWS_ACCESS_KEY_ID"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            profile_of_secret(wrong)
        assert SECRET_KEY not in str(caught.value)


@given(
    st.builds(
        Profile,
        endpoint_url=st.from_regex(
            r"(https?://[a-z]{1,9}(\.[a-z]{1,5})?(:[1-9][0-9]{0,3})?(/[a-z]+)?)?", fullmatch=True
        ),
        region=st.sampled_from(["", "eu-west-1"]),
        addressing_style=st.sampled_from(["auto", "virtual"]),
        anonymous=st.booleans(),
        verify_tls=st.booleans(),
    )
)
def test_annotations_say_all_of_a_profile(profile: Profile) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kserve, "profile_for", lambda uri: profile)
        assert profile_of_secret(storage_secret("minio", "s3://models")) == profile


def test_kserves_own_initializer_reads_what_the_profile_reaches(
    write: Write, built: Any, seaweedfs: Server, tmp_path: Path
) -> None:
    python = program("bin/python")
    bucket = seaweedfs.new_bucket()
    for name in ("m/v1/model.onnx", "m/v1/labels/names.txt", "m/v10/model.onnx"):
        seaweedfs.put(bucket, name, name.encode())
    keys = {"AWS_ACCESS_KEY_ID": servers.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET_KEY}
    write("s3://", keys, endpoint_url=seaweedfs.url, region="us-east-1")
    write_kustomization(tmp_path, f"s3://{bucket}", "minio")
    script = "import sys; from kserve_storage import Storage; Storage.download(sys.argv[1], sys.argv[2])"
    target = tmp_path / "target"
    done = subprocess.run(
        [python, "-c", script, model_uri(f"s3://{bucket}/m/v1"), target],
        env={"PATH": os.environ["PATH"], **controllers_variables(built(tmp_path)["Secret"])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {"model.onnx": "m/v1/model.onnx", "labels/names.txt": "m/v1/labels/names.txt"}


def controllers_variables(secret: dict[str, Any]) -> dict[str, str]:
    """Returns what KServe's controller sets for a Secret (BuildSecretEnvs in pkg/credentials/s3)."""
    notes = {name.partition("/")[2]: text for name, text in secret["metadata"]["annotations"].items()}
    data = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    scheme = "http" if notes["s3-usehttps"] == "0" else "https"
    return {
        **data,
        "AWS_ENDPOINT_URL": f"{scheme}://{notes['s3-endpoint']}",
        "S3_ENDPOINT": notes["s3-endpoint"],
        "S3_USE_HTTPS": notes["s3-usehttps"],
        "S3_VERIFY_SSL": notes["s3-verifyssl"],
        "AWS_DEFAULT_REGION": notes["s3-region"],
    }
