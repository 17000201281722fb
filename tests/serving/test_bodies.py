"""Bodies that come late, never, or too large."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from serving_support import FIXTURES
from serving_thread import running

from shipway.serving.openinference.application import Application
from shipway.serving.openinference.models import load_model
from shipway.serving.openinference.repository import Repository

BODY = b'{"instances": [{"distance": 1.0, "wind": 0.5, "carrier": "AA"}]}'


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    repository = Repository({"flights": FIXTURES / "binary"}, load_model)
    application = Application(repository, most_body_bytes=1000, body_timeout_seconds=0.5)
    with running(application) as address:
        yield address


def answer(address: tuple[str, int], *parts: bytes, length: int = len(BODY), pause_seconds: float = 0.05) -> str:
    """Sends the head of a request and parts of its body, some time apart; returns all that comes back."""
    head = b"POST /v1/models/flights:predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    with socket.create_connection(address, 10) as connection:
        connection.sendall(head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % length)
        for part in parts:
            time.sleep(pause_seconds)
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    return received.decode()


def test_a_body_in_pieces_is_one_body(address: tuple[str, int]) -> None:
    assert answer(address, BODY[:10], BODY[10:40], BODY[40:]).startswith("HTTP/1.1 200")


@pytest.mark.parametrize("parts", [(), (BODY[:10],), (BODY[:10], BODY[10:20])])
def test_a_body_that_does_not_come_is_not_waited_for(address: tuple[str, int], parts: tuple[bytes, ...]) -> None:
    said = answer(address, *parts)
    assert said.startswith("HTTP/1.1 408")
    assert "the body did not come within 0.5 s" in said
    assert "connection: close" in said


@pytest.mark.parametrize("length", [1001, 10**9])
def test_a_body_that_is_too_large_is_refused_before_all_of_it_is_there(address: tuple[str, int], length: int) -> None:
    said = answer(address, b" " * 1001, length=length)
    assert said.startswith("HTTP/1.1 413")
    assert "larger than 1,000 bytes" in said
