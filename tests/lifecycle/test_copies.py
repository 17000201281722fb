"""Releases in stores: made, found, fetched, served and copied, with a real S3 and a real directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving_support import FIXTURES

from shipway.components.common import storage
from shipway.components.common.errors import ConflictError, DataRejected, InputError, ObjectNotFound
from shipway.components.common.model import read_model, verify_files
from shipway.components.lifecycle import copies, deployment, prediction, releases
from shipway.serving import endpoints
from shipway.serving.client import EndpointClient

BINARY, OTHER = FIXTURES / "binary", FIXTURES / "binary_other"
SCHEMES = ("", "file", "pvc", "s3", "gs")
ABSENT = "no published version"

Create = Callable[..., dict[str, Any]]


@pytest.fixture
def create(tmp_path: Path, evaluated: Callable[..., Path], schema: Path) -> Create:
    evaluations: dict[Path, Path] = {}

    def run(repository: str, model: Path = BINARY, **options: Any) -> dict[str, Any]:
        evaluation = evaluations.setdefault(model, evaluated(model)) if not options else evaluated(model, **options)
        artifact = tmp_path / "artifacts" / model.name
        return releases.create_release(model, evaluation, schema, artifact, "flights", repository)

    return run


def contents(uri: str) -> dict[str, bytes]:
    store, key = storage.open_store(uri)
    return {info.key.removeprefix(f"{key}/"): store.get_bytes(info.key)[0] for info in store.list(key)}


def change(uri: str, name: str, data: bytes | None = None) -> None:
    """Replaces a file of a release, past everything that forbids it; by one of the same size, or by ``data``."""
    store, key = storage.open_store(f"{uri}/{name}")
    found = store.get_bytes(key)[0]
    store.put_bytes(key, bytes([found[0] ^ 1]) + found[1:] if data is None else data)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_release_in_every_store(repositories: Callable[[str], str], create: Create, scheme: str) -> None:
    repository = repositories(scheme)
    first = create(repository)
    place = repository.removeprefix("file://") if scheme == "file" else repository
    assert first["uri"] == f"{place}/flights/{first['release']}"
    before = contents(first["uri"])
    assert create(repository + "/") == first
    # A later evaluation of the same model differs; the release keeps the one that it was made with.
    assert create(repository, slices=("origin",)) == first
    assert contents(first["uri"]) == before
    assert json.loads(before["MANIFEST.json"])["digest"] == first["digest"]
    assert before["model/model.onnx"] == (BINARY / "model.onnx").read_bytes()
    assert releases.describe(first["uri"]) == first

    assert releases.champion("flights", first["schema_digest"], repository) is None
    alias = releases.move_champion(first, repository, expected="")
    assert alias == {"uri": first["uri"], "digest": first["digest"], "generation": 1}
    second = create(repository, OTHER)
    with pytest.raises(ConflictError, match="by now, not none"):
        releases.move_champion(second, repository, expected="")
    assert releases.move_champion(second, repository, expected=first["uri"])["generation"] == 2
    assert releases.champion("flights", first["schema_digest"], repository) == {
        "uri": second["uri"],
        "digest": second["digest"],
        "generation": 2,
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_changed_release_is_rejected_in_every_store(
    repositories: Callable[[str], str], create: Create, tmp_path: Path, dataset: Path, scheme: str
) -> None:
    repository = repositories(scheme)
    uri = create(repository)["uri"]
    change(uri, "model/model.onnx")
    uses: list[Callable[[], object]] = [
        lambda: create(repository),
        lambda: releases.read_release(tmp_path / "artifacts/binary"),
        lambda: prediction.predict_champion(dataset, uri, tmp_path / "predictions", "late", []),
        lambda: copies.download_release(uri, tmp_path / "model", tmp_path / "release"),
        lambda: copies.replicate_release(uri, str(tmp_path / "elsewhere"), tmp_path / "release"),
    ]
    for use in uses:
        with pytest.raises(DataRejected, match=r"changed after it was made.*model/model\.onnx.*create it again"):
            use()
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("scheme", ["", "pvc", "s3"])
def test_fetched_compared_and_served(
    repositories: Callable[[str], str], create: Create, tmp_path: Path, dataset: Path, state: Path, scheme: str
) -> None:
    repository, endpoint = repositories(scheme), tmp_path / "endpoint"
    first, second = create(repository), create(repository, OTHER)
    artifacts = tmp_path / "artifacts"

    metadata = prediction.predict_champion(dataset, first["uri"], tmp_path / "predictions", "late", [])
    assert (metadata["champion"], metadata["model_digest"]) == (first["release"], first["model_digest"])

    record = deployment.deploy_model(artifacts / "binary", endpoint, "")
    assert record["release"]["uri"] == first["uri"]
    assert served() == first["model_digest"]
    assert deployment.smoke_test(endpoint, artifacts / "binary")["golden_requests"] == 8
    alias = deployment.promote_model(artifacts / "binary", endpoint, repository, expected_champion="")
    assert alias["uri"] == first["uri"]
    deployment.deploy_model(artifacts / "binary_other", endpoint, "flights")
    assert served() == second["model_digest"]
    told = (state / "endpoints/flights/endpoint.json").read_text() + (endpoint / "endpoint.json").read_text()
    assert "tests-secret-key" not in told
    assert "tests-access-key" not in told
    slash = "" if scheme == "pvc" else "/"  # a claim is mounted, not fetched by prefix
    assert f"storageUri: {'file://' if not scheme else ''}{second['uri']}/model{slash}\n" in (
        (endpoint / "inferenceservice.yaml").read_text()
    )
    restored = endpoints.rollback("flights")
    assert restored["release"]["uri"] == first["uri"]
    assert served() == first["model_digest"]


def served() -> str:
    return EndpointClient(endpoints.describe("flights")["url"], "flights").model_digest()


def test_a_rollback_to_files_that_are_gone_changes_nothing(
    repositories: Callable[[str], str], create: Create, tmp_path: Path, state: Path
) -> None:
    repository = repositories("s3")
    for model in (BINARY, OTHER):
        create(repository, model)
        deployment.deploy_model(tmp_path / "artifacts" / model.name, tmp_path / "endpoint", "flights")
    (previous,) = (tmp_path / "cache/releases").glob(
        endpoints.describe("flights")["previous_release"]["directory"].rpartition("/")[2]
    )
    shutil.rmtree(previous)
    with pytest.raises(InputError, match=r"the release s3://.* is not, or no longer, at .*; deploy it again"):
        endpoints.rollback("flights")
    assert served() == read_model(OTHER).digest
    deployment.deploy_model(tmp_path / "artifacts/binary", tmp_path / "endpoint", "flights")
    assert served() == read_model(BINARY).digest


@pytest.mark.parametrize("scheme", ["", "file", "pvc"])
def test_a_directory_is_its_own_copy(repositories: Callable[[str], str], create: Create, scheme: str) -> None:
    document = create(repositories(scheme))
    directory = copies.local_copy(document["uri"])
    assert (directory / "MANIFEST.json").is_file()
    assert not any(path.stat().st_mode & 0o222 for path in directory.rglob("*") if path.is_file())


def test_the_copy_of_a_remote_release(repositories: Callable[[str], str], create: Create, tmp_path: Path) -> None:
    document = create(repositories("s3"))
    copy = copies.local_copy(document["uri"])
    assert copy == tmp_path / "cache/releases" / document["digest"].removeprefix("sha256:")[:16]
    assert contents(str(copy)) == contents(document["uri"])
    written = (copy / "model/model.onnx").stat().st_mtime_ns
    assert copies.local_copy(document["uri"] + "/") == copy
    assert (copy / "model/model.onnx").stat().st_mtime_ns == written

    for damage in (
        lambda: (copy / "model/model.onnx").write_bytes(b"other"),
        lambda: (copy / "model/extra").write_bytes(b"x"),
        lambda: (copy / "MANIFEST.json").write_text("{}"),
        lambda: (copy / "MANIFEST.json").unlink(),
    ):
        damage()
        assert contents(str(copies.local_copy(document["uri"]))) == contents(document["uri"])
    with pytest.raises(ObjectNotFound, match=ABSENT):
        copies.local_copy(document["uri"][:-1])


def test_a_copy_of_other_bytes_than_the_manifests_is_not_made(
    repositories: Callable[[str], str], create: Create, tmp_path: Path
) -> None:
    uri = create(repositories("s3"))["uri"]
    change(uri, "model/golden.json")
    with pytest.raises(DataRejected, match=r"golden\.json arrived damaged"):
        copies.local_copy(uri)
    assert [path for path in (tmp_path / "cache/releases").iterdir() if not path.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written(
    repositories: Callable[[str], str], create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = create(repositories("s3"))["uri"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHIPWAY_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set SHIPWAY_CACHE_DIR"):
        copies.local_copy(uri)


def test_processes_share_one_copy(repositories: Callable[[str], str], create: Create) -> None:
    uri = create(repositories("s3"))["uri"]
    code = "import sys; from shipway.components.lifecycle.copies import local_copy; print(local_copy(sys.argv[1]))"
    jobs = [subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    (copy,) = {job.communicate(timeout=60)[0].strip() for job in jobs}
    assert [job.returncode for job in jobs] == [0] * 4
    assert contents(copy) == contents(uri)


@pytest.mark.parametrize("scheme", ["", "s3"])
def test_download(repositories: Callable[[str], str], create: Create, tmp_path: Path, scheme: str) -> None:
    created = create(repositories(scheme))
    document, description = copies.download_release(created["uri"], tmp_path / "model", tmp_path / "release")
    assert document == created == json.loads((tmp_path / "release/release.json").read_text())
    assert verify_files(tmp_path / "model") == description == read_model(BINARY)
    assert (tmp_path / "model/model.onnx").stat().st_mode & 0o200
    assert releases.read_release(tmp_path / "release") == created
    with pytest.raises(ObjectNotFound, match=ABSENT):
        copies.download_release(created["uri"] + "0", tmp_path / "model", tmp_path / "release")


def test_a_version_that_is_no_release(repositories: Callable[[str], str], tmp_path: Path) -> None:
    uri = f"{repositories('s3')}/any"
    storage.publish_version(BINARY, uri)
    with pytest.raises(InputError, match=f"{uri} is no release: its manifest lacks name, release, model_digest"):
        copies.download_release(uri, tmp_path / "model", tmp_path / "release")


@pytest.mark.parametrize(("source", "target"), [("", "s3"), ("pvc", "gs"), ("s3", "gs"), ("gs", "s3"), ("s3", "")])
def test_replication(
    repositories: Callable[[str], str], create: Create, tmp_path: Path, source: str, target: str
) -> None:
    first, target_repository = create(repositories(source)), repositories(target)
    copy = copies.replicate_release(first["uri"], target_repository, tmp_path / "copy")
    assert copy == {**first, "uri": f"{target_repository}/flights/{first['release']}"}
    assert copy == json.loads((tmp_path / "copy/release.json").read_text())
    assert contents(copy["uri"]) == contents(first["uri"])
    assert releases.read_release(tmp_path / "copy") == copy
    assert releases.champion("flights", first["schema_digest"], target_repository) is None
    versions = stamps(copy["uri"])
    assert copies.replicate_release(first["uri"], target_repository, tmp_path / "copy") == copy
    assert stamps(copy["uri"]) == versions
    # Made there from the same evaluation it is the same release.
    assert create(target_repository) == copy


def stamps(uri: str) -> dict[str, str]:
    store, key = storage.open_store(uri)
    return {info.key: info.version for info in store.list(key)}


def test_replication_to_where_another_evaluation_blessed_it(
    repositories: Callable[[str], str], create: Create, tmp_path: Path
) -> None:
    first, elsewhere = create(repositories("")), repositories("s3")
    other = create(elsewhere, slices=("origin",))
    before = contents(other["uri"])
    with pytest.raises(ConflictError, match="is published and holds something else"):
        copies.replicate_release(first["uri"], elsewhere, tmp_path / "copy")
    assert contents(other["uri"]) == before
    assert not (tmp_path / "copy").exists()
