"""The server over real HTTP: answers, and what it refuses."""

from __future__ import annotations

import json
import struct
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_support import FIXTURES, ask, write_variant

from shipway.components.common.model import read_golden, read_model
from shipway.serving.client import EndpointClient

GOLDEN = read_golden(FIXTURES / "binary")
MODEL = read_model(FIXTURES / "binary")
ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA"}


@pytest.fixture(scope="module")
def url(start_server: Callable[..., str]) -> str:
    return start_server(FIXTURES / "binary", "flights")


@pytest.fixture(scope="module")
def predict(url: str) -> str:
    return f"{url}/v1/models/flights:predict"


@pytest.fixture(scope="module")
def infer(url: str) -> str:
    return f"{url}/v2/models/flights/infer"


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def inputs(**changes: Any) -> dict[str, Any]:
    tensors = {
        "distance": tensor("distance", "FP32", [1.0, None]),
        "wind": tensor("wind", "FP64", [0.5, 2.0]),
        "carrier": tensor("carrier", "BYTES", ["AA", None]),
    }
    return {"inputs": [t for t in {**tensors, **changes}.values() if t is not None]}


def test_golden_requests_over_v1(predict: str) -> None:
    status, answer = ask(predict, {"instances": list(GOLDEN.instances)})
    assert status == 200
    assert [p["label"] for p in answer["predictions"]] == list(GOLDEN.labels)
    scores = [[p["scores"]["0"], p["scores"]["1"]] for p in answer["predictions"]]
    np.testing.assert_allclose(scores, GOLDEN.scores, atol=1e-6)


def test_golden_requests_over_v2(url: str) -> None:
    answer = EndpointClient(url, "flights").infer(GOLDEN.instances, MODEL.inputs)
    assert answer.labels == list(GOLDEN.labels)
    np.testing.assert_allclose(answer.scores, GOLDEN.scores, atol=1e-6)


def test_several_classes_over_both_protocols(start_server: Callable[..., str]) -> None:
    client = EndpointClient(start_server(FIXTURES / "multiclass", "penguins"), "penguins")
    golden, model = read_golden(FIXTURES / "multiclass"), read_model(FIXTURES / "multiclass")
    for answer in (
        client.predict(golden.instances, model.label_names),
        client.infer(golden.instances, model.inputs),
    ):
        assert answer.labels == list(golden.labels)
        np.testing.assert_allclose(answer.scores, golden.scores, atol=1e-6)


def test_v2_answer_has_the_form_of_the_protocol(infer: str) -> None:
    status, answer = ask(infer, {"id": "42", **inputs(), "outputs": [{"name": "label"}, {"name": "scores"}]})
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "flights", MODEL.digest)
    label, scores = answer["outputs"]
    assert (label["name"], label["datatype"], label["shape"]) == ("label", "BYTES", [2])
    assert (scores["name"], scores["datatype"], scores["shape"], len(scores["data"])) == ("scores", "FP32", [2, 2], 4)


def test_v2_binary_tensors_both_ways(infer: str) -> None:
    body, length = binary_request([1.0, 2.0], [b"AA", b"UA"])
    request = urllib.request.Request(infer, body, {"Content-Type": "application/octet-stream", **length})
    with urllib.request.urlopen(request) as response:
        size = int(response.headers["Inference-Header-Content-Length"])
        raw = response.read()
    head = json.loads(raw[:size])
    assert [output["name"] for output in head["outputs"]] == ["scores"]
    rows = [{"distance": d, "wind": 1.0, "carrier": c} for d, c in ((1.0, "AA"), (2.0, "UA"))]
    _, answer = ask(infer.replace("v2", "v1").replace("/infer", ":predict"), {"instances": rows})
    expected = [[p["scores"]["0"], p["scores"]["1"]] for p in answer["predictions"]]
    np.testing.assert_allclose(np.frombuffer(raw[size:], np.float32).reshape(2, 2), expected, atol=1e-6)


def binary_request(distances: list[float], carriers: list[bytes], **lies: Any) -> tuple[bytes, dict[str, str]]:
    numbers = struct.pack(f"<{len(distances)}f", *distances)
    strings = b"".join(struct.pack("<I", len(c)) + c for c in carriers)
    n = len(distances)
    head = {
        "inputs": [
            {"name": "distance", "datatype": "FP32", "shape": [n], "parameters": {"binary_data_size": len(numbers)}},
            {"name": "carrier", "datatype": "BYTES", "shape": [n], "parameters": {"binary_data_size": len(strings)}},
            {"name": "wind", "datatype": "FP32", "shape": [n], "data": [1.0] * n},
        ],
        "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
    }
    head["inputs"][0].update(lies)
    text = json.dumps(head).encode()
    return text + numbers + strings, {"Inference-Header-Content-Length": str(len(text))}


