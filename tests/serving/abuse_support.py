"""A server to be abused, and raw requests that no client library would send."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from serving_support import FIXTURES, ask

from shipway.components.common.model import read_golden, read_model
from shipway.serving.client import EndpointClient

NAME = "images"
MOST_GROWTH_MIB = 12  # of a server, from being asked the same for the second time on
PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
MODEL = read_model(FIXTURES / "vector")
GOLDEN = read_golden(FIXTURES / "vector")
ROW = {"distance": "1.0", "wind": "0.5", "carrier": '"AA"', "pixels": "[0, 1.5, -2, 3]"}


class Abused(NamedTuple):
    """A server of the vector fixture."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    @property
    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def post(self, path: str, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, Any]:
        return ask(self.url + path, body, content_type, **headers)

    def is_well(self) -> None:
        """It answers as after training, and has nothing to report."""
        client = EndpointClient(self.url, NAME)
        for answer in (
            client.predict(GOLDEN.instances, MODEL.label_names),
            client.infer(GOLDEN.instances, MODEL.inputs),
        ):
            assert answer.labels == list(GOLDEN.labels)
            np.testing.assert_allclose(answer.scores, GOLDEN.scores, atol=1e-6)
        assert self.process.poll() is None
        log = self.log.read_text()
        assert "Traceback" not in log, log
        assert "ERROR" not in log, log


@contextlib.contextmanager
def abused(python: str, directory: Path, *options: str, models: Path | None = None) -> Iterator[Abused]:
    """Starts a server, of several models where a directory has them; it must be well when it ends."""
    ready, log = directory / "ready.json", directory / "log"
    served = ["--model-dir", str(models)] if models else ["--model-dir", str(FIXTURES / "vector"), "--name", NAME]
    command = [python, "-m", "shipway.serving.server", *served]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", "0", "--ready-file", str(ready), *options], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.02)
        server = Abused(f"http://127.0.0.1:{json.loads(ready.read_text())['port']}", process, log)
        yield server
        server.is_well()
    finally:
        process.terminate()
        process.wait(20)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def head(target: str = PREDICT, *headers: str, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {target} {version}", "host: test", *headers, "", ""]).encode("latin-1")


def request(target: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    """A request as it should be; more headers may spoil it."""
    lines = ["content-type: application/json", *headers, f"content-length: {len(body)}"]
    return head(target, *lines, method=method) + body


def exchange(address: tuple[str, int], *parts: bytes, pause_seconds: float = 0.0, heads: int = 0) -> list[Answer]:
    """Sends parts and reads until the server ends the connection: what it answers, in order.

    Args:
        address: The server's.
        parts: Sent after each other.
        pause_seconds: Between them.
        heads: How many of the answers are to ``HEAD`` and so have no body, from the first on.

    Raises:
        OSError: When the connection is reset, or nothing comes for ten seconds.
    """
    with socket.create_connection(address, 10) as connection:
        for part in parts:
            connection.sendall(part)
            if pause_seconds:
                time.sleep(pause_seconds)
        received = b""
        while chunk := connection.recv(1 << 16):
            received += chunk
    return answers_in(received, heads)


def answers_in(received: bytes, heads: int = 0) -> list[Answer]:
    """Takes what a server sent apart."""
    answers = []
    while received:
        told, _, received = received.partition(b"\r\n\r\n")
        status, *lines = told.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        code = int(status.split()[1])
        size = 0 if code == 100 or len(answers) < heads else int(headers["content-length"])
        answers.append(Answer(code, headers, received[:size]))
        received = received[size:]
    return answers


def instance(**changes: str | None) -> str:
    """A v1 instance; values are JSON texts, None leaves a feature out."""
    values = {**ROW, **changes}
    pairs = ", ".join(f'"{name}": {value}' for name, value in values.items() if value is not None)
    return f"{{{pairs}}}"


def instances(*rows: str, more: str = "") -> bytes:
    """A v1 body."""
    return f'{{"instances": [{", ".join(rows or (instance(),))}]{more}}}'.encode()


TENSORS = {
    "distance": ("FP32", "[2]", "[1.0, null]"),
    "wind": ("FP64", "[2]", "[0.5, 2]"),
    "carrier": ("BYTES", "[2]", '["AA", null]'),
    "pixels": ("FP32", "[2, 4]", "[0, 1.5, -2, 3, null, 1, 2, 3]"),
}


def tensor(name: str, datatype: str = "", shape: str = "", data: str = "", more: str = "") -> str:
    """A v2 input; shape and data are JSON texts."""
    usual = TENSORS.get(name, TENSORS["wind"])
    kind = datatype or usual[0]
    told = kind if kind.startswith(("{", "[", '"')) or kind.isdigit() or kind == "null" else f'"{kind}"'
    values = data or usual[2]
    return f'{{"name": "{name}", "datatype": {told}, "shape": {shape or usual[1]}, "data": {values}{more}}}'


def inputs(*given: str, more: str = "", before: str = "") -> bytes:
    """A v2 body: the usual inputs, with those given in the place of the ones that have their names."""
    names = {re.match(r'\{"name": "(\w+)"', text)[1]: text for text in given}
    usual = {name: tensor(name) for name in TENSORS}
    return f'{{{before}"inputs": [{", ".join((usual | names).values())}]{more}}}'.encode()


def deep(opening: str, closing: str, depth: int) -> str:
    """Nested brackets."""
    return opening * depth + closing * depth


def refuses(answered: tuple[int, Any], reason: str, expected: int = 400) -> None:
    """What was answered is an error with this reason, and short."""
    status, answer = answered
    assert status == expected, answer
    assert answer.keys() == {"error"}
    assert reason in answer["error"]
    assert len(answer["error"]) < 1100


def chunks(*parts: bytes) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def predict(*headers: str, body: bytes = instances()) -> bytes:
    """A request of v1, the last of its connection, without a header for its body's length."""
    return head(PREDICT, "content-type: application/json", "connection: close", *headers) + body
