"""The proxy does what is planned, and nothing else."""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fault_proxy
import pytest
from fault_proxy import Fault, FaultProxy
from range_server import RangeServer, range_server

DATA = random.Random(1).randbytes(300_000)


@pytest.fixture(scope="module")
def server() -> Iterator[RangeServer]:
    with range_server() as running:
        running.objects["data"] = running.objects["chunked/data"] = DATA
        yield running


@pytest.fixture
def proxy(server: RangeServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.server_port) as running:
        yield running


def connected(proxy: FaultProxy) -> http.client.HTTPConnection:
    parts = urlsplit(proxy.url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=1)


def ask(proxy: FaultProxy, method: str = "GET", path: str = "/data", **more: object) -> tuple[int, bytes]:
    connection = connected(proxy)
    try:
        connection.request(method, path, **more)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def differing(data: bytes) -> list[tuple[int, int]]:
    assert len(data) == len(DATA)
    return [(index, mine ^ true) for index, (mine, true) in enumerate(zip(data, DATA, strict=True)) if mine != true]


def test_without_a_plan_everything_passes_unchanged(server: RangeServer, proxy: FaultProxy) -> None:
    connection = connected(proxy)
    for _ in range(3):
        for path in ("/data", "/chunked/data"):
            connection.request("GET", path)
            assert connection.getresponse().read() == DATA
        connection.request("HEAD", "/data")
        answer = connection.getresponse()
        assert (answer.getheader("Content-Length"), answer.read()) == (str(len(DATA)), b"")
        connection.request("PUT", "/new", DATA)
        assert connection.getresponse().read() == b""
        connection.request("PUT", "/pieces", iter([DATA[:5], DATA[5:]]), encode_chunked=True)
        assert connection.getresponse().read() == b""
    assert server.objects["new"] == server.objects["pieces"] == DATA
    assert (proxy.requests, proxy.request_bytes, proxy.response_bytes) == (15, 6 * len(DATA), 6 * len(DATA))
    assert {exchange.status for exchange in proxy.exchanges} == {200, 201}


@pytest.mark.parametrize("path", ["/data", "/chunked/data"])
@pytest.mark.parametrize("at", [0, 1, 999, 1000, 123_456, len(DATA) - 1])
def test_one_bit_of_an_answer_is_flipped(proxy: FaultProxy, path: str, at: int) -> None:
    fault = Fault("flip", at)
    proxy.plan(fault)
    assert differing(ask(proxy, path=path)[1]) == [(at, 1 << at % 8)]
    assert fault.hits == 1
    assert ask(proxy, path=path)[1] == DATA


@pytest.mark.parametrize("pieces", [False, True])
def test_one_bit_of_a_request_is_flipped(server: RangeServer, proxy: FaultProxy, pieces: bool) -> None:
    proxy.plan(Fault("flip", 70_000, side="request", method="PUT"))
    body = iter([DATA[:1000], DATA[1000:]]) if pieces else DATA
    ask(proxy, "PUT", "/flipped", body=body, encode_chunked=pieces)
    assert differing(server.objects["flipped"]) == [(70_000, 1)]


def test_positions_wrap_around_and_the_exchange_is_chosen(proxy: FaultProxy) -> None:
    fault = Fault("flip", 10 * len(DATA) + 7, path="data", byte_range="bytes=0-", nth=2, times=2, least=1000)
    proxy.plan(fault)
    ranged: dict[str, Any] = {"headers": {"Range": "bytes=0-"}}
    answers = [ask(proxy, **ranged)[1] for _ in range(4)]
    ask(proxy)
    ask(proxy, headers={"Range": "bytes=0-9"})
    assert [bool(differing(answer)) for answer in answers] == [False, True, True, False]
    assert fault.hits == 2


@pytest.mark.parametrize(("kind", "error"), [("cut", http.client.IncompleteRead), ("reset", ConnectionResetError)])
def test_an_answer_breaks_off(proxy: FaultProxy, kind: str, error: type[Exception]) -> None:
    proxy.plan(Fault(kind, 100_000), Fault(kind, -1, nth=2))
    with pytest.raises(error) as raised:
        ask(proxy)
    if isinstance(raised.value, http.client.IncompleteRead):
        assert raised.value.partial == DATA[:100_000]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(proxy)
    assert ask(proxy) == (200, DATA)


