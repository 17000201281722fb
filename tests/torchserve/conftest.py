from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Importlib mode leaves the tests' directories out of the path; this one holds torchserve_support.
sys.path.insert(0, str(Path(__file__).parent))

from torchserve_support import Front

from shipway.serving.torchserve.archive import create_archive


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the directories ``flowers`` and ``images``, each with a trained ``model``."""
    root = tmp_path_factory.mktemp("models")
    python = os.environ["SHIPWAY_PYTHON_PYTORCH"]
    subprocess.run([python, str(Path(__file__).with_name("make_models.py")), str(root)], check=True)
    return root


@pytest.fixture(scope="session")
def flowers(models: Path) -> Path:
    return models / "flowers" / "model"


@pytest.fixture(scope="session")
def images(models: Path) -> Path:
    return models / "images" / "model"


@pytest.fixture(scope="session")
def layout(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KServe's layout of the model flowers."""
    directory = tmp_path_factory.mktemp("kserve") / "models"
    create_archive(flowers, directory)
    return directory


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """Starts fronts that end with the module."""
    started: list[Front] = []

    def front(model: Path, *options: str) -> Front:
        started.append(Front(tmp_path_factory.mktemp("f"), model, *options))
        return started[-1]

    yield front
    for each in started:
        if each.process.poll() is None:
            each.end()
