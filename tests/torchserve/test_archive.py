"""What create_torchserve_archive writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_golden, read_model, write_model
from shipway.serving.torchserve.archive import create_archive
from shipway.serving.torchserve.layout import find_archive
from shipway.serving.torchserve.properties import Workers


def settings(layout: Path) -> dict[str, str]:
    lines = (layout / "config" / "config.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_layout_is_kserves(layout: Path) -> None:
    files = {path.relative_to(layout).as_posix() for path in layout.rglob("*") if path.is_file()}
    assert files == {"model-store/flowers.mar", "config/config.properties"}
    assert settings(layout)["model_store"] == "/mnt/models/model-store"
    assert settings(layout)["load_models"] == "flowers.mar"


def test_an_archive_holds_the_network_and_all_that_answers_with_it(flowers: Path, layout: Path) -> None:
    with zipfile.ZipFile(layout / "model-store" / "flowers.mar") as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        for name in ("model.json", "golden.json", "model.pt2"):
            assert archive.read(name) == (flowers / name).read_bytes()
    assert {"preprocessing.onnx", "shipway/serving/torchserve/handler.py"} < set(names)
    assert "model.ts.pt" not in names
    assert manifest["model"]["modelName"] == "flowers"
    assert manifest["model"]["serializedFile"] == "model.pt2"


def test_the_settings_are_hardened(layout: Path) -> None:
    expected = {
        "enable_model_api": "false",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "use_env_allowed_urls": "false",
        "allowed_urls": "file:///mnt/models/model-store/.*",
        "metrics_mode": "prometheus",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
    }
    found = settings(layout)
    assert expected.items() <= found.items()
    assert all(
        found[f"{kind}_address"].startswith("http://127.0.0.1:") for kind in ("inference", "management", "metrics")
    )
    assert "service_envelope" not in found


def test_workers_and_batches_are_as_asked(flowers: Path, tmp_path: Path) -> None:
    create_archive(flowers, tmp_path / "out", "roses", "torchscript", Workers(3, 8, 5, 20))
    assert json.loads(settings(tmp_path / "out")["models"]) == {
        "roses": {
            "1.0": {
                "defaultVersion": True,
                "marName": "roses.mar",
                "minWorkers": 3,
                "maxWorkers": 3,
                "batchSize": 8,
                "maxBatchDelay": 5,
                "responseTimeout": 20,
            }
        }
    }
    with zipfile.ZipFile(tmp_path / "out" / "model-store" / "roses.mar") as archive:
        assert "model.ts.pt" in archive.namelist()


IN_ANOTHER_PROCESS = "import sys; from shipway.serving.torchserve.archive import create_archive as c; c(*sys.argv[1:])"


def test_the_same_model_gives_the_same_bytes(flowers: Path, layout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(flowers, copy, copy_function=shutil.copyfile)
    lifecycle = os.environ["SHIPWAY_PYTHON_LIFECYCLE"]  # where the component runs
    command = [lifecycle, "-c", IN_ANOTHER_PROCESS, str(copy), str(tmp_path / "again")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    for name in ("model-store/flowers.mar", "config/config.properties"):
        assert (tmp_path / "again" / name).read_bytes() == (layout / name).read_bytes()


# Python's own environment alone: what is imported of shipway comes out of the archive.
ALONE = """
import json, sys, zipfile
from ts.model_loader import TsModelLoader
archive, directory = sys.argv[1:]
zipfile.ZipFile(archive).extractall(directory)
sys.path.insert(0, directory)
service = TsModelLoader().load("flowers", directory, "shipway.serving.torchserve.handler", None, 1, None)
origins = {m.__file__ for n, m in sys.modules.items() if n.startswith("shipway.")}
assert origins and all(origin.startswith(directory) for origin in origins), origins
"""


def loaded_alone(archive: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", ALONE, str(archive), str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_archive_needs_nothing_of_shipway(layout: Path, tmp_path: Path) -> None:
    done = loaded_alone(layout / "model-store" / "flowers.mar", tmp_path / "extracted")
    assert done.returncode == 0, done.stderr


def rewritten(archive: Path, target: Path, entry: str, content: bytes) -> Path:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, content if name == entry else source.read(name))
    return target


def test_a_network_of_other_bytes_is_not_loaded(layout: Path, tmp_path: Path) -> None:
    altered = rewritten(layout / "model-store" / "flowers.mar", tmp_path / "flowers.mar", "model.pt2", b"not a network")
    done = loaded_alone(altered, tmp_path / "extracted")
    assert done.returncode == 1
    assert "holds model.pt2, not one that its model.json names" in done.stderr


def test_a_model_that_answers_otherwise_is_not_served(layout: Path, tmp_path: Path) -> None:
    archive = layout / "model-store" / "flowers.mar"
    with zipfile.ZipFile(archive) as source:
        golden = json.loads(source.read("golden.json"))
    golden["labels"] = golden["labels"][1:] + golden["labels"][:1]
    altered = rewritten(archive, tmp_path / "flowers.mar", "golden.json", json.dumps(golden).encode())
    done = loaded_alone(altered, tmp_path / "extracted")
    assert done.returncode == 1
    assert "does not answer its golden requests" in done.stderr


def variant(model: Path, target: Path, without: tuple[str, ...] = (), **changes: Any) -> Path:
    shutil.copytree(model, target)
    for name in without:
        (target / name).unlink()
    write_model(target, replace(read_model(target), **changes))
    return target


REFUSED = {
    "quantized": (("model.pt2", "model.ts.pt"), {}, {}, "quantized models have no native export; archive the Model"),
    "TensorFlow": ((), {"framework": "tensorflow"}, {}, "is of tensorflow; TorchServe serves PyTorch's: deploy it"),
    "format": ((), {}, {"model_format": "onnx"}, "must be one of pt2, torchscript"),
    "name": ((), {}, {"name": "../flowers"}, "is no name for TorchServe"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_with_what_to_do(case: str, flowers: Path, tmp_path: Path) -> None:
    without, changes, asked, reason = REFUSED[case]
    model = variant(flowers, tmp_path / "model", without, **changes)
    with pytest.raises(InputError, match=reason):
        create_archive(model, tmp_path / "out", **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_altered_model_is_refused_and_a_former_archive_stays(flowers: Path, layout: Path, tmp_path: Path) -> None:
    shutil.copytree(flowers, tmp_path / "model")
    shutil.copytree(layout, tmp_path / "out")
    with (tmp_path / "model" / "model.pt2").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"model\.pt2 has changed"):
        create_archive(tmp_path / "model", tmp_path / "out")
    assert (tmp_path / "out" / "model-store" / "flowers.mar").is_file()


@pytest.mark.parametrize("wrong", [(0, 1, 0, 1), (1, 0, 0, 1), (1, 1, -1, 1), (1, 1, 0, 0)])
def test_workers_out_of_range_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="must be at least"):
        Workers(*wrong)


def test_an_archive_is_found_in_a_layout_and_made_of_a_release(flowers: Path, layout: Path, tmp_path: Path) -> None:
    found = find_archive(layout, tmp_path, "pt2")
    assert (found.path, found.name) == (layout / "model-store" / "flowers.mar", "flowers")
    assert (found.description, found.golden) == (read_model(flowers), read_golden(flowers))
    made = find_archive(flowers.parent, tmp_path, "torchscript")
    assert made.path.is_relative_to(tmp_path)
    assert made.description == read_model(flowers)


def test_what_is_no_archive_of_ours_is_refused(layout: Path, tmp_path: Path) -> None:
    store = tmp_path / "model-store"
    store.mkdir()
    with pytest.raises(InputError, match=r"must hold one archive, .* it holds none"):
        find_archive(tmp_path, tmp_path, "pt2")
    (store / "flowers.mar").write_bytes(b"PK")
    with pytest.raises(InputError, match="is no archive of create_torchserve_archive"):
        find_archive(tmp_path, tmp_path, "pt2")
    manifest = {"model": {"modelName": "flowers", "handler": "image_classifier"}}
    archive = layout / "model-store" / "flowers.mar"
    rewritten(archive, store / "flowers.mar", "MAR-INF/MANIFEST.json", json.dumps(manifest).encode())
    with pytest.raises(InputError, match="handler 'image_classifier'"):
        find_archive(tmp_path, tmp_path, "pt2")
    shutil.copy(archive, store / "other.mar")
    with pytest.raises(InputError, match=r"it holds flowers\.mar, other\.mar"):
        find_archive(tmp_path, tmp_path, "pt2")
