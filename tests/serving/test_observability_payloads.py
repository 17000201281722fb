"""Payload logs of real servers, read with pyarrow and compared with what was asked and answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_support import infer_request
from observed_server import ROW, V1, eventually, observed, parquet_files, read_parquet
from programs import free_ports, new_directory, program, running

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.storage import Options, download
from shipway.serving.observability.spool import Spool

DIGEST = read_model(Path(__file__).parent / "fixtures/binary").digest
ROWS = [ROW, {"distance": 2.5, "wind": None, "carrier": None}, {"distance": None, "wind": -1.0, "carrier": "ÜX"}]
V2 = "/v2/models/flights/infer"
TYPES = {
    "time": "timestamp[us, tz=UTC]",
    **dict.fromkeys(("model", "release", "protocol", "request_id", "trace_id"), "string"),
    "row": "int32",
    "seconds": "double",
    "id": "string",
    "feature_distance": "float",
    "feature_wind": "float",
    "feature_carrier": "string",
    "label": "string",
    "score_0": "float",
    "score_1": "float",
}


def v2_body(rows: list[dict[str, Any]], **more: Any) -> bytes:
    inputs = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if name == "carrier" else "FP32",
            "data": [row[name] for row in rows],
        }
        for name in ROW
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def logged(directory: Path, rows: int) -> dict[str, Any]:
    """Returns what is logged when there are so many rows, which the files' names tell."""
    eventually(lambda: sum(int(path.stem.rpartition("-")[2]) for path in parquet_files(directory)) >= rows)
    return read_parquet(*parquet_files(directory))


def start(python: str, directory: Path, *options: str, uri: str = "", **more: Any) -> Any:
    where = ["--payload-log", uri or str(directory / "log"), "--payload-rotate-seconds", "1"]
    return observed(python, directory, *where, *options, **more)


def features(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name.removeprefix("feature_"): value for name, value in row.items() if "feature_" in name} for row in rows]


def scores(rows: list[dict[str, Any]]) -> list[list[float]]:
    return [[row["score_0"], row["score_1"]] for row in rows]


def test_every_protocol_is_logged_as_it_was_asked_and_answered(serving_python: str, tmp_path: Path):
    with start(serving_python, tmp_path, "--cache-mib", "1") as server:
        _, body, _ = server.post(V1, json.dumps({"instances": ROWS}).encode(), x_request_id="v1")
        server.post(V2, v2_body(ROWS, id="own"), x_request_id="v2")
        server.post(V2, v2_body(ROWS, parameters={"binary_data_output": True}), x_request_id="binary")
        server.post(V2, v2_body(ROWS, outputs=[{"name": "label"}]), x_request_id="label")
        server.call(infer_request(ROWS, raw=True, fixture="binary"), x_request_id="raw")
        server.call(infer_request(ROWS, raw=False, fixture="binary"), x_request_id="typed")
        server.post(V1, json.dumps({"instances": ROWS}).encode(), x_request_id="cached")
        server.post(V1, b'{"instances": [{}]}', x_request_id="malformed")
        told = logged(tmp_path / "log", 21)
        assert eventually(lambda: server.metrics()["shipway_payload_rows_logged_total"] == 21)
    assert told["types"] == TYPES
    assert told["codecs"] == ["ZSTD"]
    answers = json.loads(body)["predictions"]
    by_request = {row["request_id"]: [] for row in told["rows"]}
    for row in told["rows"]:
        by_request[row["request_id"]].append(row)
    assert set(by_request) == {"v1", "v2", "binary", "label", "raw", "typed", "cached"}
    for name, rows in by_request.items():
        assert features(rows) == ROWS, name
        assert [row["label"] for row in rows] == [answer["label"] for answer in answers]
        assert [row["row"] for row in rows] == [0, 1, 2]
        assert {(row["model"], row["release"]) for row in rows} == {("flights", DIGEST)}
        assert {row["id"] for row in rows} == {"own" if name == "v2" else None}
        expected = [[None] * 2] * 3 if name == "label" else [list(answer["scores"].values()) for answer in answers]
        if name == "label":
            assert scores(rows) == expected
        else:
            np.testing.assert_allclose(scores(rows), expected, rtol=1e-6)
    assert {name: rows[0]["protocol"] for name, rows in by_request.items() if name != "label"} == {
        "v1": "v1",
        "cached": "v1",
        "v2": "v2",
        "binary": "v2",
        "raw": "grpc",
        "typed": "grpc",
    }