@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
@pytest.mark.parametrize("at", [-1, 0, 150_000])
def test_a_request_that_breaks_off_writes_nothing(server: RangeServer, proxy: FaultProxy, kind: str, at: int) -> None:
    server.objects.pop("broken", None)
    fault = Fault(kind, at, side="request")
    proxy.plan(fault)
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(proxy, "PUT", "/broken", body=DATA)
    assert fault.hits == 1
    assert proxy.request_bytes == max(0, at)
    assert "broken" not in server.objects
    assert ask(proxy, "PUT", "/broken", body=DATA)[0] == 201


def test_an_answer_that_gets_lost_was_a_write(server: RangeServer, proxy: FaultProxy) -> None:
    proxy.plan(Fault("cut", -1, method="PUT"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, "PUT", "/lost", body=DATA)
    assert server.objects["lost"] == DATA


def test_a_stalled_connection_stays_open(proxy: FaultProxy) -> None:
    proxy.plan(Fault("stall", 5))
    connection = connected(proxy)
    connection.request("GET", "/data")
    answer = connection.getresponse()
    assert answer.read(5) == DATA[:5]
    with pytest.raises(TimeoutError):
        answer.read(1)
    assert proxy.connections
    connection.close()
    answer.close()
    until = time.monotonic() + 5
    while proxy.connections and time.monotonic() < until:
        time.sleep(0.01)
    assert not proxy.connections


def test_busy_answers_are_the_proxys_own(server: RangeServer, proxy: FaultProxy) -> None:
    proxy.plan(Fault("status", times=2, status=429, retry_after="3", method="PUT"))
    connection = connected(proxy)
    for _ in range(2):
        connection.request("PUT", "/busy", DATA)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Retry-After"), answer.read()) == (429, "3", b"")
    assert "busy" not in server.objects
    connection.request("PUT", "/busy", DATA)
    assert connection.getresponse().status == 201


def test_latency_is_added_to_every_exchange_and_connection(server: RangeServer) -> None:
    with FaultProxy("127.0.0.1", server.server_port, round_trip_seconds=0.05) as proxy:
        connection = connected(proxy)
        started = time.monotonic()
        for _ in range(3):
            connection.request("GET", "/data")
            connection.getresponse().read()
        assert 0.2 <= time.monotonic() - started < 0.6


def test_the_rate_is_limited(server: RangeServer) -> None:
    with FaultProxy("127.0.0.1", server.server_port, bytes_per_second=600_000) as proxy:
        started = time.monotonic()
        assert ask(proxy)[1] == DATA
        assert 0.4 <= time.monotonic() - started < 1.5


def test_a_server_that_is_away_is_a_connection_that_ends(server: RangeServer) -> None:
    with FaultProxy("127.0.0.1", server.server_port) as proxy:
        proxy.upstream = ("127.0.0.1", 9)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(proxy)
        proxy.upstream = ("127.0.0.1", server.server_port)
        assert ask(proxy) == (200, DATA)


def test_many_connections_leave_nothing_behind(proxy: FaultProxy) -> None:
    before = threading.active_count()
    for _ in range(200):
        assert ask(proxy)[0] == 200
    until = time.monotonic() + 5
    while (proxy.connections or threading.active_count() > before + 3) and time.monotonic() < until:
        time.sleep(0.01)
    assert not proxy.connections
    assert threading.active_count() <= before + 3


def test_it_runs_as_a_process(server: RangeServer) -> None:
    command = [sys.executable, str(Path(fault_proxy.__file__)), "127.0.0.1", str(server.server_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        parts = urlsplit(process.stdout.readline().strip())
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
        connection.request("GET", "/data")
        assert connection.getresponse().read() == DATA
        process.communicate(timeout=10)
    assert process.returncode == 0
