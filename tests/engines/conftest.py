"""Models with the native exports of the framework whose environment this is; with none of them, models of ONNX only."""

import shutil
import sys
from pathlib import Path

import pytest

from shipway.components.common.model import read_model, write_model

# Importlib mode leaves the tests' directories out of the path; this one holds what its tests share.
sys.path.append(str(Path(__file__).parent))

from trained_models import FRAMEWORK, trained_models

FIXTURES = Path(__file__).parents[1] / "serving/fixtures"
collect_ignore = [] if FRAMEWORK else ["test_native_exports.py"]
if FRAMEWORK != "pytorch":
    collect_ignore.append("test_torch_archives.py")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two Models that answer differently."""
    if not FRAMEWORK:
        return [FIXTURES / "binary", FIXTURES / "binary_other"]
    return trained_models(tmp_path_factory.mktemp("trained"), 2)


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
