"""The front with its TorchServe: what it answers, when it is ready, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import psutil
import pytest
from torchserve_support import FRONT, Front, UnixConnection, ask, children, exchanged, left_in, only, runs, wait_until

from shipway.components.common.model import read_golden, read_model
from shipway.components.common.preprocessing import instance_tensors
from shipway.serving.client import EndpointClient
from shipway.serving.openinference.binary import packed, unpacked
from shipway.serving.openinference.grpc.messages import REQUESTS, RESPONSES, SERVICE

PREDICT = "/v1/models/flowers:predict"
INFER = "/v2/models/flowers/infer"
ROW = {"size (mm)": 50.0, "depth": 0.5, "colour": "red", "petals": [0.1, 0.2, 0.3, 0.4]}
ROWS = [
    ROW,
    {"size (mm)": None, "depth": -3, "colour": None, "petals": None},
    {"size (mm)": 1e30, "depth": 0.25, "colour": "never seen", "petals": [None, 1, 2, -5]},
    {"size (mm)": 40, "depth": None, "colour": "Färbe", "petals": [None] * 4},
]


@pytest.fixture(scope="module")
def front(start: Callable[..., Front], layout: Path) -> Front:
    return start(layout, "--grpc-port", "0")


def scored(model: Path, rows: list[dict[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """Returns what ``model.onnx`` answers."""
    session = onnxruntime.InferenceSession(str(model / "model.onnx"))
    scores, labels = session.run(["scores", "label"], instance_tensors(rows, read_model(model).kinds))
    return scores, list(labels)


def agree(answer: Any, expected: tuple[np.ndarray, list[str]]) -> None:
    assert answer.labels == expected[1]
    np.testing.assert_allclose(answer.scores, expected[0], atol=1e-5)


def test_golden_and_odd_rows_are_answered_as_by_onnx(front: Front, flowers: Path) -> None:
    client, model = EndpointClient(front.url, "flowers"), read_model(flowers)
    for rows in (list(read_golden(flowers).instances), ROWS, ROWS[2:3]):
        expected = scored(flowers, rows)
        agree(client.predict(rows, model.label_names), expected)
        agree(client.infer(rows, model.inputs), expected)


def test_v2_binary_both_ways(front: Front, flowers: Path) -> None:
    inputs, parts = [], []
    for name, values in instance_tensors(ROWS, read_model(flowers).kinds).items():
        text = values.dtype == object
        parts.append(packed(values.tolist()) if text else values.tobytes())
        sizes = {"binary_data_size": len(parts[-1])}
        datatype = "BYTES" if text else "FP32"
        inputs.append({"name": name, "datatype": datatype, "shape": list(values.shape), "parameters": sizes})
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    status, raw = ask(front.url, INFER, head + b"".join(parts), **headers)
    assert status == 200, raw
    tail = raw[raw.rindex(b"]}") + 2 :]  # the answer's JSON ends with its outputs
    expected = scored(flowers, ROWS)
    scores = np.frombuffer(tail[: expected[0].nbytes], "<f4").reshape(expected[0].shape)
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)
    assert unpacked(tail[expected[0].nbytes :], len(ROWS)) == expected[1]


def test_grpc(front: Front, flowers: Path) -> None:
    inputs, parts = [], []
    for name, values in instance_tensors(ROWS, read_model(flowers).kinds).items():
        parts.append(packed(values.tolist()) if values.dtype == object else values.tobytes())
        datatype = "BYTES" if values.dtype == object else "FP32"
        inputs.append({"name": name, "datatype": datatype, "shape": list(values.shape)})
    request = REQUESTS["ModelInfer"](model_name="flowers", inputs=inputs, raw_input_contents=parts)
    with grpc.insecure_channel(f"127.0.0.1:{front.grpc_port}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer", request_serializer=type(request).SerializeToString)
        answer = RESPONSES["ModelInfer"].FromString(call(request, timeout=20))
    scores, labels = scored(flowers, ROWS)
    np.testing.assert_allclose(np.frombuffer(answer.raw_output_contents[0], "<f4"), scores.ravel(), atol=1e-5)
    assert unpacked(answer.raw_output_contents[1], len(ROWS)) == labels


def test_images_in_torchscript_of_a_release(start: Callable[..., Front], images: Path) -> None:
    front = start(images.parent, "--name", "digits", "--model-format", "torchscript")
    rows = [{"pixels": [(7 * i * j) % 5 / 5 for j in range(16)]} for i in range(1, 70)]
    model = read_model(images)
    client = EndpointClient(front.url, "digits")
    agree(client.predict(rows, model.label_names), scored(images, rows))
    agree(client.infer(rows, model.inputs), scored(images, rows))
    assert front.end() == 0


REFUSED = {
    "no JSON": (PREDICT, b"{", 400),
    "missing feature": (PREDICT, {"instances": [{"depth": 1}]}, 400),
    "string for number": (PREDICT, {"instances": [{**ROW, "depth": "1"}]}, 400),
    "short list": (PREDICT, {"instances": [{**ROW, "petals": [1]}]}, 400),
    "no inputs": (INFER, {"inputs": []}, 400),
    "no model": ("/v1/models/roses:predict", {"instances": [ROW]}, 404),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_at_the_front(case: str, front: Front) -> None:
    path, body, expected = REFUSED[case]
    status, answer = ask(front.url, path, body)
    assert (status, bool(answer["error"])) == (expected, True)
    assert front.is_ready


def test_metadata_and_metrics(front: Front, flowers: Path) -> None:
    _, metadata = ask(front.url, "/v2/models/flowers")
    assert (metadata["platform"], metadata["versions"]) == ("pytorch_torchserve", [read_model(flowers).digest])
    assert b"shipway_requests_total{" in ask(front.url, "/metrics")[1]


def test_torchserve_is_reached_by_its_user_only(front: Front) -> None:
    assert front.directory.stat().st_mode & 0o777 == 0o700
    assert (front.directory / "key_file.json").stat().st_mode & 0o777 == 0o600
    listening = [c for c in psutil.Process(front.java).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 2, "gRPC's"
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
    assert not [c for c in psutil.Process(front.worker).net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def test_torchserve_answers_nobody_without_the_token(front: Front) -> None:
    def asked(kind: str, path: str, method: str, **headers: str) -> tuple[int, Any]:
        return exchanged(UnixConnection(front.directory / f"{kind}.sock"), path, method=method, **headers)

    for kind, path in (("inference", "/predictions/flowers"), ("management", "/models")):
        status, answer = asked(kind, path, "GET" if kind == "management" else "POST")
        assert (status, answer["type"]) == (400, "InvalidKeyException")
    keys = json.loads((front.directory / "key_file.json").read_text())
    authorization = {"Authorization": f"Bearer {keys['management']['key']}"}
    assert asked("management", "/models", "GET", **authorization)[0] == 200
    for path, method in (("/models?url=flowers.mar", "POST"), ("/models/flowers", "DELETE")):
        assert asked("management", path, method, **authorization)[0] == 405


def test_grpc_answers_nobody_without_the_token(front: Front) -> None:
    codes = set()
    for connection in psutil.Process(front.java).net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            with grpc.insecure_channel(f"127.0.0.1:{connection.laddr.port}") as channel:
                for method in (
                    "inference.InferenceAPIsService/Predictions",
                    "management.ManagementAPIsService/ListModels",
                ):
                    with pytest.raises(grpc.RpcError) as error:
                        channel.unary_unary(f"/org.pytorch.serve.grpc.{method}")(b"", timeout=10)
                    codes.add(error.value.code())
    # Of the two, each port has one service; the other one is not there.
    assert codes == {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}


def test_a_killed_worker_makes_it_unready_until_another_answers(front: Front) -> None:
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:  # every new one too: it crash-loops
        for worker in children(front.java):
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.1)
        if not front.is_ready:
            break
    assert not front.is_ready
    status, answer = ask(front.url, PREDICT, {"instances": [ROW]})
    assert (status, "try again later" in answer["error"]) == (503, True)
    assert ask(front.url, "/v2/health/live")[0] == 200
    wait_until(lambda: front.is_ready, "another worker answers", 60)
    assert ask(front.url, PREDICT, {"instances": [ROW]})[0] == 200
    assert front.worker != only(children(front.java))
    assert "not ready: TorchServe does not answer" in front.log.read_text()


def test_sigterm_leaves_nothing(front: Front) -> None:
    pids = {front.process.pid, front.java, *children(front.java)}
    assert front.end() == 0
    assert not {pid for pid in pids if runs(pid)}
    assert front.left == []


def test_it_ends_when_torchserve_does(start: Callable[..., Front], layout: Path) -> None:
    front = start(layout)
    os.kill(front.java, signal.SIGKILL)
    assert front.process.wait(20) == 5
    assert "TorchServe ended by itself with exit code -9" in front.log.read_text()
    wait_until(lambda: not runs(front.worker), "the worker has ended", 40)
    assert front.left == []


def test_killed_it_takes_torchserve_along(start: Callable[..., Front], layout: Path) -> None:
    front = start(layout)
    front.process.kill()
    front.process.wait()
    wait_until(lambda: not runs(front.java), "Java has ended")
    wait_until(lambda: not runs(front.worker), "the worker has ended", 40)


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary directory whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ts") as directory:
        yield Path(directory)


def ended(model: Path, directory: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(directory), **variables}
    command = [*FRONT, "--model-dir", str(model), "--port", "0", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_without_java_it_says_where_to_get_it(layout: Path, short: Path) -> None:
    done = ended(layout, short, JAVA_HOME="/nowhere")
    assert done.returncode == 5
    assert "TorchServe needs Java 17, and there is none in JAVA_HOME, /nowhere: install" in done.stderr


def test_what_never_answers_is_told_in_time(layout: Path, short: Path) -> None:
    done = ended(layout, short, "--start-timeout-seconds", "1")
    assert done.returncode == 5
    assert "the model flowers did not answer in TorchServe within 1 s" in done.stderr
    assert left_in(short) == []


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--port", "70000"), 2, "--port is 70000"),
        (("--start-timeout-seconds", "0"), 2, "--start-timeout-seconds is 0.0"),
        (("--engine", "torch", "--workers", "2"), 2, "--engine, --workers: of Shipway's own server only"),
        (("--model-dir", "/nowhere"), 2, "no model at /nowhere"),
    ],
)
def test_wrong_options(options: tuple[str, ...], code: int, reason: str, layout: Path, short: Path) -> None:
    done = ended(layout, short, *options)
    assert (done.returncode, reason in done.stderr) == (code, True), done.stderr


def test_stopped_before_it_answers_it_leaves_nothing(layout: Path, short: Path) -> None:
    command = [*FRONT, "--model-dir", str(layout), "--port", "0"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(short)}, stderr=subprocess.PIPE)
    wait_until(lambda: children(process.pid), "Java runs")
    java = only(children(process.pid))
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert b"Preempted: stopped by SIGTERM before TorchServe answered" in said
    assert not runs(java)
    assert left_in(short) == []


def test_a_temporary_directory_too_deep_for_sockets_is_told(layout: Path, short: Path) -> None:
    deep = short / ("d" * 80)
    deep.mkdir()
    done = ended(layout, deep)
    assert done.returncode == 2
    assert "is too long a path for sockets; set TMPDIR to a shorter one" in done.stderr
    assert left_in(deep) == []
