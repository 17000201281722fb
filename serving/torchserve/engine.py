"""TorchServe as an engine: a batch becomes one request to it, in v2's binary form, over a connection that is kept."""

from __future__ import annotations

import http.client
import math
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription
from shipway.serving.engines.engine import Answer, Tensors, Unavailable
from shipway.serving.openinference.binary import packed, unpacked
from shipway.serving.openinference.door import BadRequest
from shipway.serving.openinference.golden import golden_check
from shipway.serving.torchserve.layout import Archive
from shipway.serving.torchserve.process import TorchServe

__all__ = ["TorchServeEngine", "WatchedEngine"]

_LENGTH_HEADER = "Inference-Header-Content-Length"
# A check may take so many times what the one before took, and so long at least.
_PATIENCE, _LEAST_CHECK_SECONDS = 10, 2.0


class TorchServeEngine:
    """An archive in a TorchServe; an :class:`.engine.Engine`, asked by one thread at a time."""

    platform = "pytorch_torchserve"

    def __init__(self, server: TorchServe, archive: Archive, timeout_seconds: float) -> None:
        """Takes who is asked for what, and how long an answer may take."""
        self.description: ModelDescription = archive.description
        self._server, self._timeout_seconds = server, timeout_seconds
        self._path = f"/predictions/{archive.name}"
        self._connection: _Connection | None = None
        self._headers: dict[str, str] = {}

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch; see :meth:`.engine.Engine.run`.

        Raises:
            Unavailable: When TorchServe does not answer.
            BadRequest: When the archive refuses what was let in here.
        """
        head, raw = _request(tensors)
        try:
            status, headers, body = self._asked(head, raw)
        except (OSError, http.client.HTTPException, InputError) as error:  # InputError: it has written no token yet
            self._connection = None
            raise Unavailable(f"TorchServe does not answer: {error!r}; try again later") from error
        if status == 200:
            rows = len(next(iter(tensors.values())))
            return self._answer(body[int(headers[_LENGTH_HEADER]) :], rows)
        said = body[:500].decode(errors="replace")
        if status == 400:
            raise BadRequest(f"TorchServe's handler refuses the request: {said}")
        raise Unavailable(f"TorchServe answers {status}: {said}; try again later")

    def _asked(self, head: bytes, raw: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._headers = {
                "Authorization": f"Bearer {self._server.token}",
                "Content-Type": "application/octet-stream",
            }
            self._connection = _Connection(self._server.inference, self._timeout_seconds)
        self._connection.request("POST", self._path, head + raw, {**self._headers, _LENGTH_HEADER: str(len(head))})
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def _answer(self, raw: bytes, rows: int) -> Answer:
        classes = len(self.description.label_names)
        size = 4 * rows * classes
        scores: NDArray[np.float32] = np.frombuffer(raw[:size], "<f4").reshape(rows, classes)
        return scores, np.array(unpacked(raw[size:], rows), object)


class WatchedEngine:
    """An engine of which it is known whether it answers; while it does not, requests are refused at once.

    Attributes:
        description: What ``model.json`` says.
        platform: The engine's.
        up: Whether it answered when it was last asked.
    """

    def __init__(self, server: TorchServe, archive: Archive, timeout_seconds: float) -> None:
        """Takes who is asked for what, and how long an answer may take."""
        self._engine = TorchServeEngine(server, archive, timeout_seconds)
        self._server, self._archive = server, archive
        self._check_timeout_seconds = timeout_seconds
        self.description, self.platform = archive.description, self._engine.platform
        self.up = self._asking = self._answered = False

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch; see :meth:`.engine.Engine.run`."""
        if not self.up:
            raise Unavailable("TorchServe does not answer; try again later")
        self._asking = True
        try:
            answer = self._engine.run(tensors)
        except Unavailable:
            self.up = False
            raise
        finally:
            self._asking = False
        self.up = self._answered = True
        return answer

    def check(self, most_seconds: float = math.inf) -> None:
        """Has it answer its golden requests, unless it has answered others since, or is about to.

        Args:
            most_seconds: How long it may take at the most.

        Raises:
            Unavailable: When TorchServe does not answer.
            DeploymentError: When it answers otherwise than it did after training.
        """
        if self.up and (self._asking or self._answered):
            self._answered = False
            return
        started, timeout_seconds = time.perf_counter(), min(self._check_timeout_seconds, most_seconds)
        try:
            golden_check(TorchServeEngine(self._server, self._archive, timeout_seconds), self._archive.golden)
        except BaseException:
            self.up = False
            raise
        self.up = True
        self._check_timeout_seconds = max(_LEAST_CHECK_SECONDS, _PATIENCE * (time.perf_counter() - started))


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("torchserve", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _request(tensors: Tensors) -> tuple[bytes, bytes]:
    inputs: list[dict[str, Any]] = []
    parts = []
    for name, values in tensors.items():
        text = values.dtype == object
        part = packed(values.tolist()) if text else values.astype("<f4", copy=False).tobytes()
        parts.append(part)
        sizes = {"binary_data_size": len(part)}
        kind = "BYTES" if text else "FP32"
        inputs.append({"name": name, "datatype": kind, "shape": list(values.shape), "parameters": sizes})
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return head, b"".join(parts)
