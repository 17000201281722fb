"""Models with the native exports of the framework whose environment this is; with none of them, models of ONNX only."""

import importlib.util
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from shipway.components.common.model import read_model, write_model

TESTS = Path(__file__).parents[1]
# Importlib mode leaves the tests' directories out of the path; these hold what suites share.
sys.path += [str(Path(__file__).parent), str(TESTS / "serving")]

FRAMEWORK = "pytorch" if find_spec("torch") else "tensorflow" if find_spec("tensorflow") else ""
collect_ignore = [] if FRAMEWORK else ["test_native_exports.py"]


def _trainers():
    spec = importlib.util.spec_from_file_location("trainers", TESTS / FRAMEWORK / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two Models of the family's own trainer that answer differently."""
    if not FRAMEWORK:
        return [TESTS / "serving/fixtures/binary", TESTS / "serving/fixtures/binary_other"]
    trainers, root = _trainers(), tmp_path_factory.mktemp("trained")
    trainers.write(trainers.flowers(600, 0), root / "train")
    trainers.write(trainers.flowers(200, 1), root / "validation")
    return [trainers.train(root, f"model_{seed}", epochs=2, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture
def changed(model, tmp_path):
    """Copies the model, has a function change its files, and makes its digests fit."""

    def change(edit):
        copy = tmp_path / "changed"
        shutil.copytree(model, copy)
        edit(copy)
        write_model(copy, read_model(copy))
        return copy

    return change