def test_a_row_names_its_trace_and_when_it_was(serving_python: str, tmp_path: Path):
    trace = "0af7651916cd43dd8448eb211c80319c"
    with start(serving_python, tmp_path) as server:
        _, _, headers = server.post(traceparent=f"00-{trace}-b7ad6b7169203331-01")
        assert headers["traceresponse"].startswith(f"00-{trace}-")
        (row,) = logged(tmp_path / "log", 1)["rows"]
    assert row["trace_id"] == trace
    assert row["request_id"] == headers["x-request-id"]
    assert abs(datetime.now().timestamp() - datetime.fromisoformat(row["time"]).timestamp()) < 60
    assert 0 < row["seconds"] < 5
    (path,) = parquet_files(tmp_path / "log")
    day = f"date={datetime.fromisoformat(row['time']):%Y-%m-%d}"
    assert path.parent == tmp_path / "log" / "flights" / DIGEST.removeprefix("sha256:")[:16] / day


def test_vectors_are_lists_whose_missing_values_are_null(serving_python: str, tmp_path: Path):
    inputs = read_model(Path(__file__).parent / "fixtures/vector").inputs
    (vector,) = [tensor for tensor in inputs if len(tensor.shape) > 1]
    values = [0.5, *[None] * (vector.shape[1] - 1)]
    rows = [{t.name: "AA" if t.datatype == "BYTES" else 1.0 for t in inputs} | {vector.name: v} for v in (values, None)]
    with start(serving_python, tmp_path, model="vector") as server:
        assert server.post(V1, json.dumps({"instances": rows}).encode())[0] == 200
        told = logged(tmp_path / "log", 2)
    assert "list" in told["types"][f"feature_{vector.name}"]
    assert [row[f"feature_{vector.name}"] for row in told["rows"]] == [values, [None] * vector.shape[1]]


def test_a_sample_is_a_sample(serving_python: str, tmp_path: Path):
    with start(serving_python, tmp_path, "--payload-sample-percent", "25") as server:
        for _ in range(400):
            server.post()
        server.end()
    rows = read_parquet(*parquet_files(tmp_path / "log"))["rows"]
    assert 50 < len(rows) < 160  # five standard deviations are 43


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_was_answered_is_logged_however_the_server_ends(serving_python: str, tmp_path: Path, number: int):
    with start(serving_python, tmp_path, "--payload-rotate-seconds", "3600") as server:
        for _ in range(50):
            server.post()
        if number == signal.SIGKILL:  # all but the last moment: what the server itself still held is lost
            eventually(lambda: not server.metrics()["shipway_watched_requests_waiting"])
        assert not parquet_files(tmp_path)
        server.end(number)
        assert len(logged(tmp_path / "log", 50)["rows"]) == 50


def test_many_rows_are_many_files(serving_python: str, tmp_path: Path):
    body = json.dumps({"instances": ROWS * 500}).encode()
    with start(serving_python, tmp_path, "--payload-rotate-rows", "2000", "--payload-rotate-seconds", "3600") as server:
        for _ in range(4):
            assert server.post(V1, body)[0] == 200
        rows = logged(tmp_path / "log", 6000)["rows"]
        assert len(parquet_files(tmp_path / "log")) == 2
    assert features(rows) == ROWS * 2000


def test_a_helper_that_is_not_fast_enough_is_not_waited_for(serving_python: str, tmp_path: Path):
    body = json.dumps({"instances": ROWS * 3000}).encode()
    with start(serving_python, tmp_path) as server:
        os.kill(server.helpers()[0], signal.SIGSTOP)
        while not server.metrics()["shipway_watched_requests_dropped_total"]:
            assert server.post(V1, body)[0] == 200
        os.kill(server.helpers()[0], signal.SIGCONT)
        eventually(lambda: not server.metrics()["shipway_watched_requests_waiting"])
        assert server.post(V1, body)[0] == 200
        assert server.end() == 0


def test_a_helper_that_does_not_end_is_ended(serving_python: str, tmp_path: Path):
    with start(serving_python, tmp_path, stderr=subprocess.PIPE) as server:
        (helper,) = server.helpers()
        os.kill(helper, signal.SIGSTOP)
        server.post()
        assert server.end() == 0
        assert not Path(f"/proc/{helper}").exists()
        assert server.process.stderr is not None
        assert b"did not end in time" in server.process.stderr.read()


