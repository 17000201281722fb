"""Clients that send in pieces, one after the other, too much, too slowly, or leave: nobody else notices."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from abuse_support import (
    INFER,
    NAME,
    PREDICT,
    Abused,
    answers_in,
    chunks,
    exchange,
    head,
    inputs,
    instance,
    instances,
    predict,
    request,
)
from serving_support import ask

BODY = instances()
JSON = "content-type: application/json"
CLOSE = "connection: close"
LENGTH = f"content-length: {len(BODY)}"
CHUNKED = "transfer-encoding: chunked"


@pytest.mark.parametrize(
    "sent",
    [
        predict(LENGTH),
        predict(CHUNKED, body=chunks(BODY)),
        predict(CHUNKED, body=chunks(*(BODY[i : i + 1] for i in range(len(BODY))))),
        predict(CHUNKED, body=chunks(BODY).replace(b"\r\n", b";a=b\r\n", 1)),
        predict(CHUNKED, body=chunks(BODY)[:-2] + b"x-trailer: a\r\n\r\n"),
        head(PREDICT, JSON, LENGTH, version="HTTP/1.0") + BODY,
        predict(LENGTH, "content-encoding: identity"),
        head(PREDICT, CLOSE, LENGTH) + BODY,
        head(PREDICT, "Content-Type: Application/JSON; charset=utf-8", CLOSE, LENGTH) + BODY,
        predict(LENGTH, "connection: upgrade", "upgrade: websocket").replace(b"connection: close\r\n", b"", 1),
        head(PREDICT, JSON, "connection: Upgrade, HTTP2-Settings", "upgrade: h2c", LENGTH) + BODY + predict(LENGTH),
        b"\r\n\r\n" + predict(LENGTH),
        predict(LENGTH) + b"garbage behind the last request",
    ],
)
def test_what_is_only_unusual_is_answered(server: Abused, sent: bytes) -> None:
    if b"websocket" in sent:
        sent += head("/", CLOSE, method="HEAD")
    answers = exchange(server.address, sent)
    assert answers[0].status == 200, answers
    assert answers[0].body == exchange(server.address, predict(LENGTH))[0].body


def test_head_has_no_body(server: Abused) -> None:
    for target, status in (("/v2/health/live", 200), (f"/v2/models/{NAME}", 200), ("/nowhere", 404)):
        (answer,) = exchange(server.address, head(target, CLOSE, method="HEAD"), heads=1)
        assert (answer.status, answer.body) == (status, b"")
        assert int(answer.headers["content-length"]) > 0


def test_requests_one_after_the_other_are_answered_in_their_order(server: Abused) -> None:
    count = 300
    sent = [request(INFER, inputs(more=f', "id": "{i}"')) for i in range(count)]
    answers = exchange(server.address, b"".join(sent) + head("/", CLOSE, method="HEAD"), heads=0)
    assert [answer.status for answer in answers[:count]] == [200] * count
    assert [answer.body.partition(b'"id":"')[2].partition(b'"')[0] for answer in answers[:count]] == [
        b"%d" % i for i in range(count)
    ]


def test_what_came_before_garbage_is_answered_first(server: Abused) -> None:
    answers = exchange(server.address, request(PREDICT, BODY) * 3 + b"garbage\r\n\r\n")
    assert [answer.status for answer in answers] == [200, 200, 200, 400]


def test_a_body_and_half_a_head_behind_it_are_no_large_head(server: Abused) -> None:
    large = instances(*[instance()] * 3000)
    second = predict(LENGTH)
    answers = exchange(server.address, request(PREDICT, large) + second[:30], second[30:], pause_seconds=0.3)
    assert [answer.status for answer in answers] == [200, 200]


def test_byte_by_byte_is_fast_enough(server: Abused) -> None:
    sent = predict(LENGTH)
    (answer,) = exchange(server.address, *(sent[i : i + 1] for i in range(len(sent))), pause_seconds=0.002)
    assert answer.status == 200


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_a_body_of_100_mb_is_refused_while_it_is_sent(server: Abused, kind: str) -> None:
    part = b" " * (1 << 20)
    before = server.resident_mib
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    parts = (part for _ in range(100))
    headers = {"Content-Type": "application/json"}
    if kind == "length":
        headers["Content-Length"] = str(100 << 20)
    connection.request("POST", PREDICT, parts, headers, encode_chunked=kind == "chunks")
    response = connection.getresponse()
    assert response.status == 413
    assert b"larger than 67,108,864 bytes" in response.read()
    connection.close()
    assert server.resident_mib - before < 110


def test_a_client_that_asks_first_need_not_send_what_is_too_large(server: Abused) -> None:
    (answer,) = exchange(server.address, predict("content-length: 100000000", "expect: 100-continue", body=b""))
    assert answer.status == 413
    parts = predict(LENGTH, "expect: 100-continue", body=b""), BODY
    assert [answer.status for answer in exchange(server.address, *parts, pause_seconds=0.1)] == [100, 200]


def test_clients_that_leave_are_forgotten(server: Abused) -> None:
    sent = predict(LENGTH)
    before = connections(server)
    for end in (10, 40, len(sent) - len(BODY), len(sent) - 10, len(sent)):
        for reset in (False, True):
            for _ in range(10):
                connection = socket.create_connection(server.address)
                connection.sendall(sent[:end])
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
    deadline = time.monotonic() + 5
    while connections(server) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert connections(server) <= before
    server.is_well()


def connections(server: Abused) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def test_many_that_say_nothing_keep_nobody_out(server: Abused) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(500):
            connection = stack.enter_context(socket.create_connection(server.address))
            connection.sendall(predict(LENGTH)[: i % 150])
        server.is_well()


def test_a_large_body_that_is_refused_holds_nobody_up(server: Abused) -> None:
    """The reason is looked for row by row; meanwhile others are answered."""
    large = instances(*[instance()] * 250_000, instance(wind='"1"'))
    assert len(large) > 16 << 20
    slowest, done = 0.0, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, PREDICT, large)
        answer.add_done_callback(lambda _: done.set())
        while not done.is_set():
            started = time.monotonic()
            assert ask(f"{server.url}/v2/health/ready")[0] == 200
            slowest = max(slowest, time.monotonic() - started)
            time.sleep(0.02)
        status, told = answer.result()
    assert status == 400
    assert "instances[250000].wind must be a number or null" in told["error"]
    assert slowest < 3  # 10 when it was looked at in the event loop


def test_answers_can_be_taken_apart() -> None:
    first, second = answers_in(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n"
    )
    assert (first.status, first.body, second.status) == (200, b"ab", 404)
