"""Several processes on one port: all answer, all are counted, those that die are replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_support import FIXTURES, ask

from shipway.serving.processes import ServerProcess

WORKERS = 3
REQUESTS = 60
BODY = {"instances": [{"distance": 1.0, "wind": 0.5, "carrier": "AA"}]}


def command(python: str, ready: Path, *more: str) -> list[str]:
    named = ["--model-dir", str(FIXTURES / "binary"), "--name", "flights", "--ready-file", str(ready)]
    return [python, "-m", "shipway.serving.server", *named, "--port", "0", "--workers", str(WORKERS), *more]


def until(condition: Any, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.fixture
def server(serving_python: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(command(serving_python, ready))
    until(ready.exists)
    told = json.loads(ready.read_text())
    assert told["pid"] == process.pid
    yield process, f"http://127.0.0.1:{told['port']}"
    process.kill()
    process.wait()


def metrics(url: str) -> dict[str, list[Any]]:
    with urllib.request.urlopen(f"{url}/metrics") as response:
        return {f.name: f.samples for f in text_string_to_metric_families(response.read().decode())}


def workers(url: str) -> set[int]:
    """Returns the processes, which the metrics name; what /proc lists of a process's children may lack some."""
    return {int(sample.labels["worker"]) for sample in metrics(url)["shipway_waiting_rows"]}


def running(processes: set[int]) -> bool:
    return any(ServerProcess.of(process).running for process in processes)


def test_all_workers_answer_and_their_counts_are_one(server: tuple[subprocess.Popen[bytes], str]) -> None:
    _, url = server
    for _ in range(REQUESTS):  # a connection each, so that several workers accept
        assert ask(f"{url}/v1/models/flights:predict", BODY)[0] == 200
    told = metrics(url)
    assert [sample.value for sample in told["shipway_requests"]] == [REQUESTS]
    waits = [
        s.value for s in told["shipway_request_seconds"] if s.name.endswith("count") and s.labels["stage"] == "wait"
    ]
    assert waits == [REQUESTS]
    assert len(workers(url)) == WORKERS


def test_a_worker_that_dies_is_replaced(server: tuple[subprocess.Popen[bytes], str]) -> None:
    _, url = server
    before = workers(url)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(workers(url)) == WORKERS and len(workers(url) - before) == 1)
    assert ask(f"{url}/v1/models/flights:predict", BODY)[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(server: tuple[subprocess.Popen[bytes], str], number: signal.Signals) -> None:
    process, url = server
    before = workers(url)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert not running(before)


def test_no_worker_outlives_a_killed_parent(server: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = server
    before = workers(url)
    process.kill()
    process.wait()
    until(lambda: not running(before))


def test_a_server_whose_workers_cannot_start_ends_as_they_do(serving_python: str, tmp_path: Path) -> None:
    arguments = command(serving_python, tmp_path / "ready.json", "--model-dir", str(tmp_path))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no model at" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--workers", "0"], "--workers is 0; it must be from 1 to 256"),
        (["--allow-repository-changes"], "goes with one worker"),
        (["--reuse-port"], "goes with one worker"),
        (["--port", "65536"], "--port is 65536"),
        (["--timeout-seconds", "0"], "--timeout-seconds is 0.0"),
    ],
)
def test_options_that_cannot_be(serving_python: str, tmp_path: Path, options: list[str], reason: str) -> None:
    arguments = command(serving_python, tmp_path / "ready.json", *options)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert reason in done.stderr
