"""Requests over gRPC that no model can answer: each is refused with its status, and is told why."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_support import Served, infer_request, serving
from serving_support import FIXTURES

from shipway.components.common.model import read_model
from shipway.serving.openinference.binary import packed

MODEL = read_model(FIXTURES / "vector")
ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA", "pixels": [0, 1.5, -2, 3]}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving({"flights": FIXTURES / "vector", "penguins": FIXTURES / "multiclass"}) as served:
        yield served


def position(name: str) -> int:
    return [feature.name for feature in MODEL.inputs].index(name)


Change = Callable[[Any, Any], Any]


def field(name: str, /, **values: Any) -> Change:
    """Changes fields of an input."""

    def change(request: Any, tensor: Any) -> None:
        for key, value in values.items():
            if key == "shape":
                del tensor.shape[:]
                tensor.shape.extend(value)
            else:
                setattr(tensor, key, value)

    change.input = name
    return change


def raw_content(name: str, content: bytes) -> Change:
    def change(request: Any, tensor: Any) -> None:
        request.raw_input_contents[position(name)] = content

    return change


def typed_content(name: str, contents: str, values: list[Any], datatype: str = "") -> Change:
    def change(request: Any, tensor: Any) -> None:
        tensor.datatype = datatype or tensor.datatype
        tensor.ClearField("contents")
        getattr(tensor.contents, contents).extend(values)

    change.input = name
    return change


def request_field(**values: Any) -> Change:
    return lambda request, _: [setattr(request, key, value) for key, value in values.items()]


def asks_for(*names: str) -> Change:
    return lambda request, _: [request.outputs.add(name=name) for name in names]


def lacks_an_input(request: Any, _: Any) -> None:
    del request.inputs[-1]
    del request.raw_input_contents[len(request.inputs) :]


def has_one_more(request: Any, _: Any) -> None:
    request.inputs.add(name="altitude", datatype="FP32", shape=[1]).contents.fp32_contents.append(1)


def gives_one_twice(request: Any, _: Any) -> None:
    request.inputs[0].CopyFrom(request.inputs[1])


def has_both_contents(request: Any, _: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1)


INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FLOATS, PIXELS = struct.pack("<f", 1.0), struct.pack("<4f", 1, 2, 3, 4)
MINUS_INFINITY = struct.pack("<f", -float("inf"))

OF_BOTH = {
    "no model name": (request_field(model_name=""), MISSING, "there is no model ''; there is flights, penguins"),
    "unknown model": (request_field(model_name="ships"), MISSING, "there is no model 'ships'"),
    "a model's path": (request_field(model_name="../flights"), MISSING, "there is no model"),
    "another version": (request_field(model_version="1"), MISSING, f"has the version {MODEL.digest}, not 1"),
    "unknown output": (asks_for("scores", "logits"), INVALID, "no output logits; it has scores and label"),
    "an input less": (lacks_an_input, INVALID, "the request lacks pixels"),
    "an input twice": (gives_one_twice, INVALID, "an input is given twice"),
    "no name": (field("wind", name=""), INVALID, "the request lacks wind"),
    "other name": (field("wind", name="storm"), INVALID, "features that the model does not know: storm"),
    "a name of 100 kB": (field("wind", name="é\0" * 50_000), INVALID, "the request lacks wind"),
    "no datatype": (field("wind", datatype=""), INVALID, ""),
    "unknown datatype": (field("wind", datatype="FP8"), INVALID, "FP8"),
    "datatype in lower case": (field("wind", datatype="fp32"), INVALID, "fp32"),
    "BYTES for a number": (field("wind", datatype="BYTES"), INVALID, "input wind"),
    "a number for BYTES": (field("carrier", datatype="FP32"), INVALID, "input carrier"),
    "no shape": (field("distance", shape=[]), INVALID, "input distance"),
    "no rows": (field("distance", shape=[0]), INVALID, "input distance"),
    "negative rows": (field("distance", shape=[-1]), INVALID, "input distance"),
    "other rows than the first": (field("wind", shape=[2]), INVALID, "input wind"),
    "negative size": (field("pixels", shape=[1, -4]), INVALID, "input pixels"),
    "both sizes negative": (field("pixels", shape=[-1, -4]), INVALID, "input pixels"),
    "transposed": (field("pixels", shape=[4, 1]), INVALID, "input pixels"),
    "flat": (field("pixels", shape=[4]), INVALID, "input pixels"),
    "one dimension more": (field("pixels", shape=[1, 4, 1]), INVALID, "input pixels"),
    "huge": (field("pixels", shape=[1 << 62, 4]), INVALID, "input pixels"),
    "huge product": (field("pixels", shape=[1 << 62] * 8), INVALID, "input pixels"),
    "a million sizes": (field("pixels", shape=[1 << 62] * 1_000_000), INVALID, "input pixels has"),
}
OF_RAW = {
    "truncated": (raw_content("distance", FLOATS[:3]), INVALID, "1 values of FP32 are 4 bytes, not 3"),
    "empty": (raw_content("distance", b""), INVALID, "1 values of FP32 are 4 bytes, not 0"),
    "too long": (raw_content("distance", FLOATS * 2), INVALID, "1 values of FP32 are 4 bytes, not 8"),
    "a vector too short": (raw_content("pixels", PIXELS[4:]), INVALID, "4 values of FP32 are 16 bytes, not 12"),
    "Infinity": (raw_content("distance", struct.pack("<f", float("inf"))), INVALID, "input distance[0] is beyond"),
    "-Infinity": (
        raw_content("pixels", PIXELS[:12] + struct.pack("<f", -float("inf"))),
        INVALID,
        "pixels[0, 3] is beyond",
    ),
    "a string's length missing": (raw_content("carrier", b"AA"), INVALID, "input carrier"),
    "a string's length lies": (raw_content("carrier", b"\xff\xff\xff\xffAA"), INVALID, "longer than the 6 bytes"),
    "a string cut": (raw_content("carrier", packed(["AA"])[:-1]), INVALID, "longer than the 5 bytes"),
    "a string too many": (
        raw_content("carrier", packed(["AA", "B6"])),
        INVALID,
        "6 bytes follow the last",
    ),
    "a string that is no UTF-8": (raw_content("carrier", b"\x01\0\0\0\xff"), INVALID, "input carrier has binary data"),
    "half a surrogate pair": (raw_content("carrier", b"\x03\0\0\0\xed\xa0\x80"), INVALID, "input carrier"),
    "contents as well": (has_both_contents, INVALID, "input distance has contents, and there are raw_input_contents"),
    "one raw content more": (has_one_more, INVALID, "there are 4 raw_input_contents for 5 inputs"),
    "FP64 of another length": (field("distance", datatype="FP64"), INVALID, "1 values of FP64 are 8 bytes, not 4"),
}
OF_TYPED = {
    "no contents": (typed_content("distance", "fp32_contents", []), INVALID, "flat list of 1 values"),
    "too few": (typed_content("pixels", "fp32_contents", [1, 2, 3]), INVALID, "flat list of 4 values"),
    "too many": (typed_content("distance", "fp32_contents", [1, 2]), INVALID, "flat list of 1 values"),
    "Infinity": (typed_content("distance", "fp32_contents", [float("inf")]), INVALID, "input distance[0] is beyond"),
    "FP64 beyond FP32": (typed_content("distance", "fp64_contents", [1e39], "FP64"), INVALID, "beyond the range"),
    "contents of another datatype": (
        typed_content("distance", "int64_contents", [1]),
        INVALID,
        "input distance holds int64_contents, but its datatype FP32 takes fp32_contents",
    ),
    "INT8 out of range": (typed_content("distance", "int_contents", [128], "INT8"), INVALID, "INT8 but holds 128"),
    "UINT16 out of range": (typed_content("distance", "uint_contents", [1 << 16], "UINT16"), INVALID, "holds 65536"),
    "FP16": (typed_content("distance", "fp32_contents", [1], "FP16"), INVALID, "only be sent in raw_input_contents"),
    "an unknown datatype": (typed_content("distance", "fp32_contents", [1], "FLOAT"), INVALID, "FLOAT"),
    "strings for numbers": (typed_content("distance", "bytes_contents", [b"1"]), INVALID, "bytes_contents"),
    "numbers for strings": (typed_content("carrier", "fp32_contents", [1]), INVALID, "BYTES takes bytes_contents"),
    "a string that is no UTF-8": (typed_content("carrier", "bytes_contents", [b"\xff"]), INVALID, "no UTF-8"),
    "a row's strings missing": (typed_content("carrier", "bytes_contents", []), INVALID, "flat list of 1 values"),
    "an input more": (has_one_more, INVALID, "features that the model does not know: altitude"),
}
CASES = [(f"raw, {name}", True, case) for name, case in {**OF_BOTH, **OF_RAW}.items()]
CASES += [(f"typed, {name}", False, case) for name, case in {**OF_BOTH, **OF_TYPED}.items()]


@pytest.mark.parametrize(("name", "raw", "case"), CASES, ids=[name for name, *_ in CASES])
def test_a_malformed_request_is_refused_with_the_reason(served: Served, name: str, raw: bool, case: Any) -> None:
    change, status, reason = case
    request = infer_request([ROW], raw)
    change(request, request.inputs[position(getattr(change, "input", "distance"))])
    started = time.perf_counter()
    with pytest.raises(grpc.RpcError) as refused:
        served.call("ModelInfer", request)
    assert refused.value.code() is status
    assert reason in refused.value.details()
    assert time.perf_counter() - started < 2


BODIES = {
    "nothing": (b"", MISSING),
    "no message": (b"\xff" * 100, INVALID),
    "JSON": (b'{"model_name": "flights"}', INVALID),
    "cut": (infer_request([ROW], raw=True).SerializeToString()[:-1], INVALID),
    "a name that is no UTF-8": (b"\x0a\x01\xff", INVALID),
    "an input that is no message": (b"\x0a\x07flights\x2a\x02\xff\xff", INVALID),
    "a length beyond the end": (b"\x0a\x07flights\x3a\xff\xff\xff\xff\x0f", INVALID),
    "no inputs": (b"\x0a\x07flights", INVALID),
}


@pytest.mark.parametrize("body", BODIES)
def test_bytes_that_are_no_request_are_refused(served: Served, body: str) -> None:
    content, status = BODIES[body]
    with pytest.raises(grpc.RpcError) as refused:
        served.raw(content)
    assert refused.value.code() is status, refused.value.details()


@pytest.mark.parametrize("method", ["ServerLive", "ModelReady", "ModelMetadata", "RepositoryModelLoad"])
def test_bytes_that_are_no_question_are_refused(served: Served, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.raw(b"\xff\xff", method)
    assert refused.value.code() is INVALID


def test_a_call_that_there_is_not(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.raw(b"", "ModelStreamInfer")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_connection_survives_what_is_refused(served: Served) -> None:
    for content, _ in BODIES.values():
        with pytest.raises(grpc.RpcError):
            served.raw(content)
    assert served.call("ModelInfer", infer_request([ROW], raw=True)).model_name == "flights"
