"""Over real HTTP: what a busy model does to its requests, and what the cache saves it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_support import FIXTURES, ask
from serving_thread import running

from shipway.serving.engines.onnx import OnnxModel
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.cache import ResponseCache
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.models import ServedModel
from shipway.serving.openinference.repository import Repository

SECONDS = 0.3
MOST_BYTES = 1500  # of the cache: three answers


class Slow(OnnxModel):
    """The real model, after a while."""

    seconds = SECONDS

    def run(self, tensors: Any) -> Any:
        self.batches.append(len(tensors["wind"]))
        time.sleep(self.seconds)
        return super().run(tensors)


class Server:
    def __init__(self, application: Application, address: tuple[str, int], model: Slow) -> None:
        self.application, self.address, self.model = application, address, model
        self.url = f"http://{address[0]}:{address[1]}"

    def predict(self, rows: int = 1, wind: float = 0.5, name: str = "flights", **headers: str) -> tuple[int, Any]:
        body = {"instances": [{"distance": 1.0, "wind": wind, "carrier": "AA"}] * rows}
        return ask(f"{self.url}/v1/models/{name}:predict", body, **headers)

    def codes(self) -> dict[str, float]:
        """How many requests of the model were answered with each code."""
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            families = text_string_to_metric_families(response.read().decode())
            samples = next(family.samples for family in families if family.name == "shipway_requests")
        return {sample.labels["code"]: sample.value for sample in samples if sample.labels["model"] == "flights"}


@contextmanager
def serving(seconds: float, inference: Inference | None = None, **batching: Any) -> Iterator[Server]:
    engines: list[Slow] = []

    def load(path: Any, name: str) -> ServedModel:
        engine = Slow(path)
        engine.batches, engine.seconds = [], seconds
        engines.append(engine)
        return ServedModel(name, engine, **batching)

    paths = {"flights": FIXTURES / "binary", "others": FIXTURES / "binary_other"}
    application = Application(Repository(paths, load), inference)
    with running(application) as address:
        server = Server(application, address, engines[0])
        server.predict()  # how long the model takes is known from now on
        engines[0].batches.clear()
        yield server


@pytest.fixture
def busy() -> Iterator[Server]:
    with serving(SECONDS, most_waiting_rows=4) as server:
        yield server


def test_more_than_may_wait_is_told_when_to_come_again(busy: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(busy.predict)
        time.sleep(SECONDS / 3)
        waiting = pool.submit(busy.predict, 3)
        time.sleep(SECONDS / 3)
        body = {"instances": [{"distance": 1.0, "wind": 0.5, "carrier": "AA"}] * 2}
        request = urllib.request.Request(f"{busy.url}/v1/models/flights:predict", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert "3 rows wait already" in json.load(refused.value)["error"]
        assert (first.result()[0], waiting.result()[0]) == (200, 200)
    assert busy.codes() == {"200": 3, "429": 1}


def test_a_request_is_not_run_when_its_client_waits_no_longer(busy: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(busy.predict)
        time.sleep(SECONDS / 3)
        status, answer = busy.predict(**{"x-envoy-expected-rq-timeout-ms": "50"})
        assert status == 504
        assert "not free in time" in answer["error"]
        assert first.result()[0] == 200
    assert busy.model.batches == [1]


def test_a_deadline_that_is_none_is_refused(busy: Server) -> None:
    assert busy.predict(**{"x-envoy-expected-rq-timeout-ms": "soon"})[0] == 400


def test_a_request_whose_client_has_left_is_not_run(busy: Server) -> None:
    body = b'{"instances": [{"distance": 1.0, "wind": 0.5, "carrier": "AA"}]}'
    head = b"POST /v1/models/flights:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(busy.predict)
        time.sleep(SECONDS / 3)
        with socket.create_connection(busy.address) as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            time.sleep(SECONDS / 3)
        assert first.result()[0] == 200
    assert busy.predict(rows=2)[0] == 200
    assert busy.model.batches == [1, 2]
    assert busy.codes() == {"200": 3, "499": 1}


def test_what_is_drained_is_not_ready_and_answers_still(busy: Server) -> None:
    busy.application.drain()
    assert ask(f"{busy.url}/v2/health/ready")[0] == 503
    assert ask(f"{busy.url}/v2/models/flights/ready")[0] == 503
    assert ask(f"{busy.url}/v1/models/flights")[0] == 503
    assert ask(f"{busy.url}/v2/health/live")[0] == 200
    assert busy.predict()[0] == 200


def test_a_delay_gathers_what_comes_meanwhile_and_ends_early_when_the_batch_is_full() -> None:
    with serving(0.0, delay_seconds=1.0, most_rows=4) as server, ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda _: server.predict(), range(4)))
        assert time.monotonic() - started < 0.9
        assert [status for status, _ in answers] == [200] * 4
        assert server.model.batches == [4]
        assert server.predict(2)[0] == 200
        assert server.model.batches == [4, 2]


@pytest.fixture
def cached() -> Iterator[Server]:
    with serving(0.0, Inference(ResponseCache(MOST_BYTES))) as server:
        yield server


def test_a_body_is_answered_once_and_then_from_the_cache(cached: Server) -> None:
    first = cached.predict(wind=7.0)
    assert cached.predict(wind=7.0) == first
    assert cached.model.batches == [1]
    assert cached.codes() == {"200": 3}


def test_another_body_protocol_or_model_is_another_entry(cached: Server) -> None:
    answer = cached.predict(wind=7.0)
    assert cached.predict(wind=7.0, name="others") != answer
    assert cached.predict(wind=7.5) != answer
    assert cached.model.batches == [1, 1]


def test_what_was_refused_is_not_kept(cached: Server) -> None:
    cache = cached.application.inference.cache
    entries = cache.bytes
    url = f"{cached.url}/v1/models/flights:predict"
    assert [ask(url, b"{")[0] for _ in range(2)] == [400, 400]
    assert cache.bytes == entries


def test_the_cache_gives_up_what_was_used_longest_ago(cached: Server) -> None:
    for wind in (1.0, 2.0, 1.0, 3.0, 4.0, 5.0, 1.0):
        cached.predict(wind=wind)
        if wind > 1:
            cached.predict(wind=1.0)
    assert cached.application.inference.cache.bytes <= MOST_BYTES
    assert cached.model.batches == [1] * 5
    cached.predict(wind=2.0)
    assert cached.model.batches == [1] * 6