def test_a_helper_that_dies_is_replaced(serving_python: str, tmp_path: Path):
    with start(serving_python, tmp_path) as server:
        for _ in range(20):
            server.post()
        eventually(lambda: server.metrics()["shipway_payload_rows_logged_total"] == 20)
        (helper,) = server.helpers()
        os.kill(helper, signal.SIGKILL)
        eventually(lambda: server.post()[0] == 200 and helper not in server.helpers() and server.helpers())
        told = server.metrics()
        assert told["shipway_watched_requests_dropped_total"] > 0
        assert told["shipway_payload_rows_logged_total"] >= 20  # those of the former one count on
        server.post(x_request_id="later")
        assert server.end() == 0
    assert "later" in {row["request_id"] for row in read_parquet(*parquet_files(tmp_path / "log"))["rows"]}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--payload-log", "nowhere://bucket/log"], "nowhere"),
        (["--payload-log", "log", "--payload-spool", "/proc/nowhere"], "take another spool"),
        (["--payload-sample-percent", "0"], "must be more than 0 and at most 100"),
        (["--payload-rotate-seconds", "0"], "must be from 1 to 86400"),
        (["--payload-rotate-rows", "0"], "must be from 1 to 1000000"),
    ],
)
def test_options_that_cannot_be(serving_python: str, options: list[str], reason: str):
    command = [serving_python, "-m", "shipway.serving.server", "--model-dir", "tests/serving/fixtures/binary"]
    done = subprocess.run([*command, "--port", "0", *options], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert reason in done.stderr


@pytest.fixture
def spool_directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_a_spool_gives_up_the_oldest_and_goes_on_where_the_last_stopped(tmp_path: Path, spool_directory: Path):
    target = tmp_path / "store"
    target.write_text("a file, where no directory can be")
    spool = Spool(spool_directory, str(target), most_files=2)
    for number in range(4):
        spool.add(f"m/part-{number}", 10 + number, b"content")
    spool.close(2)
    assert (spool.rows_published, spool.rows_dropped, spool.waiting) == (0, 10 + 11, 2)
    target.unlink()
    later = Spool(spool_directory, str(target), most_files=2)
    eventually(lambda: not later.waiting)
    later.close(2)
    assert later.rows_published == 12 + 13
    assert [path.name for path in parquet_files(target)] == ["part-2-12.parquet", "part-3-13.parquet"]
    assert not list(spool_directory.iterdir())


def test_a_spool_that_cannot_be_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="take another spool"):
        Spool(Path("/proc/nowhere"), str(tmp_path))


@pytest.fixture
def s3_variables() -> dict[str, str]:
    (port,) = free_ports(1)
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def moto(variables: dict[str, str]) -> Any:
    import boto3

    def bucket() -> None:
        boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        ).create_bucket(Bucket="logs")

    port = variables["AWS_ENDPOINT_URL"].rpartition(":")[2]
    command = [program("bin/moto_server"), "-H", "127.0.0.1", "-p", port]
    return running("moto", new_directory(), command, bucket)


def test_a_store_that_is_down_gets_its_files_later(
    serving_python: str,
    tmp_path: Path,
    spool_directory: Path,
    s3_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    spool = ["--payload-spool", str(spool_directory)]
    with start(serving_python, tmp_path, *spool, uri="s3://logs/payloads/", **s3_variables) as server:
        server.post()
        eventually(lambda: server.metrics()["shipway_payload_files_waiting"])
        assert server.post()[0] == 200
        assert server.end() == 0
    assert len(parquet_files(spool_directory)) == 2
    with moto(s3_variables):
        with start(serving_python, tmp_path, *spool, uri="s3://logs/payloads/", **s3_variables) as server:
            eventually(lambda: server.metrics()["shipway_payload_rows_logged_total"] == 2)
            server.post()
            server.end()
        for name, value in s3_variables.items():
            monkeypatch.setenv(name, value)
        download("s3://logs/payloads/", str(tmp_path / "fetched"), Options(retry_seconds=5))
    assert features(read_parquet(*parquet_files(tmp_path / "fetched"))["rows"]) == [ROW] * 3
    assert not parquet_files(spool_directory)
