"""Servers as processes, and what of them is left."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FRONT = [sys.executable, "-m", "shipway.serving.torchserve.server"]
START_SECONDS = 90


class Front:
    """A running front with its TorchServe."""

    def __init__(self, directory: Path, model: Path, *options: str) -> None:
        ready = directory / "ready.json"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.log = directory / "server.log"
        with self.log.open("wb") as log:
            command = [*FRONT, "--model-dir", str(model), "--port", "0", "--ready-file", str(ready), *options]
            environment = {**os.environ, "TMPDIR": str(self.temporary)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.pids = {self.process.pid}
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, "the front is ready", START_SECONDS)
            assert ready.exists(), self.log.read_text()
        except BaseException:
            self.process.kill()
            raise
        told = json.loads(ready.read_text())
        self.port, self.grpc_port = told["port"], told.get("grpc_port")
        self.url = f"http://127.0.0.1:{self.port}"
        self.java = only(children(self.process.pid))
        self.worker = only(children(self.java))
        self.pids |= {self.java, self.worker}

    @property
    def directory(self) -> Path:
        """TorchServe's."""
        return only(list(self.temporary.glob("torchserve-*")))

    @property
    def left(self) -> list[str]:
        return left_in(self.temporary)

    @property
    def is_ready(self) -> bool:
        status, answer = ask(self.url, "/v2/health/ready")
        assert answer == {"ready": status == 200}
        return status == 200

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def ask(url: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Sends JSON or bytes (POST), or nothing (GET); returns the status and the decoded answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    return exchanged(connection, path, body, **headers)


def exchanged(
    connection: http.client.HTTPConnection, path: str, body: Any = None, method: str = "", **headers: str
) -> tuple[int, Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(
        method or ("GET" if data is None else "POST"), path, data, {"Content-Type": "application/json", **headers}
    )
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    try:
        return response.status, json.loads(raw)
    except ValueError:
        return response.status, raw


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("torchserve", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left_in(directory: Path) -> list[str]:
    """Returns what is there, but for ONNX Runtime's session file."""
    return [path.name for path in directory.iterdir() if path.name != ".ses"]


def only(values: list[Any]) -> Any:
    (value,) = values
    return value
