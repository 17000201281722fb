"""Access lines of real servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from grpc_support import infer_request
from observed_server import BODY, ROW, V1, eventually, observed

from shipway.components.common.model import read_model
from shipway.serving.openinference.grpc.messages import REQUESTS

DIGEST = read_model(Path(__file__).parent / "fixtures/binary").digest
FIELDS = [
    *("time", "method", "path", "model", "release", "protocol", "status", "rows", "request_bytes", "response_bytes"),
    *("seconds", "trace_id", "span_id", "request_id", "client"),
]


def lines(path: Path, count: int) -> list[dict[str, Any]]:
    eventually(lambda: path.exists() and path.read_bytes().count(b"\n") >= count)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_has_a_line(serving_python: str, tmp_path: Path):
    log = tmp_path / "access.log"
    with observed(serving_python, tmp_path, "--access-log", str(log), "--max-body-mib", "1") as server:
        _, answer, _ = server.post(f"{V1}?token=secret", x_request_id="mine", authorization="Bearer secret")
        server.post(body=b'{"instances": []}')
        server.post("/v1/models/nobody:predict")
        server.post(body=b" " * (2 << 20))
        server.post("/v2/models/flights/infer", content_type="text/plain")
        told = lines(log, 5)
    assert [list(line) for line in told] == [FIELDS] * 5
    assert [line["status"] for line in told] == [200, 400, 404, 413, 415]
    first, bad, missing, large, _ = told
    seen = {name: first[name] for name in FIELDS[1:10]}
    assert seen == {
        "method": "POST",
        "path": V1,
        "model": "flights",
        "release": DIGEST,
        "protocol": "v1",
        "status": 200,
        "rows": 1,
        "request_bytes": len(BODY),
        "response_bytes": len(answer),
    }
    assert first["request_id"] == "mine"
    assert 0 < first["seconds"] < 5
    assert datetime.fromisoformat(first["time"]).tzinfo
    assert first["client"].startswith("127.0.0.1:")
    assert (bad["model"], bad["release"], bad["rows"]) == ("flights", DIGEST, 0)
    assert (missing["model"], missing["protocol"], large["model"]) == (None, None, None)
    assert large["request_bytes"] == 2 << 20
    assert "secret" not in log.read_text()
    assert "distance" not in log.read_text()


def test_what_is_no_request_has_a_line(serving_python: str, tmp_path: Path):
    log = tmp_path / "access.log"
    with observed(serving_python, tmp_path, "--access-log", str(log)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"this is no HTTP\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
        (line,) = lines(log, 1)
    assert (line["method"], line["path"], line["status"], line["protocol"]) == ("", "", 400, None)


def test_calls_over_grpc_have_lines_too(serving_python: str, tmp_path: Path):
    log = tmp_path / "access.log"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = infer_request([ROW], raw=True, fixture="binary")
    with observed(serving_python, tmp_path, "--access-log", str(log)) as server:
        answer, trailing = server.call(request, traceparent=trace, x_request_id="mine")
        request.inputs[0].datatype = "BYTES"
        _, refused = server.call(request, x_request_id="bad")
        server.call(REQUESTS["ModelReady"](name="nobody"), "ModelReady")
        server.call(REQUESTS["ServerLive"](), "ServerLive")
        told = lines(log, 4)
    assert [line["status"] for line in told] == [0, 3, 5, 0]  # OK, INVALID_ARGUMENT, NOT_FOUND
    assert {line["protocol"] for line in told} == {"grpc"}
    first = told[0]
    assert first["path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert (first["model"], first["release"], first["rows"], first["request_id"]) == ("flights", DIGEST, 1, "mine")
    assert first["response_bytes"] == answer.ByteSize()
    assert first["trace_id"] == trace[3:35]
    assert trailing == {"x-request-id": "mine", "traceresponse": f"00-{trace[3:35]}-{first['span_id']}-01"}
    assert refused["x-request-id"] == "bad"
    assert told[1]["model"] == "flights"


def test_lines_go_to_the_standard_error_stream_and_are_all_there_in_the_end(serving_python: str, tmp_path: Path):
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        observed(serving_python, tmp_path, "--access-log", stderr=stderr) as server,
    ):
        for _ in range(300):
            server.post()
        assert server.end() == 0
    assert [line["status"] for line in lines(tmp_path / "stderr", 300)] == [200] * 300


def test_a_log_that_is_rotated_is_begun_anew(serving_python: str, tmp_path: Path):
    log = tmp_path / "access.log"
    with observed(serving_python, tmp_path, "--access-log", str(log)) as server:
        server.post(x_request_id="first")
        lines(log, 1)
        log.rename(tmp_path / "access.log.1")
        server.post(x_request_id="second")
        assert [line["request_id"] for line in lines(log, 1)] == ["second"]
    assert len(lines(tmp_path / "access.log.1", 1)) == 1


def test_workers_share_a_log(serving_python: str, tmp_path: Path):
    log = tmp_path / "access.log"
    with observed(serving_python, tmp_path, "--access-log", str(log), "--workers", "2") as server:
        for _ in range(40):
            server.post()
        assert len(lines(log, 40)) == 40
        assert eventually(lambda: server.metrics()["shipway_access_lines_written_total"] >= 40)
        server.end()


def test_nobody_waits_for_a_reader_that_does_not_read(serving_python: str, tmp_path: Path):
    reading, writing = os.pipe()
    with observed(serving_python, tmp_path, "--access-log", stderr=writing) as server:
        os.close(writing)
        for _ in range(400):  # more than a pipe holds
            assert server.post()[0] == 200
        assert eventually(lambda: server.metrics()["shipway_access_lines_waiting"])
        assert server.end() == 0  # in time, though nobody reads
    os.close(reading)


def test_lines_that_cannot_be_written_are_counted(serving_python: str, tmp_path: Path):
    with observed(serving_python, tmp_path, "--access-log", "/dev/full", stderr=subprocess.PIPE) as server:
        assert server.post()[0] == 200
        assert eventually(lambda: server.metrics()["shipway_access_lines_lost_total"])
        server.end()
        assert server.process.stderr is not None
        assert b"access lines are lost" in server.process.stderr.read()


def test_a_log_that_cannot_be_is_refused_at_the_start(serving_python: str, tmp_path: Path):
    command = [serving_python, "-m", "shipway.serving.server", "--model-dir", "tests/serving/fixtures/binary"]
    command += ["--port", "0", "--access-log", str(tmp_path / "nowhere" / "access.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "access.log cannot be written" in done.stderr


def test_without_options_nothing_of_it_is_there(serving_python: str, tmp_path: Path):
    with observed(serving_python, tmp_path) as server:
        _, _, headers = server.post(x_request_id="mine")
        assert "x-request-id" not in headers
        assert not [name for name in server.metrics() if "access" in name or "payload" in name or "events" in name]