def test_metadata_and_health(url: str) -> None:
    assert ask(f"{url}/v2/health/live") == (200, {"live": True})
    assert ask(f"{url}/v2/health/ready") == (200, {"ready": True})
    assert ask(f"{url}/v1/models/flights") == (200, {"name": "flights", "ready": True})
    status, metadata = ask(f"{url}/v2/models/flights")
    assert status == 200
    assert metadata["versions"] == [MODEL.digest]
    assert metadata["inputs"] == [
        {"name": "distance", "datatype": "FP32", "shape": [-1]},
        {"name": "wind", "datatype": "FP32", "shape": [-1]},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
    ]
    assert metadata["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [-1, 2]}
    assert ask(f"{url}/v1/models") == (200, {"models": ["flights"]})
    with urllib.request.urlopen(f"{url}/v1/models/flights") as response:
        assert response.headers["x-shipway-model-digest"] == MODEL.digest
    with urllib.request.urlopen(f"{url}/metrics") as response:
        assert b"shipway_request_seconds_bucket" in response.read()


def test_charset_in_the_content_type_is_no_error(predict: str, infer: str) -> None:
    content_type = "application/json; charset=utf-8"
    assert ask(predict, {"instances": [ROW]}, content_type)[0] == 200
    assert ask(infer, inputs(), content_type)[0] == 200


BAD_V1 = {
    "no JSON": (b"{", "malformed"),
    "empty body": (b"", "malformed"),
    "a list": ([ROW], "instances"),
    "no instances": ({"inputs": [ROW]}, "instances"),
    "instances no list": ({"instances": ROW}, "instances"),
    "no rows": ({"instances": []}, "at least one row"),
    "row no object": ({"instances": [[1.0, 0.5, "AA"]]}, "instances[0] must be an object"),
    "missing feature": ({"instances": [ROW, {"distance": 1, "wind": 2}]}, "instances[1] lacks carrier"),
    "unknown feature": ({"instances": [{**ROW, "colour": 1}]}, "does not know: colour"),
    "string for number": ({"instances": [{**ROW, "wind": "0.5"}]}, "instances[0].wind must be a number or null"),
    "number for string": ({"instances": [{**ROW, "carrier": 5}]}, "instances[0].carrier must be a string or null"),
    "list for number": ({"instances": [{**ROW, "wind": [1]}]}, "instances[0].wind must be a number or null"),
    "NaN": (b'{"instances": [{"distance": NaN, "wind": 1, "carrier": ""}]}', "malformed"),
    "overflow": ({"instances": [{**ROW, "wind": 1e39}]}, "range of a 32-bit float"),
    "infinite": (b'{"instances": [{"distance": 1e999, "wind": 1, "carrier": ""}]}', ""),
    "huge integer": ({"instances": [{**ROW, "wind": 10**400}]}, ""),
    "deep": (b"[" * 100_000, "malformed"),
}


@pytest.mark.parametrize("case", BAD_V1)
def test_v1_refuses_with_the_reason(predict: str, case: str) -> None:
    body, reason = BAD_V1[case]
    status, answer = ask(predict, body)
    assert status == 400
    assert reason in answer["error"]


def test_v1_refuses_another_content_type(predict: str) -> None:
    status, answer = ask(predict, {"instances": [ROW]}, "text/plain")
    assert status == 415
    assert "application/json" in answer["error"]


BAD_V2 = {
    "no JSON": (b"{", "malformed"),
    "no inputs": ({}, "inputs"),
    "no tensors": ({"inputs": []}, "lacks carrier, distance, wind"),
    "missing feature": (inputs(wind=None), "lacks wind"),
    "unknown feature": (inputs(colour=tensor("colour", "FP32", [1, 2])), "does not know: colour"),
    "twice": (inputs(again=tensor("wind", "FP32", [1, 2])), "twice"),
    "bytes for number": (inputs(wind=tensor("wind", "BYTES", ["1", "2"])), "input wind takes FP32, not BYTES"),
    "number for bytes": (inputs(carrier=tensor("carrier", "FP32", [1, 2])), "input carrier takes BYTES, not FP32"),
    "strings in FP32": (inputs(wind=tensor("wind", "FP32", ["1", "2"])), "input wind[0] must be a number"),
    "numbers in BYTES": (inputs(carrier=tensor("carrier", "BYTES", [1, 2])), "input carrier[0] must be a string"),
    "fractions in INT64": (inputs(wind=tensor("wind", "INT64", [1.5, 2])), "INT64"),
    "ragged rows": (inputs(wind=tensor("wind", "FP32", [1])), "input wind has the shape [1]"),
    "nested": (inputs(wind=tensor("wind", "FP32", [[1], [2]])), "input wind[0] must be a number"),
    "shape of rank 2": (inputs(wind=tensor("wind", "FP32", [1, 2], [2, 1])), "shape"),
    "shape lies": (inputs(wind=tensor("wind", "FP32", [1, 2, 3], [2])), "flat list of 2 values"),
    "no rows": ({"inputs": [{**t, "shape": [0], "data": []} for t in inputs()["inputs"]]}, "N >= 1"),
    "overflow": (inputs(wind=tensor("wind", "FP64", [1e39, 2])), "range of a 32-bit float"),
    "infinite": (json.dumps(inputs(wind=tensor("wind", "FP64", [float("inf"), 2]))).encode(), "malformed"),
    "unknown output": ({**inputs(), "outputs": [{"name": "colour"}]}, "no output colour"),
    "no datatype": ({"inputs": [{"name": "wind", "shape": [1], "data": [1]}]}, "datatype"),
}


@pytest.mark.parametrize("case", BAD_V2)
def test_v2_refuses_with_the_reason(infer: str, case: str) -> None:
    body, reason = BAD_V2[case]
    status, answer = ask(infer, body)
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize(
    "lies",
    [
        {"parameters": {"binary_data_size": 3}},
        {"parameters": {"binary_data_size": 10**9}},
        {"shape": [1000]},
        {"shape": "many"},
        {"datatype": 7},
        {"parameters": None},
    ],
)
def test_v2_refuses_binary_tensors_that_lie(infer: str, lies: dict[str, Any]) -> None:
    body, length = binary_request([1.0, 2.0], [b"AA", b"UA"], **lies)
    assert ask(infer, body, "application/octet-stream", **length)[0] == 400


@pytest.mark.parametrize("length", ["many", "-1", "999999", "5"])
def test_v2_refuses_a_lying_header(infer: str, length: str) -> None:
    body, _ = binary_request([1.0], [b"AA"])
    headers = {"Inference-Header-Content-Length": length}
    assert ask(infer, body, "application/octet-stream", **headers)[0] == 400


def test_unknown_models_and_fixed_repository(url: str) -> None:
    assert ask(f"{url}/v1/models/other:predict", {"instances": [ROW]})[0] == 404
    assert ask(f"{url}/v2/models/other/infer", inputs())[0] == 404
    assert ask(f"{url}/nowhere")[0] == 404
    assert ask(f"{url}/v2/repository/models/flights/unload", b"")[0] == 501
    assert ask(f"{url}/v1/models/flights:explain", {"instances": [ROW]})[0] == 501
    assert ask(f"{url}/v1/models/flights:predict", {"instances": [ROW]})[0] == 200


def run_server(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "shipway.serving.server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_that_answers_otherwise_than_after_training_is_not_served(serving_python: str, tmp_path: Path) -> None:
    scores = [list(row) for row in GOLDEN.scores]
    scores[-1][0] += 2e-4
    model = write_variant("binary", tmp_path / "model", scores=scores)
    done = run_server(serving_python, "--model-dir", str(model), "--port", "0")
    assert done.returncode == 5
    assert "DeploymentError: the model fixture does not answer its golden requests" in done.stderr


def test_other_golden_labels_are_refused_too(serving_python: str, tmp_path: Path) -> None:
    labels = ["1" if label == "0" else "0" for label in GOLDEN.labels]
    model = write_variant("binary", tmp_path / "model", labels=labels)
    assert run_server(serving_python, "--model-dir", str(model), "--port", "0").returncode == 5


def test_a_changed_file_is_refused(serving_python: str, tmp_path: Path) -> None:
    model = write_variant("binary", tmp_path / "model")
    with (model / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = run_server(serving_python, "--model-dir", str(model), "--port", "0")
    assert done.returncode == 2
    assert "model.onnx has changed" in done.stderr


def test_a_busy_port_is_named(serving_python: str, url: str) -> None:
    port = url.rpartition(":")[2]
    done = run_server(serving_python, "--model-dir", str(FIXTURES / "binary"), "--port", port)
    assert done.returncode == 4
    assert f"port {port} of 127.0.0.1 is in use by process" in done.stderr
    assert "shipway.serving.server" in done.stderr


def test_no_model(serving_python: str, tmp_path: Path) -> None:
    done = run_server(serving_python, "--model-dir", str(tmp_path))
    assert done.returncode == 2
    assert f"no model at {tmp_path}" in done.stderr
