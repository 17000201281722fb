"""CloudEvents of a real server, taken by a real collector."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from grpc_support import infer_request
from observed_server import BODY, ROW, V1, eventually, observed
from prometheus_client.parser import text_string_to_metric_families

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """Keeps what is posted, and answers with statuses that are given to it, else with 202.

    A connection that is idle for a while is closed.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.events: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", port), _Collecting)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/events?to=me"


class _Collecting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 0.5
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 202
        if status < 300:
            self.server.events.append((self.path, dict(self.headers), body))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    with Collector(port) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_a_request_and_its_answer_are_events_with_one_id(serving_python: str, tmp_path: Path, collector: Collector):
    attributes = ["inferenceservicename=flights isvc", "namespace=team-ä", "component=transformer"]
    given = [part for attribute in attributes for part in ("--event-attribute", attribute)]
    with observed(serving_python, tmp_path, "--events-url", collector.url, *given) as server:
        trace = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "vendor=1"}
        _, answer, _ = server.post(x_request_id="mine", **trace)
        eventually(lambda: len(collector.events) == 2)
        assert eventually(lambda: server.metrics()["shipway_events_sent_total"] == 2)
    (path, asked, asked_body), (_, told, told_body) = collector.events
    assert path == "/events?to=me"
    assert (asked_body, told_body) == (BODY, answer)
    assert (asked["ce-type"], told["ce-type"]) == (REQUEST, RESPONSE)
    for headers in (asked, told):
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-id"] == "mine"
        assert headers["ce-source"] == f"{server.url}/"
        assert headers["ce-inferenceservicename"] == "flights%20isvc"
        assert headers["ce-namespace"] == "team-%C3%A4"
        assert headers["ce-endpoint"] == "default"
        assert headers["ce-component"] == "transformer"
        assert headers["content-type"] == "application/json"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", headers["ce-time"])
        assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", headers["traceparent"])
        assert headers["ce-traceparent"] == headers["traceparent"]
        assert headers["ce-tracestate"] == headers["tracestate"] == "vendor=1"


@pytest.mark.parametrize(("mode", "types"), [("request", [REQUEST] * 2), ("response", [RESPONSE])])
def test_a_mode_sends_one_kind(serving_python: str, tmp_path: Path, collector: Collector, mode: str, types: list[str]):
    with observed(serving_python, tmp_path, "--events-url", collector.url, "--events-mode", mode) as server:
        server.post()
        server.post(body=b"{}")  # refused: it has no answer that could be sent
        server.post("/v1/models/nobody:predict")  # no model saw it
        assert server.end() == 0
    assert [headers["ce-type"] for _, headers, _ in collector.events] == types


