"""Fixtures of the tests that run pipelines."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfp.compiler import Compiler

from shipway.pipelines.environments import run_uv

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


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small real tables: ``cancer.csv`` (scikit-learn's breast_cancer) and ``penguins.csv`` (palmerpenguins)."""
    directory = tmp_path_factory.mktemp("tables")
    code = "import sys, sklearn.datasets as d; d.load_breast_cancer(as_frame=True).frame.to_csv(sys.argv[1])"
    command = [SHIPWAY, "env", "python", "data", "-c", code, directory / "cancer.csv"]
    subprocess.run(list(map(str, command)), check=True)
    package = directory / "package"
    install = ("pip", "install", "--no-deps", "--python", sys.executable, "--target", str(package))
    run_uv("the penguins", *install, "palmerpenguins==0.1.4")
    shutil.copy(package / "palmerpenguins" / "data" / "penguins.csv", directory / "penguins.csv")
    return directory


@pytest.fixture(scope="session")
def endpoints_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment variables of runs whose endpoints are stopped when the tests end."""
    variables = {**os.environ, "SHIPWAY_STATE_DIR": str(tmp_path_factory.mktemp("state"))}
    yield variables
    subprocess.run([SHIPWAY, "endpoints", "stop", "--all"], env=variables, check=True)
