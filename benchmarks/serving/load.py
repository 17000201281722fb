"""The client: ``python -m benchmarks.serving.load`` reads a job as JSON, loads a server, and prints a Sample as JSON.

As many requests are under way at any time as there are connections, which are kept alive. Every answer is looked at:
those that came before, byte by byte, are right; others are compared with what the model says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving.malformed import MALFORMED, load_malformed
from benchmarks.serving.questions import Question, WrongAnswer, questions
from benchmarks.serving.sample import Sample, Window

__all__ = ["Job"]

_WARM_SECONDS = 0.4
_LAST_CHUNK = b"0\r\n\r\n"
_GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclasses.dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        model: The Model directory that is served.
        name: Of the model in the URLs.
        protocol: One of :data:`.questions.PROTOCOLS`, or :data:`.malformed.MALFORMED`.
        rows: Of a request.
        port: The server's, on the loopback interface.
        server: The process that was started as the server.
        connections: How many, each with a request under way.
        seconds: How long to measure.
        requests: Ends after so many instead; 0 goes by the time.
        core: Where to run.
        other: A Model directory whose answers are right as well; "" for none.
    """

    model: str
    name: str
    protocol: str
    rows: int
    port: int
    server: int
    connections: int = 16
    seconds: float = 2.0
    requests: int = 0
    core: int = 0
    other: str = ""


def main() -> None:
    """Does the job."""
    job = Job(**json.load(sys.stdin))
    os.sched_setaffinity(0, {job.core})
    print(json.dumps(dataclasses.asdict(_sample(job))))


def _sample(job: Job) -> Sample:
    if job.protocol == MALFORMED:
        return load_malformed(job.name, job.port, job.seconds, Window(job.server))
    models = [job.model, job.other] if job.other else [job.model]
    asked = [questions(Path(model), job.name, job.protocol, job.rows) for model in models]
    return asyncio.run(_grpc(job, asked)) if job.protocol == "gRPC" else _Http(job, asked).run()


class _Known:
    """The answers that were found to be right."""

    def __init__(self, asked: list[list[Question]]) -> None:
        """Takes the same requests for each model whose answers are right."""
        self._asked = list(zip(*asked, strict=True))
        self._right: list[set[bytes]] = [set() for _ in self._asked]

    def check(self, number: int, body: bytes, json_length: int | None = None) -> None:
        if body in self._right[number]:
            return
        first, *others = self._asked[number]
        try:
            first.check(body, json_length)
        except WrongAnswer:
            if not others:
                raise
            others[0].check(body, json_length)
        self._right[number].add(body)


@dataclasses.dataclass(slots=True)
class _Connection:
    socket: socket.socket
    number: int
    sent: float = 0.0
    received: bytes = b""


class _Http:
    """Plain sockets in one thread: it must not take the time that it measures."""

    def __init__(self, job: Job, asked: list[list[Question]]) -> None:
        self._job, self._known, self._window = job, _Known(asked), Window(job.server)
        self._requests = [_request(question, job.port) for question in asked[0]]
        self._heads: dict[bytes, tuple[str, int | None, int | None]] = {}
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}

    def run(self) -> Sample:
        for number in range(self._job.connections):
            self._open(number)
        if not self._job.requests:
            self._until(time.perf_counter() + _WARM_SECONDS)
        self._window.begin()
        self._until(time.perf_counter() + self._job.seconds, self._job.requests)
        return self._window.end()

    def _until(self, end: float, requests: int = 0) -> None:
        window, poll, connections = self._window, self._poll.poll, self._connections
        while (window.answered < requests) if requests else (time.perf_counter() < end):
            for descriptor, _ in poll(1.0):
                self._receive(connections[descriptor])

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        received = connection.received + data if connection.received else data
        end = received.find(b"\r\n\r\n") + 4
        if not data:
            return self._closed(connection)
        if end < 4:
            connection.received = received
            return None
        status, length, json_length = self._head(received[:end])
        is_complete = received.endswith(_LAST_CHUNK) if length is None else len(received) >= end + length
        if not is_complete:
            connection.received = received
            return None
        seconds = time.perf_counter() - connection.sent
        body = received[end:] if length is not None else _unchunked(received[end:])
        if status == "200":
            try:
                self._known.check(connection.number, body, json_length)
                self._window.latencies.append(seconds)
            except WrongAnswer as error:
                self._window.fail(f"wrong: {error}")
        else:
            self._window.fail(f"{status}: {body[:300]!r}")
        return self._send(connection, (connection.number + 1) % len(self._requests))

    def _head(self, head: bytes) -> tuple[str, int | None, int | None]:
        """Returns the status, how long the body is where that is said, and how long its JSON is, likewise."""
        known = self._heads.get(head)
        if known is None:
            lines = head.decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            lengths = [fields.get(name) for name in ("content-length", "inference-header-content-length")]
            whole, of_json = [None if length is None else int(length) for length in lengths]
            known = lines[0].split()[1], whole, of_json
            self._heads[head] = known
        return known

    def _open(self, number: int) -> None:
        opened = socket.create_connection(("127.0.0.1", self._job.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll.register(opened, select.EPOLLIN)
        connection = self._connections[opened.fileno()] = _Connection(opened, number)
        self._send(connection, number % len(self._requests))

    def _send(self, connection: _Connection, number: int) -> None:
        connection.number, connection.received = number, b""
        connection.sent = time.perf_counter()
        try:
            connection.socket.sendall(self._requests[number])
        except ConnectionError:
            self._closed(connection)

    def _closed(self, connection: _Connection) -> None:
        self._window.fail("the connection was closed")
        self._poll.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._open(connection.number)


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        end = int(size, 16)
        parts.append(body[:end])
        body = body[end + 2 :]
    return b"".join(parts)


def _request(question: Question, port: int) -> bytes:
    fields = {
        "Host": f"127.0.0.1:{port}",
        "User-Agent": "load",
        "Accept": "*/*",
        **question.headers,
        "Content-Length": str(len(question.body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {question.path} HTTP/1.1\r\n{head}\r\n".encode() + question.body


async def _grpc(job: Job, asked: list[list[Question]]) -> Sample:
    """Each channel has a connection of its own."""
    import grpc

    known, window, bodies = _Known(asked), Window(job.server), [question.body for question in asked[0]]
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{job.port}", options) for _ in range(job.connections)]
    running = True

    async def ask(channel: grpc.aio.Channel, number: int) -> None:
        call: Callable[[bytes], grpc.aio.UnaryUnaryCall[bytes, bytes]] = channel.unary_unary(_GRPC_METHOD)
        while running:
            number = (number + 1) % len(bodies)
            sent = time.perf_counter()
            try:
                body = await call(bodies[number])
                seconds = time.perf_counter() - sent
                known.check(number, body)
                window.latencies.append(seconds)
            except grpc.aio.AioRpcError as error:
                window.fail(f"{error.code().name}: {error.details()}"[:300])
            except WrongAnswer as error:
                window.fail(f"wrong: {error}")

    tasks = [asyncio.ensure_future(ask(channel, number)) for number, channel in enumerate(channels)]
    await asyncio.sleep(_WARM_SECONDS)
    window.begin()
    await asyncio.sleep(job.seconds)
    sample = window.end()
    running = False
    await asyncio.gather(*tasks)
    await asyncio.gather(*(channel.close() for channel in channels))
    return sample


if __name__ == "__main__":
    main()
