"""The protocol over gRPC, with grpcio's own client and a real server on uvloop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_support import ModelInferRequest, Served, infer_request, load, outputs_of, serving
from serving_support import FIXTURES, write_variant

from shipway.components.common.errors import ConflictError
from shipway.components.common.model import read_golden, read_model
from shipway.serving.openinference.cache import ResponseCache
from shipway.serving.openinference.grpc.server import start_grpc
from shipway.serving.openinference.inference import Exchange, Inference

GOLDEN = read_golden(FIXTURES / "vector")
MODEL = read_model(FIXTURES / "vector")
ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA", "pixels": [0, 1.5, -2, 3]}
BOTH_WAYS = pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving({"flights": FIXTURES / "vector", "penguins": FIXTURES / "multiclass"}) as served:
        yield served


RAW = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "<i1", "INT64": "<i8", "UINT64": "<u8", "BOOL": "?"}
TYPED = {"FP32": "fp32_contents", "FP64": "fp64_contents", "INT8": "int_contents", "INT64": "int64_contents"}
TYPED |= {"UINT64": "uint64_contents", "BOOL": "bool_contents"}


def position(name: str) -> int:
    return [feature.name for feature in MODEL.inputs].index(name)


def replaced(name: str, datatype: str, values: list[Any], raw: bool) -> Any:
    """Returns a request with other values, of another datatype, for one of its inputs."""
    request = infer_request([ROW], raw)
    tensor = request.inputs[position(name)]
    tensor.datatype = datatype
    if raw:
        request.raw_input_contents[position(name)] = np.array(values, RAW[datatype]).tobytes()
        return request
    tensor.ClearField("contents")
    getattr(tensor.contents, TYPED[datatype]).extend(values)
    return request


@BOTH_WAYS
def test_golden_requests(served: Served, raw: bool) -> None:
    response = served.call("ModelInfer", infer_request(GOLDEN.instances, raw, id="42"))
    assert (response.id, response.model_name, response.model_version) == ("42", "flights", MODEL.digest)
    scores, labels = outputs_of(response)
    assert labels == list(GOLDEN.labels)
    np.testing.assert_allclose(scores, GOLDEN.scores, atol=1e-6)
    assert bool(response.raw_output_contents) is raw


@BOTH_WAYS
def test_golden_requests_of_several_classes(served: Served, raw: bool) -> None:
    golden = read_golden(FIXTURES / "multiclass")
    request = infer_request(golden.instances, raw, "multiclass")
    request.model_name = "penguins"
    scores, labels = outputs_of(served.call("ModelInfer", request))
    assert labels == list(golden.labels)
    np.testing.assert_allclose(scores, golden.scores, atol=1e-6)


@BOTH_WAYS
def test_inputs_in_any_order_and_the_version_by_name(served: Served, raw: bool) -> None:
    request = infer_request([ROW], raw)
    turned = ModelInferRequest(model_name="flights", model_version=MODEL.digest)
    turned.inputs.extend(reversed(request.inputs))
    turned.raw_input_contents.extend(reversed(request.raw_input_contents))
    expected = served.call("ModelInfer", request)
    response = served.call("ModelInfer", turned)
    assert response == expected
    assert not response.id


@BOTH_WAYS
@pytest.mark.parametrize(
    ("datatype", "value"), [("INT8", -3), ("INT64", 12), ("UINT64", 1 << 40), ("FP64", 0.1), ("BOOL", True)]
)
def test_a_number_may_be_of_any_datatype(served: Served, raw: bool, datatype: str, value: Any) -> None:
    expected = served.call("ModelInfer", infer_request([{**ROW, "distance": float(value)}], raw))
    assert served.call("ModelInfer", replaced("distance", datatype, [value], raw)) == expected


def test_half_floats_are_raw_only(served: Served) -> None:
    halves = served.call("ModelInfer", replaced("pixels", "FP16", ROW["pixels"], raw=True))
    assert halves == served.call("ModelInfer", infer_request([ROW], raw=True))


@BOTH_WAYS
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_nan_is_a_missing_number(served: Served, raw: bool, datatype: str) -> None:
    nan = float("nan")
    expected = served.call("ModelInfer", infer_request([{**ROW, "pixels": None}], raw))
    assert served.call("ModelInfer", replaced("pixels", datatype, [nan] * 4, raw)) == expected


@BOTH_WAYS
@pytest.mark.parametrize("asked", [["label"], ["label", "scores"], ["scores"]])
def test_the_outputs_asked_for_are_answered_in_their_order(served: Served, raw: bool, asked: list[str]) -> None:
    request = infer_request([ROW, ROW], raw)
    for name in asked:
        request.outputs.add(name=name)
    response = served.call("ModelInfer", request)
    assert [output.name for output in response.outputs] == asked
    assert len(response.raw_output_contents) == (len(asked) if raw else 0)


def test_what_the_server_says_of_itself_and_of_its_models(served: Served) -> None:
    assert served.call("ServerLive").live
    assert served.call("ServerReady").ready
    assert served.call("ModelReady", name="flights", version=MODEL.digest).ready
    server = served.call("ServerMetadata")
    assert (server.name, "model_repository" in server.extensions) == ("shipway", True)
    about = served.call("ModelMetadata", name="flights")
    assert (about.name, list(about.versions), about.platform) == ("flights", [MODEL.digest], "onnx_onnxruntime")
    assert [(t.name, t.datatype, tuple(t.shape)) for t in (*about.inputs, *about.outputs)] == [
        (t.name, t.datatype, t.shape) for t in (*MODEL.inputs, *MODEL.outputs)
    ]
    index = served.call("RepositoryIndex").models
    assert [(entry.name, entry.state) for entry in index] == [("flights", "READY"), ("penguins", "READY")]


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
@pytest.mark.parametrize("fields", [{"name": "ships"}, {"name": ""}, {"name": "flights", "version": "2"}])
def test_a_model_that_is_not_served(served: Served, method: str, fields: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.call(method, **fields)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_repository_of_another_name(served: Served) -> None:
    with pytest.raises(grpc.RpcError, match="there is no repository 'other'"):
        served.call("RepositoryIndex", repository_name="other")


def test_a_server_that_drains_is_not_ready_and_still_answers(served: Served) -> None:
    served.ready = False
    try:
        assert not served.call("ServerReady").ready
        assert not served.call("ModelReady", name="flights").ready
        assert served.call("ServerLive").live
        assert served.call("ModelInfer", infer_request([ROW], raw=True)).outputs
    finally:
        served.ready = True


@pytest.mark.parametrize(
    ("method", "name", "status"),
    [
        ("RepositoryModelLoad", "flights", grpc.StatusCode.FAILED_PRECONDITION),
        ("RepositoryModelUnload", "flights", grpc.StatusCode.FAILED_PRECONDITION),
        ("RepositoryModelUnload", "ships", grpc.StatusCode.NOT_FOUND),
    ],
)
def test_models_are_fixed_unless_the_server_was_told(served: Served, method: str, name: str, status: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.call(method, model_name=name)
    assert refused.value.code() is status
    assert served.call("ModelReady", name="flights").ready


def test_models_are_unloaded_and_loaded(tmp_path: Path) -> None:
    path = write_variant("vector", tmp_path / "model")
    with serving({"flights": path}, may_change=True) as served:
        assert served.call("RepositoryModelUnload", model_name="flights").isUnloaded
        with pytest.raises(grpc.RpcError) as refused:
            served.call("ModelInfer", infer_request([ROW], raw=True))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        (entry,) = served.call("RepositoryIndex").models
        assert (entry.state, entry.reason) == ("UNAVAILABLE", "unloaded")
        assert not served.call("RepositoryIndex", ready=True).models
        (path / "model.onnx").rename(path / "away")
        with pytest.raises(grpc.RpcError, match="the model flights was not loaded") as refused:
            served.call("RepositoryModelLoad", model_name="flights")
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        (path / "away").rename(path / "model.onnx")
        loaded = served.call("RepositoryModelLoad", model_name="flights")
        assert (loaded.model_name, loaded.isLoaded) == ("flights", True)
        assert served.call("ModelInfer", infer_request([ROW], raw=True)).outputs


def codes(served: Served) -> dict[int, int]:
    counted = served.repository.models["flights"].metrics.codes
    return {code: count for (_, protocol, code), count in counted.items() if protocol == "grpc"}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def slow() -> Iterator[Served]:
    """Half a second for a batch, two rows in one, four may wait."""
    loading = partial(load, seconds=0.5, most_rows=2, most_waiting_rows=4)
    with serving({"flights": FIXTURES / "vector"}, loading) as served:
        served.call("ModelInfer", infer_request([ROW], raw=True))  # from now on it is known to be slow
        yield served


def test_a_call_that_is_cancelled_leaves_the_queue(slow: Served) -> None:
    batcher = slow.repository.models["flights"].batcher
    infer = slow.method("ModelInfer")
    running = infer.future(infer_request([ROW], raw=True))
    until(lambda: batcher._busy and not batcher.waiting_rows)
    waiting = infer.future(infer_request([ROW, ROW], raw=True))
    until(lambda: batcher.waiting_rows == 2)
    waiting.cancel()
    until(lambda: codes(slow).get(499) == 1)
    last = infer.future(infer_request([ROW], raw=True))
    assert running.result(10).outputs
    assert last.result(10).outputs
    rows = slow.repository.models["flights"].metrics.batch_rows
    assert rows._sum == 3, "the cancelled rows were run"


def test_the_clients_deadline_is_the_queues(slow: Served) -> None:
    infer = slow.method("ModelInfer")
    running = infer.future(infer_request([ROW], raw=True))
    with pytest.raises(grpc.RpcError) as late:
        slow.call("ModelInfer", infer_request([ROW], raw=True), timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert running.result(10).outputs
    until(lambda: sum(codes(slow).get(code, 0) for code in (499, 504)) == 1)
    assert slow.repository.models["flights"].metrics.batch_rows._sum == 2


@pytest.mark.parametrize("timeout", [None, 7.0])
def test_a_request_waits_as_long_as_its_client(timeout: float | None) -> None:
    told: list[float | None] = []

    class Listening(Inference):
        async def answer(self, *arguments: Any) -> Any:
            told.append(arguments[4])
            return await super().answer(*arguments)

    with serving({"flights": FIXTURES / "vector"}, inference=Listening()) as served:
        served.call("ModelInfer", infer_request([ROW], raw=True), timeout=timeout)
    assert told == ([None] if timeout is None else [pytest.approx(timeout, abs=2)])


def test_a_request_that_waited_too_long_is_told_so() -> None:
    inference = Inference(timeout_seconds=0.1)
    with serving({"flights": FIXTURES / "vector"}, partial(load, seconds=0.5), inference=inference) as served:
        served.call("ModelInfer", infer_request([ROW], raw=True))
        running = served.method("ModelInfer").future(infer_request([ROW], raw=True))
        until(lambda: served.repository.models["flights"].batcher._busy)
        with pytest.raises(grpc.RpcError, match="the model was not free in time") as late:
            served.call("ModelInfer", infer_request([ROW], raw=True))
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert running.result(10).outputs
        assert codes(served) == {200: 2, 504: 1}


def test_a_queue_that_is_full_says_when_to_come_back(slow: Served) -> None:
    batcher = slow.repository.models["flights"].batcher
    infer = slow.method("ModelInfer")
    answers = [infer.future(infer_request([ROW, ROW], raw=True))]
    until(lambda: batcher._busy and not batcher.waiting_rows)
    answers += [infer.future(infer_request([ROW, ROW], raw=True)) for _ in range(2)]
    until(lambda: batcher.waiting_rows == 4)
    with pytest.raises(grpc.RpcError, match="4 rows wait already") as refused:
        slow.call("ModelInfer", infer_request([ROW], raw=True))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(refused.value.trailing_metadata())["retry-after"]) >= 1
    assert all(answer.result(10).outputs for answer in answers)


def test_a_fault_of_the_server_tells_nothing_but_that(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as failed:
        served.call("ModelInfer", infer_request([{**ROW, "carrier": "explode"}], raw=True))
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == "internal error; the server's log has the details"
    assert "a secret of the server" in caplog.text


@pytest.mark.parametrize(("rows", "fits"), [(100, True), (1000, False)])
def test_messages_have_a_limit(rows: int, fits: bool) -> None:
    with serving({"flights": FIXTURES / "vector"}, most_body_bytes=10_000) as served:
        request = infer_request([ROW] * rows, raw=True)
        if fits:
            assert served.call("ModelInfer", request).outputs[0].shape[0] == rows
            return
        with pytest.raises(grpc.RpcError) as refused:
            served.call("ModelInfer", request)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.call("ServerLive").live


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_that_is_small_only_while_compressed_is_refused(served: Served, algorithm: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.raw(bytes(80 << 20), compression=algorithm)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_many_calls_at_once_on_one_channel_get_their_own_answers(served: Served) -> None:
    infer = served.method("ModelInfer")
    rows = [{**ROW, "distance": float(i % 7), "carrier": ("AA", "UA", "B6")[i % 3]} for i in range(400)]
    answers = [infer.future(infer_request([row], raw=i % 2 == 0, id=str(i)), timeout=30) for i, row in enumerate(rows)]
    expected, labels = outputs_of(served.call("ModelInfer", infer_request(rows, raw=True)))
    for i, answer in enumerate(answers):
        response = answer.result()
        scores, label = outputs_of(response)
        assert (response.id, label) == (str(i), [labels[i]])
        np.testing.assert_allclose(scores[0], expected[i], atol=1e-6)


def test_a_cached_answer_is_the_same_and_counted() -> None:
    inference = Inference(ResponseCache(1 << 20))
    with serving({"flights": FIXTURES / "vector"}, inference=inference) as served:
        request = infer_request([ROW], raw=True, id="a")
        first, second = served.call("ModelInfer", request), served.call("ModelInfer", request)
        assert first == second
        assert (inference.cache.hits, codes(served)) == (1, {200: 2})


def test_watchers_see_the_request_as_it_came(served: Served) -> None:
    seen: list[Exchange] = []
    request = infer_request([ROW], raw=True)
    served.inference.watchers.append(seen.append)
    try:
        call = served.method("ModelInfer")
        response = call(request, timeout=20, metadata=(("traceparent", "00-ab-cd-01"), ("key-bin", b"\0\1")))
    finally:
        served.inference.watchers.clear()
    (exchange,) = seen
    assert (exchange.protocol, exchange.rows, exchange.body) == ("grpc", 1, request.SerializeToString())
    assert exchange.headers[b"traceparent"] == b"00-ab-cd-01"
    assert exchange.headers[b"key-bin"] == b"\0\1"
    assert type(response).FromString(exchange.encoded[0]) == response


def test_a_port_that_somebody_has_is_refused_by_name(served: Served) -> None:
    async def start() -> None:
        server = await start_grpc(served.repository, served.inference, port=served.port, is_ready=bool)
        await server.stop(0)

    with pytest.raises(ConflictError, match=f"port {served.port} of 127.0.0.1 is in use by process"):
        asyncio.run(start())