def test_binary_tensors_and_grpc_go_as_they_came(serving_python: str, tmp_path: Path, collector: Collector):
    head = json.dumps(
        {
            "inputs": [
                {"name": "distance", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
                {"name": "wind", "shape": [1], "datatype": "FP32", "data": [1.0]},
                {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = head + b"\0\0\x80?"
    with observed(serving_python, tmp_path, "--events-url", collector.url) as server:
        lengths = {"inference_header_content_length": str(len(head)), "content_type": "application/octet-stream"}
        status, answer, told = server.post("/v2/models/flights/infer", body, **lengths)
        assert status == 200
        request = infer_request([ROW], raw=True, fixture="binary")
        response, _ = server.call(request, x_request_id="over-grpc")
        eventually(lambda: len(collector.events) == 4)
    asked, answered, asked_over_grpc, answered_over_grpc = collector.events
    assert (asked[2], answered[2]) == (body, answer)
    assert asked[1]["inference-header-content-length"] == str(len(head))
    assert answered[1]["inference-header-content-length"] == told["inference-header-content-length"]
    assert answered[1]["content-type"] == "application/octet-stream"
    assert (asked_over_grpc[2], answered_over_grpc[2]) == (request.SerializeToString(), response.SerializeToString())
    assert {headers["ce-id"] for _, headers, _ in collector.events[2:]} == {"over-grpc"}
    types = {headers["content-type"] for _, headers, _ in (asked_over_grpc, answered_over_grpc)}
    assert types == {"application/x-protobuf"}


def test_events_that_wait_are_sent_in_the_end(serving_python: str, tmp_path: Path, collector: Collector):
    with observed(serving_python, tmp_path, "--events-url", collector.url) as server:
        for _ in range(100):
            server.post()
        assert server.end() == 0
    assert len(collector.events) == 200


def test_what_a_busy_collector_refuses_is_sent_again(serving_python: str, tmp_path: Path, collector: Collector):
    collector.statuses = [503, 429, 202, 400]
    with observed(serving_python, tmp_path, "--events-url", collector.url) as server:
        server.post()
        eventually(lambda: len(collector.events) == 1)
        metrics = eventually(lambda: (told := server.metrics())["shipway_events_failed_total"] and told)
    assert [headers["ce-type"] for _, headers, _ in collector.events] == [REQUEST]
    assert (metrics["shipway_events_sent_total"], metrics["shipway_events_failed_total"]) == (1, 1)


def test_a_connection_that_was_closed_meanwhile_costs_no_event(
    serving_python: str, tmp_path: Path, collector: Collector
):
    with observed(serving_python, tmp_path, "--events-url", collector.url) as server:
        for count in (2, 4):
            server.post()
            eventually(lambda count=count: len(collector.events) == count)
            time.sleep(1)
        assert server.metrics()["shipway_events_failed_total"] == 0


def test_a_collector_that_comes_back_is_sent_to_again(serving_python: str, tmp_path: Path):
    with collecting() as first:
        port = first.server_port
        with observed(serving_python, tmp_path, "--events-url", first.url, stderr=subprocess.PIPE) as server:
            server.post()
            eventually(lambda: len(first.events) == 2)
            first.shutdown()
            first.server_close()
            time.sleep(1)  # until the connection is closed too
            server.post()
            eventually(lambda: server.metrics()["shipway_events_failed_total"] >= 1)
            with collecting(port) as second:
                server.post(x_request_id="later")
                eventually(lambda: [h for _, h, _ in second.events if h["ce-id"] == "later"])
            server.end()
            assert server.process.stderr is not None
            assert server.process.stderr.read().count(b"was not taken") == 1


def test_a_collector_that_never_answers_costs_events_and_no_answers(serving_python: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with observed(serving_python, tmp_path, "--events-url", url) as server:
            body = b'{"instances": [' + b",".join([json.dumps(ROW).encode()] * 20_000) + b"]}"
            while not server.metrics()["shipway_events_dropped_total"]:
                started = time.monotonic()
                assert server.post(V1, body)[0] == 200
                assert time.monotonic() - started < 2
            started = time.monotonic()
            server.end()
            assert time.monotonic() - started < 15


def test_the_namespace_is_the_pods(serving_python: str, tmp_path: Path, collector: Collector):
    with observed(serving_python, tmp_path, "--events-url", collector.url, POD_NAMESPACE="team") as server:
        server.post()
        eventually(lambda: len(collector.events) == 2)
    assert {headers["ce-namespace"] for _, headers, _ in collector.events} == {"team"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--events-url", "ftp://collector"], "must begin with http:// or https://"),
        (["--events-url", "http://"], "name a host"),
        (["--event-attribute", "id=mine"], "--event-attribute is 'id=mine'"),
        (["--event-attribute", "namespace"], "must be NAME=VALUE"),
    ],
)
def test_options_that_cannot_be(serving_python: str, options: list[str], reason: str):
    command = [serving_python, "-m", "shipway.serving.server", "--model-dir", "tests/serving/fixtures/binary"]
    done = subprocess.run([*command, "--port", "0", *options], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert reason in done.stderr


def test_metrics_are_named_as_prometheus_wants(serving_python: str, tmp_path: Path, collector: Collector):
    everything = ["--events-url", collector.url, "--payload-log", str(tmp_path / "log"), "--cache-mib", "1"]
    with observed(serving_python, tmp_path, *everything, "--access-log", str(tmp_path / "access.log")) as server:
        server.post()
        server.post()
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as response:
            text = response.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name: family for name, family in families.items() if name.startswith("shipway_")}
    assert set(ours) >= {
        *("shipway_access_lines_lost", "shipway_access_lines_written", "shipway_access_lines_waiting"),
        *("shipway_watched_requests_dropped", "shipway_watched_requests_waiting"),
        *("shipway_payload_rows_logged", "shipway_payload_rows_dropped", "shipway_payload_requests_failed"),
        *("shipway_payload_files_waiting", "shipway_events_sent", "shipway_events_dropped", "shipway_events_failed"),
        *("shipway_events_waiting", "shipway_response_cache_hits", "shipway_response_cache_misses"),
        *("shipway_response_cache_bytes", "shipway_response_cache_limit_bytes"),
        *("shipway_http_connections", "shipway_http_requests_in_flight"),
    }
    for name, family in ours.items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert family.documentation
        assert not re.search("(_ms|_milliseconds|_minutes|_mib|_count|_total)$", name), (
            "not a base unit, or a suffix twice"
        )
        assert all(sample.name.endswith("_total") for sample in family.samples) == (family.type == "counter"), name
    values = {sample.name: sample.value for family in ours.values() for sample in family.samples if not sample.labels}
    assert values["shipway_response_cache_hits_total"] == values["shipway_response_cache_misses_total"] == 1
    assert values["shipway_http_requests_in_flight"] == 1  # the one that asks
    assert values["shipway_http_connections"] >= 1
