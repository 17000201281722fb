"""Fixtures of the tests that run pipelines."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp.compiler import Compiler

TOY = Path(__file__).with_name("toy.py")
SHIPWAY = Path(sys.executable).with_name("shipway")


@pytest.fixture(scope="session")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy pipeline, compiled."""
    module_spec = importlib.util.spec_from_file_location("toy", TOY)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("toy") / "toy.yaml"
    Compiler().compile(module.toy, str(path))
    return path


@pytest.fixture
def shipway(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in an empty directory."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(SHIPWAY), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, **options)

    return run
