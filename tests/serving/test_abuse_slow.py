"""Clients that are slow without end: each is told so, or cut off, before its patience or the server's memory ends."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator

import pytest
from abuse_support import answers_in, head, request
from serving_support import FIXTURES
from serving_thread import running

from shipway.serving.openinference import connections
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.models import load_model
from shipway.serving.openinference.repository import Repository

SECONDS = 1.0
TARGET = "/v1/models/flights:predict"
ROW = b'{"distance": 1.0, "wind": 0.5, "carrier": "AA"}'


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "_WRITE_SECONDS", SECONDS)
    repository = Repository({"flights": FIXTURES / "binary"}, load_model)
    with running(Application(repository, body_timeout_seconds=SECONDS)) as address:
        yield address


def trickled(address: tuple[str, int], first: bytes, rest: Iterator[bytes]) -> tuple[bytes, float]:
    """Sends a byte now and then until the server has enough; returns what it said, and after how long."""
    started, received = time.monotonic(), b""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        while time.monotonic() - started < 10:
            with contextlib.suppress(TimeoutError):
                chunk = connection.recv(4096)
                if not chunk:
                    break
                received += chunk
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(next(rest))
    return received, time.monotonic() - started


def test_a_head_that_never_ends(address: tuple[str, int]) -> None:
    said, seconds = trickled(address, head(TARGET)[:-2], itertools.repeat(b"x"))
    (answer,) = answers_in(said)
    assert (answer.status, answer.error) == (408, f"the headers did not come within {SECONDS:g} s")
    assert seconds < SECONDS + 3


def test_a_body_that_never_ends(address: tuple[str, int]) -> None:
    said, seconds = trickled(address, head(TARGET, "content-length: 1000"), itertools.repeat(b" "))
    (answer,) = answers_in(said)
    assert (answer.status, answer.error) == (408, f"the body did not come within {SECONDS:g} s")
    assert seconds < SECONDS + 3


def test_a_body_of_a_get_that_never_ends(address: tuple[str, int]) -> None:
    said, _ = trickled(address, head("/v2/health/live", "content-length: 9", method="GET"), itertools.repeat(b""))
    assert [answer.status for answer in answers_in(said)] == [408]


def test_an_answer_that_nobody_fetches(address: tuple[str, int]) -> None:
    sent = request(TARGET, b'{"instances": [%b]}' % b", ".join([ROW] * 20_000)) * 8
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.settimeout(20)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            keep_sending(connection, sent)


def keep_sending(connection: socket.socket, sent: bytes) -> None:
    while True:
        connection.sendall(sent)
