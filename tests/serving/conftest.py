from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipway.serving import endpoints

# Importlib mode leaves the tests' directories out of the path; this one holds serving_support.
sys.path.insert(0, str(Path(__file__).parent))

from abuse_support import Abused, abused


@pytest.fixture(scope="session")
def serving_python() -> str:
    python = os.environ.get(endpoints.PYTHON_VARIABLE)
    if not python:
        pytest.fail(f"{endpoints.PYTHON_VARIABLE} must name the serving environment's interpreter; `make test` sets it")
    return python


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serving_python: str) -> Iterator[Path]:
    directory = tmp_path / "state"
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(directory))
    yield directory
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(directory))
    endpoints.stop_all()


@pytest.fixture(scope="session")
def start_server(serving_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts the server on a model directory; returns its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(model: Path, name: str) -> str:
        ready = tmp_path_factory.mktemp("ready") / "ready.json"
        command = [serving_python, "-m", "shipway.serving.server", "--model-dir", str(model), "--name", name]
        process = subprocess.Popen([*command, "--port", "0", "--ready-file", str(ready)])
        started.append(process)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.02)
        return f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


@pytest.fixture(scope="module")
def server(serving_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abused]:
    """A server to be abused, which must be well afterwards."""
    with abused(serving_python, tmp_path_factory.mktemp("abused")) as server:
        yield server
