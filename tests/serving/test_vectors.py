"""Vector features over real HTTP: lists of numbers, as a client sends the pixels of an image."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serving_support import FIXTURES, ask

from shipway.components.common.model import Tensor, read_golden, read_model
from shipway.serving.client import EndpointClient
from shipway.serving.openinference.door import BadRequest, tensors_of_instances

GOLDEN = read_golden(FIXTURES / "vector")
MODEL = read_model(FIXTURES / "vector")
ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA", "pixels": [0, 1.5, -2, 3]}


@pytest.fixture(scope="module")
def url(start_server: Callable[..., str]) -> str:
    return start_server(FIXTURES / "vector", "images")


@pytest.fixture(scope="module")
def predict(url: str) -> str:
    return f"{url}/v1/models/images:predict"


@pytest.fixture(scope="module")
def infer(url: str) -> str:
    return f"{url}/v2/models/images/infer"


def scores_of_rows(predict: str, rows: list[dict[str, Any]]) -> list[list[float]]:
    status, answer = ask(predict, {"instances": rows})
    assert status == 200, answer
    return [[p["scores"]["0"], p["scores"]["1"]] for p in answer["predictions"]]


def inputs(pixels: Any, shape: Any = (2, 4), datatype: str = "FP32") -> dict[str, Any]:
    def tensor(name: str, kind: str, data: list[Any]) -> dict[str, Any]:
        return {"name": name, "datatype": kind, "shape": [2], "data": data}

    return {
        "inputs": [
            {"name": "pixels", "datatype": datatype, "shape": shape, "data": pixels},
            tensor("distance", "FP32", [1.0, 2.0]),
            tensor("wind", "FP32", [0.5, 0.5]),
            tensor("carrier", "BYTES", ["AA", "UA"]),
        ]
    }


def scores_of_inputs(infer: str, body: dict[str, Any]) -> np.ndarray:
    status, answer = ask(infer, body)
    assert status == 200, answer
    return np.reshape(answer["outputs"][0]["data"], (2, 2))


def test_golden_requests_over_both_protocols(url: str) -> None:
    client = EndpointClient(url, "images")
    for answer in (client.predict(GOLDEN.instances, MODEL.label_names), client.infer(GOLDEN.instances, MODEL.inputs)):
        assert answer.labels == list(GOLDEN.labels)
        np.testing.assert_allclose(answer.scores, GOLDEN.scores, atol=1e-6)


def test_a_missing_list_is_a_list_of_missing_values(predict: str) -> None:
    missing, listed, other = scores_of_rows(predict, [{**ROW, "pixels": p} for p in (None, [None] * 4, [1, 2, 3, 4])])
    assert missing == listed != other


def test_v2_takes_flat_and_nested_values_and_missing_ones(predict: str, infer: str) -> None:
    rows = [{**ROW, "pixels": [1, 2, 3, None]}, {**ROW, "distance": 2.0, "carrier": "UA", "pixels": None}]
    expected = scores_of_rows(predict, rows)
    for pixels in ([1, 2, 3, None, *[None] * 4], [[1, 2, 3, None], None]):
        np.testing.assert_allclose(scores_of_inputs(infer, inputs(pixels)), expected, atol=1e-6)
    integers = scores_of_inputs(infer, inputs([[1, 2, 3, 4], None], datatype="UINT8"))
    np.testing.assert_allclose(integers, scores_of_inputs(infer, inputs([1, 2, 3, 4, *[None] * 4])), atol=1e-6)


def binary(body: dict[str, Any], numbers: bytes) -> tuple[bytes, dict[str, str]]:
    pixels = body["inputs"][0]
    del pixels["data"]
    pixels["parameters"] = {"binary_data_size": len(numbers)}
    head = json.dumps(body).encode()
    return head + numbers, {"Inference-Header-Content-Length": str(len(head))}


def test_v2_takes_binary_values_with_nan_for_missing_ones(infer: str) -> None:
    values = [1.0, 2.0, 3.0, 4.0, float("nan"), 0.0, 0.0, 1.0]
    body, length = binary(inputs(None), struct.pack("<8f", *values))
    status, answer = ask(infer, body, "application/octet-stream", **length)
    assert status == 200, answer
    expected = scores_of_inputs(infer, inputs([*values[:4], None, *values[5:]]))
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (2, 2)), expected, atol=1e-6)


@pytest.mark.parametrize(("shape", "numbers"), [((2, 4), 7), ((2, 3), 6), ((2, 2, 2), 8), ((8,), 8), ((4, 2), 8)])
def test_v2_refuses_binary_values_of_another_shape(infer: str, shape: tuple[int, ...], numbers: int) -> None:
    body, length = binary(inputs(None, shape), bytes(4 * numbers))
    assert ask(infer, body, "application/octet-stream", **length)[0] == 400


def test_v2_refuses_a_shape_of_many_sizes_at_once(infer: str) -> None:
    body, length = binary(inputs(None, [1 << 62] * 100_000), bytes(32))
    started = time.perf_counter()
    status, answer = ask(infer, body, "application/octet-stream", **length)
    assert (status, answer["error"]) == (
        400,
        "input pixels has binary data that is no FP32: a shape of 100000 sizes is none",
    )
    assert time.perf_counter() - started < 5


def test_metadata_tells_the_size(url: str) -> None:
    assert ask(f"{url}/v2/models/images")[1]["inputs"][-1] == {"name": "pixels", "datatype": "FP32", "shape": [-1, 4]}


BAD_V1 = {
    "too short": ([1, 2, 3], "instances[1].pixels must be a list of 4 numbers or null, not a list of 3"),
    "too long": ([1, 2, 3, 4, 5], "not a list of 5"),
    "empty": ([], "not a list of 0"),
    "a number": (1.0, "not a number"),
    "a string": ("1234", "not a string"),
    "an object": ({"0": 1}, "not an object"),
    "nested": ([[1, 2], [3, 4]], "not a list of 2"),
    "nested to the right length": ([[1], [2], [3], [4]], "instances[1].pixels[0] must be a number or null, not a list"),
    "a string inside": ([1, "2", 3, 4], "instances[1].pixels[1] must be a number or null, not a string"),
    "overflow": ([1, 2, 3, 1e39], "instances[1].pixels[3] is beyond the range of a 32-bit float"),
    "huge integer": ([1, 2, 3, 10**400], ""),
}


@pytest.mark.parametrize("case", BAD_V1)
def test_v1_refuses_with_the_reason(predict: str, case: str) -> None:
    pixels, reason = BAD_V1[case]
    status, answer = ask(predict, {"instances": [ROW, {**ROW, "pixels": pixels}]})
    assert status == 400
    assert reason in answer["error"]


BAD_V2 = {
    "flat and too short": (inputs([1] * 7), "input pixels must hold a flat list of 8 values"),
    "nested and ragged": (inputs([[1, 2, 3, 4], [1, 2, 3]]), "input pixels[1] must be a list of 4 numbers or null"),
    "nested twice": (inputs([[[1], [2], [3], [4]]] * 2), "input pixels[0, 0] must be a number or null, not a list"),
    "lists of another number": (inputs([[1, 2, 3, 4]]), "flat list of 8 values"),
    "a string inside": (inputs([[1, 2, 3, 4], [1, 2, "3", 4]]), "input pixels[1, 2] must be a number or null"),
    "fractions in INT64": (inputs([[1, 2, 3, 4], [1, 2, 3.5, 4]], datatype="INT64"), "INT64"),
    "bytes": (inputs(["a"] * 8, datatype="BYTES"), "input pixels takes FP32, not BYTES"),
    "shape of another size": (inputs([1] * 6, (2, 3)), "input pixels has the shape [2, 3]"),
    "shape without the size": (inputs([1, 2], (2,)), "input pixels has the shape [2]"),
    "shape of rank 3": (inputs([1] * 8, (2, 2, 2)), "input pixels has the shape [2, 2, 2]"),
    "shape of other rows": (inputs([1] * 4, (1, 4)), "input distance has the shape [2]"),
    "empty shape": (inputs([1] * 8, ()), "N >= 1"),
    "no rows": (inputs([], (0, 4)), "N >= 1"),
}


@pytest.mark.parametrize("case", BAD_V2)
def test_v2_refuses_with_the_reason(infer: str, case: str) -> None:
    body, reason = BAD_V2[case]
    status, answer = ask(infer, body)
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize("lie", [{"shape": 5}, {"shape": None}, {"shape": ["2"]}, {"name": ["pixels"]}, {"data": "8"}])
def test_v2_refuses_what_is_no_tensor(infer: str, lie: dict[str, Any]) -> None:
    body = inputs([1] * 8)
    body["inputs"][0].update(lie)
    head = json.dumps(body).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    assert ask(infer, head, "application/octet-stream", **length)[0] == 400


@pytest.mark.parametrize(("feature", "value"), [(Tensor("{a}", "FP32"), "1"), (Tensor("{a}", "FP32", (-1, 1)), ["1"])])
def test_whatever_a_feature_is_called_the_reason_is_given(feature: Tensor, value: Any) -> None:
    with pytest.raises(BadRequest, match=r"instances\[0\]\.\{a\}.* must be a number or null, not a string"):
        tensors_of_instances([feature], {"instances": [{"{a}": value}]})
