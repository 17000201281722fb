"""What the tests of the router share: arms, clients and readings of its metrics."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving_support import FIXTURES

from shipway.components.common.artifacts import read_json
from shipway.serving.routing.route import Arm, Route
from shipway.serving.sockets import free_port

MODEL = "m"
PREDICT = f"/v1/models/{MODEL}:predict"


class ArmServer:
    """One of the project's servers; started again, it has the same ports."""

    def __init__(self, fixture: str, directory: Path) -> None:
        self.model = FIXTURES / fixture
        self.ports = free_port("127.0.0.1"), free_port("127.0.0.1")
        self._ready = directory / f"{fixture}.json"
        golden = read_json(self.model / "golden.json")
        self.question = json.dumps({"instances": golden["instances"]}).encode()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self) -> None:
        self._ready.unlink(missing_ok=True)
        rest, grpc = map(str, self.ports)
        command = [sys.executable, "-m", "shipway.serving.server", "--model-dir", str(self.model), "--name", MODEL]
        self.process = subprocess.Popen(
            [*command, "--port", rest, "--grpc-port", grpc, "--ready-file", str(self._ready)]
        )
        deadline = time.monotonic() + 60
        while not self._ready.exists():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class PlainArm:
    """Answers each POST with its own name and what it got, after a while, or breaks off instead."""

    def __init__(self, name: str, wait_seconds: float = 0, dies: bool = False, status: int = 200) -> None:
        self.got: list[tuple[dict[str, str], int]] = []
        arm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece

            def do_POST(self) -> None:
                size = sum(map(len, _body(self)))
                arm.got.append((dict(self.headers), size))
                time.sleep(wait_seconds)
                if dies:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    return
                self.send_response(status)
                answer = json.dumps({"arm": name, "bytes": size}).encode()
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that has gone

            def server_bind(self) -> None:
                socketserver.TCPServer.server_bind(self)  # without the look-up of its own name

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _body(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    left = int(handler.headers.get("Content-Length") or 0)
    while left:
        part = handler.rfile.read(min(left, 1 << 20))
        if not part:
            return
        left -= len(part)
        yield part


def nobody() -> str:
    """Returns a URL at which nobody listens."""
    return f"http://127.0.0.1:{free_port('127.0.0.1')}"


def route_of(stable: str, canary: str, canary_percent: int = 10, **options: Any) -> Route:
    shadow = [Arm("shadow", options.pop("shadow"))] if "shadow" in options else []
    arms = [Arm("stable", stable, 100 - canary_percent), Arm("canary", canary, canary_percent), *shadow]
    return Route("r", arms, mirror="shadow" if shadow else "", **options)


class Client:
    """A keep-alive connection that asks once: what fails has failed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)

    def post(self, body: bytes = b"x", path: str = PREDICT, **headers: str) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("POST", path, body, {"Content-Type": "application/json", **named})
        response = self._connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        return response

    def arm(self, **headers: str) -> str:
        response = self.post(**headers)
        assert response.status == 200, response.content  # type: ignore[attr-defined]
        return str(response.headers["x-shipway-arm"])

    @property
    def connected(self) -> bool:
        return self._connection.sock is not None

    def close(self) -> None:
        self._connection.close()


class Load:
    """Asks from several threads until the block ends; collects how often which arm answered what, and failures."""

    def __init__(self, url: str, body: bytes, right: Mapping[str, bytes] | None = None) -> None:
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self.failures: list[str] = []
        self._url, self._body, self._right = url, body, right
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(6)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        client = Client(self._url)
        while not self._over.is_set():
            how = "on its connection" if client.connected else "on a new connection"
            try:
                response = client.post(self._body)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__} {how}")
                client = Client(self._url)
                continue
            arm, content = str(response.headers["x-shipway-arm"]), response.content  # type: ignore[attr-defined]
            with self._lock:
                self.answers[arm, response.status] += 1
                if response.status != 200 or (self._right and content != self._right[arm]):
                    self.failures.append(f"{arm} answered {response.status}: {content[:200]!r}")
        client.close()


def metrics(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the router's metrics: name, labels as they are written, value."""
    found: dict[str, dict[str, float]] = {}
    with urllib.request.urlopen(record["metrics_url"], timeout=10) as response:
        text = response.read().decode()
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def listening(pid: int) -> set[str]:
    """Returns the addresses on which a process listens, as the kernel writes them."""
    handles = (Path(f"/proc/{pid}/fd") / name for name in os.listdir(f"/proc/{pid}/fd"))
    sockets = {os.readlink(handle) for handle in handles if handle.is_symlink()}
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {fields[1].partition(":")[0] for fields in lines if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets}
