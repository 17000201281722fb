"""Releases and aliases: immutable, idempotent, compared before they are swapped."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow.parquet as pq
import pytest
from serving_support import FIXTURES

from shipway.components.common import storage
from shipway.components.common.errors import ConflictError, DataRejected, InputError, ObjectNotFound
from shipway.components.common.model import read_model
from shipway.components.lifecycle import places, prediction, releases
from shipway.components.lifecycle.gate import Thresholds

BINARY, OTHER = FIXTURES / "binary", FIXTURES / "binary_other"


@pytest.fixture
def create(tmp_path: Path, evaluated: Callable[..., Path], schema: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path = BINARY, **options: Any) -> dict[str, Any]:
        evaluation = options.pop("evaluation", None) or evaluated(model)
        arguments = {"model_name": "flights", "release_repository": str(tmp_path / "repository"), **options}
        return releases.create_release(model, evaluation, schema, tmp_path / "release", **arguments)

    return run


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_what_a_release_holds(tmp_path: Path, create: Callable[..., dict[str, Any]], schema: Path) -> None:
    document = create()
    digest = read_model(BINARY).digest
    (root,) = (tmp_path / "repository" / "flights").glob("[0-9a-f]*")
    assert len(root.name) == 16
    assert document == json.loads((tmp_path / "release/release.json").read_text())
    assert (document["uri"], document["name"], document["release"]) == (str(root), "flights", root.name)
    assert (document["model_digest"], document["schema_digest"]) == (digest, releases.schema_digest(schema))
    manifest = releases.verify(document["uri"])
    files = {entry["path"]: entry for entry in manifest["files"]}
    assert set(files) == {
        *(f"model/{name}" for name in ("model.json", "model.onnx", "golden.json")),
        *(f"evaluation/{name}" for name in ("metrics.json", "blessing.json")),
        "schema.pbtxt",
    }
    onnx = (root / "model/model.onnx").read_bytes()
    checksum = base64.b64encode(google_crc32c.value(onnx).to_bytes(4, "big")).decode()
    assert (files["model/model.onnx"]["size"], files["model/model.onnx"]["crc32c"]) == (len(onnx), checksum)
    assert manifest["blessing"]["blessed"] is True
    assert not os.access(root / "MANIFEST.json", os.W_OK) or os.geteuid() == 0
    assert (root / "MANIFEST.json").stat().st_mode & 0o222 == 0


def test_the_same_again_changes_nothing(tmp_path: Path, create: Callable[..., dict[str, Any]]) -> None:
    first = create()
    before = snapshot(Path(first["uri"]))
    assert create() == first
    # A later evaluation of the same model differs; the release keeps the one that it was made with.
    assert create(evaluation=None) == first
    assert snapshot(Path(first["uri"])) == before
    assert sorted(p.name for p in (tmp_path / "repository/flights").iterdir()) == [first["release"]]


def test_the_unblessed_are_refused(
    tmp_path: Path, create: Callable[..., dict[str, Any]], evaluated: Callable[..., Path]
) -> None:
    with pytest.raises(DataRejected, match="not blessed and is not released: no thresholds are set"):
        create(evaluation=evaluated(BINARY, thresholds=Thresholds()))
    with pytest.raises(DataRejected, match="is of another model"):
        create(evaluation=evaluated(OTHER))
    assert not (tmp_path / "repository").exists()
    assert not (tmp_path / "release").exists()


def test_another_schema_makes_another_release(create: Callable[..., dict[str, Any]], schema: Path) -> None:
    first = create()
    before = snapshot(Path(first["uri"]))
    (schema / "schema.pbtxt").write_text("another\n")
    second = create()
    assert second["uri"] != first["uri"]
    assert second["model_digest"] == first["model_digest"]
    assert releases.verify(second["uri"])["schema_digest"] == releases.schema_digest(schema)
    assert snapshot(Path(first["uri"])) == before


def test_something_else_in_a_releases_place_is_a_conflict(create: Callable[..., dict[str, Any]]) -> None:
    place, other = Path(create()["uri"]), Path(create(OTHER)["uri"])
    shutil.rmtree(place)
    other.rename(place)
    before = snapshot(place)
    with pytest.raises(ConflictError, match="holds another model or schema"):
        create()
    assert snapshot(place) == before


def test_a_release_that_its_own_evaluation_does_not_bless_is_refused(
    create: Callable[..., dict[str, Any]], tmp_path: Path, evaluated: Callable[..., Path]
) -> None:
    document = create()
    root, aside = Path(document["uri"]), tmp_path / "aside"
    manifest = json.loads((root / "MANIFEST.json").read_text())
    root.rename(aside)
    shutil.rmtree(aside / "evaluation")
    shutil.copytree(evaluated(BINARY, thresholds=Thresholds()), aside / "evaluation")
    told = {key: value for key, value in manifest.items() if key not in ("digest", "files")}
    published = storage.publish_version(aside, str(root), told)
    (tmp_path / "release/release.json").write_text(json.dumps({**document, "digest": published.digest}))
    releases.verify(document["uri"])
    with pytest.raises(DataRejected, match="is not blessed"):
        releases.read_release(tmp_path / "release")


def test_a_name_that_leads_out_of_the_repository_is_refused(tmp_path: Path, schema: Path) -> None:
    with pytest.raises(InputError, match="cannot name a model"):
        releases.champion("../../elsewhere", releases.schema_digest(schema), str(tmp_path))


def change(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda root: change(root / "model/model.onnx"), "model/model.onnx"),
        (lambda root: change(root / "evaluation/blessing.json"), "evaluation/blessing.json"),
        (lambda root: (root / "schema.pbtxt").unlink(), "schema.pbtxt"),
        (lambda root: (root / "model/extra").write_text("x"), "model/extra"),
    ],
)
def test_tampering_is_seen(create: Callable[..., dict[str, Any]], tmp_path: Path, tamper: Any, named: str) -> None:
    document = create()
    tamper(Path(document["uri"]))
    with pytest.raises(DataRejected, match=named):
        releases.read_release(tmp_path / "release")
    with pytest.raises(DataRejected, match=named):
        create()


def test_another_release_at_the_same_place_is_seen(create: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    document = create()
    file = tmp_path / "release/release.json"
    file.write_text(json.dumps({**document, "digest": "sha256:other"}))
    with pytest.raises(DataRejected, match="not the one that was created"):
        releases.read_release(tmp_path / "release")


def test_a_killed_creation_is_taken_up(
    create: Callable[..., dict[str, Any]], evaluated: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = evaluated(BINARY)
    first = create(evaluation=evaluation)
    root = Path(first["uri"])
    (root / "MANIFEST.json").unlink()
    (root / "model/model.onnx").unlink()
    kept = snapshot(root)
    with pytest.raises(ObjectNotFound, match="no published version"):
        releases.verify(first["uri"])
    monkeypatch.setattr(releases, "_OTHERS_SECONDS", 0)
    other = evaluated(BINARY, slices=("origin",))
    with pytest.raises(ConflictError, match=r"begun with another evaluation and is not finished; run it again"):
        create(evaluation=other)
    assert snapshot(root) == kept
    assert create(evaluation=evaluation) == first
    assert kept.items() < snapshot(root).items()
    assert create(evaluation=other) == first


@pytest.mark.parametrize("scheme", ["", "s3"])
def test_of_two_evaluations_at_once_one_stays(
    tmp_path: Path, evaluated: Callable[..., Path], schema: Path, repositories: Callable[[str], str], scheme: str
) -> None:
    code = (
        "import sys; from shipway.components.lifecycle.releases import create_release;"
        "create_release(*sys.argv[1:5], 'flights', sys.argv[5])"
    )
    repository = repositories(scheme)
    evaluations = [evaluated(BINARY), evaluated(BINARY, slices=("origin",), thresholds=Thresholds(min_auc=0.1))]
    jobs = []
    for index in range(4):
        inputs = [str(BINARY), str(evaluations[index % 2]), str(schema)]
        command = [sys.executable, "-c", code, *inputs, str(tmp_path / f"r{index}"), repository]
        jobs.append(subprocess.Popen(command))
    assert [job.wait(60) for job in jobs] == [0] * 4
    (document,) = {(tmp_path / f"r{i}/release.json").read_text() for i in range(4)}
    uri = json.loads(document)["uri"]
    store, key = storage.open_store(f"{uri}/evaluation/blessing.json")
    assert releases.verify(uri)["blessing"] == json.loads(store.get_bytes(key)[0])


def test_many_creations_at_once_make_one_release(tmp_path: Path, evaluated: Callable[..., Path], schema: Path) -> None:
    code = (
        "import sys; from shipway.components.lifecycle.releases import create_release;"
        "create_release(*sys.argv[1:5], 'flights', sys.argv[5])"
    )
    evaluation = evaluated(BINARY)
    inputs = [str(BINARY), str(evaluation), str(schema)]
    command = [sys.executable, "-c", code, *inputs]
    jobs = [subprocess.Popen([*command, str(tmp_path / f"r{i}"), str(tmp_path / "repo")]) for i in range(4)]
    assert [job.wait(60) for job in jobs] == [0] * 4
    assert len({(tmp_path / f"r{i}/release.json").read_text() for i in range(4)}) == 1
    assert len([p for p in (tmp_path / "repo/flights").iterdir() if p.is_dir()]) == 1


def test_where_releases_go(
    create: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHIPWAY_ROOT", raising=False)
    with pytest.raises(InputError, match="no release_repository"):
        create(release_repository="")
    with pytest.raises(InputError, match="can only be read"):
        create(release_repository="https://example.org/releases")
    with pytest.raises(InputError, match="minio:// is not known"):
        create(release_repository="minio://bucket/releases")
    for name in ("", "../x", "a/b", "aliases", ".hidden"):
        with pytest.raises(InputError, match="cannot name a model"):
            create(model_name=name)
    monkeypatch.setenv("SHIPWAY_ROOT", str(tmp_path / "runs"))
    assert create(release_repository="")["uri"].startswith(str(tmp_path / "runs/releases/flights/"))
    for repository in ("runs/../other", f"file://{tmp_path}/other/"):
        monkeypatch.chdir(tmp_path)
        assert create(release_repository=repository)["uri"].startswith(str(tmp_path / "other/flights/"))


def test_the_champion_moves_by_compare_and_swap(create: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    repository = str(tmp_path / "repository")
    first, second = create(BINARY), create(OTHER)
    assert releases.champion("flights", first["schema_digest"], repository) is None
    with pytest.raises(ConflictError, match="is none by now, not elsewhere"):
        releases.move_champion(first, repository, expected="elsewhere")
    alias = releases.move_champion(first, repository, expected="")
    assert alias == {"uri": first["uri"], "digest": first["digest"], "generation": 1}
    assert releases.move_champion(first, repository, expected="whatever") == alias
    with pytest.raises(ConflictError, match="by now, not none"):
        releases.move_champion(second, repository, expected="")
    assert releases.champion("flights", first["schema_digest"], repository) == alias
    assert releases.move_champion(second, repository, expected=first["uri"])["generation"] == 2
    assert releases.move_champion(first, repository)["generation"] == 3
    assert releases.champion("flights", "sha256:" + "0" * 64, repository) is None
    assert releases.champion("other", first["schema_digest"], repository) is None


@pytest.mark.parametrize("scheme", ["", "s3", "gs"])
def test_one_of_two_promotions_at_once_wins(
    create: Callable[..., dict[str, Any]], repositories: Callable[[str], str], scheme: str
) -> None:
    repository = repositories(scheme)
    code = (
        "import json, sys; from shipway.components.lifecycle.releases import move_champion;"
        "from shipway.components.common.process import step\n"
        "with step(): move_champion(json.loads(sys.argv[1]), sys.argv[2], expected='')"
    )
    documents = [create(model, release_repository=repository) for model in (BINARY, OTHER)]
    jobs = [subprocess.Popen([sys.executable, "-c", code, json.dumps(d), repository]) for d in documents]
    assert sorted(job.wait(60) for job in jobs) == [0, ConflictError.exit_code]
    alias = releases.champion("flights", documents[0]["schema_digest"], repository)
    assert alias is not None
    assert alias["generation"] == 1


@pytest.mark.parametrize("scheme", ["", "s3"])
def test_no_promotion_is_lost(
    create: Callable[..., dict[str, Any]], repositories: Callable[[str], str], scheme: str
) -> None:
    repository = repositories(scheme)
    documents = [create(model, release_repository=repository) for model in (BINARY, OTHER)]
    uri = places.alias_uri(repository, "flights", documents[0]["schema_digest"])

    def promote(document: dict[str, Any]) -> list[int]:
        return [releases.move_champion(document, repository)["generation"] for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        generations = [generation for found in pool.map(promote, documents) for generation in found]
    alias = storage.read_alias(uri)
    assert alias is not None
    assert set(generations) == set(range(1, alias.document["generation"] + 1))


def test_the_champion_is_compared_and_the_same_model_passes(
    create: Callable[..., dict[str, Any]], evaluated: Callable[..., Path]
) -> None:
    champion = create(BINARY)["uri"]
    strict = Thresholds(max_loss_vs_champion=0.0)
    same = evaluated(BINARY, champion=champion, thresholds=strict)
    metrics = json.loads((same / "metrics.json").read_text())
    assert metrics["champion"]["digest"] == read_model(BINARY).digest
    assert metrics["champion"]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert json.loads((same / "blessing.json").read_text())["blessed"] is True
    other = evaluated(OTHER, champion=champion, thresholds=strict)
    metrics = json.loads((other / "metrics.json").read_text())
    gain = metrics["overall"]["roc_auc"]["value"] - metrics["champion"]["roc_auc"]["value"]
    assert metrics["champion"]["gain"]["value"] == pytest.approx(gain)
    assert abs(gain) > 0.01
    assert json.loads((other / "blessing.json").read_text())["blessed"] is bool(gain > 0)


def test_a_champion_that_cannot_score_the_data(
    create: Callable[..., dict[str, Any]], tmp_path: Path, dataset: Path
) -> None:
    champion = create(BINARY)["uri"]
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    pq.write_table(pq.read_table(dataset).drop_columns("wind"), narrow / "part-00000.parquet")
    with pytest.raises(InputError, match=r"cannot be compared.*lacks the columns wind.*another model_name"):
        prediction.predict_champion(narrow, champion, tmp_path / "predictions", "late", [])
    change(Path(champion) / "model/golden.json")
    with pytest.raises(DataRejected, match=r"golden\.json"):
        prediction.predict_champion(dataset, champion, tmp_path / "predictions", "late", [])
