"""The quick way of reading a gRPC request against the explaining one, and against bytes of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grpc_support import ModelInferRequest, infer_request
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_support import FIXTURES

from shipway.components.common.model import read_golden, read_model
from shipway.serving.openinference.binary import DTYPES, packed
from shipway.serving.openinference.door import BadRequest, NotFinite
from shipway.serving.openinference.grpc.codec import V2Grpc

MODEL = read_model(FIXTURES / "vector")
CODEC, EXPLAINING = V2Grpc("flights", MODEL), V2Grpc("flights", MODEL)
GOLDEN = read_golden(FIXTURES / "vector")
REQUESTS = [infer_request(list(GOLDEN.instances), raw).SerializeToString() for raw in (True, False)]
FIELDS = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
SPECIAL = [0, 1, -1, 127, 128, 255, 256, 1 << 31, 1 << 63, 0.5, 1e39, -1e39, float("nan"), float("inf"), 65504, 70000]


def stumble(*_: Any) -> Any:
    raise ValueError


EXPLAINING._tensors = stumble


def outcome(codec: V2Grpc, body: bytes) -> Any:
    try:
        return codec.decode(body)
    except BadRequest as error:
        return str(error)


@st.composite
def requests(draw: Any) -> bytes:
    """Returns a request that is right, or wrong in a way or two."""
    raw, rows = draw(st.booleans()), draw(st.integers(0, 3))
    request = ModelInferRequest(model_name="flights")
    for feature in draw(st.permutations(MODEL.inputs)):
        if draw(st.integers(0, 30)) == 0:
            continue
        datatype = draw(st.sampled_from(["FP32", *DTYPES, "FP8"])) if feature.datatype == "FP32" else "BYTES"
        shape = [rows, *feature.shape[1:]]
        if draw(st.integers(0, 20)) == 0:
            shape = draw(st.lists(st.integers(-1, 4), max_size=3))
        tensor = request.inputs.add(name=feature.name, datatype=datatype, shape=shape)
        count = max(0, int(np.prod(shape))) + draw(st.sampled_from([0] * 20 + [1, -1]))
        if datatype == "BYTES":
            texts = draw(st.lists(st.text(max_size=3), min_size=max(count, 0), max_size=max(count, 0)))
            content = packed(texts) if raw else [text.encode() for text in texts]
        elif raw:
            dtype = DTYPES.get(datatype, np.dtype("u1"))
            values = draw(st.lists(st.sampled_from(SPECIAL), min_size=max(count, 0), max_size=max(count, 0)))
            with np.errstate(all="ignore"):
                content = np.array(values, "f8").astype(dtype).tobytes()
        else:
            content = draw(st.lists(st.sampled_from(SPECIAL), min_size=max(count, 0), max_size=max(count, 0)))
        if raw:
            request.raw_input_contents.append(content)
        else:
            _fill(tensor.contents, "bytes" if datatype == "BYTES" else draw(st.sampled_from(FIELDS)), datatype, content)
    return bytes(request.SerializeToString())


def _fill(contents: Any, field: str, datatype: str, values: list[Any]) -> None:
    usual = {"FP32": "fp32", "FP64": "fp64", "BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "BYTES": "bytes"}
    for name in (usual.get(datatype, "uint" if datatype.startswith("U") else "int"), field):
        for value in values:
            try:
                getattr(contents, f"{name}_contents").append(value)
            except (TypeError, ValueError, OverflowError):
                continue
        if len(getattr(contents, f"{name}_contents")) == len(values):
            return


def test_scores_that_are_none_are_no_answer() -> None:
    request = CODEC.decode(REQUESTS[0])
    scores = np.array(GOLDEN.scores, np.float32)
    scores[2, 0] = np.nan
    with pytest.raises(NotFinite, match="no finite scores for row 2"):
        CODEC.encode(request, (scores, np.array(GOLDEN.labels, object)))


@settings(max_examples=1500, deadline=None)
@given(requests())
def test_the_quick_way_is_the_explaining_one(body: bytes) -> None:
    quick, explained = outcome(CODEC, body), outcome(EXPLAINING, body)
    if isinstance(explained, str) or isinstance(quick, str):
        assert quick == explained
        return
    assert (quick.rows, quick.outputs) == (explained.rows, explained.outputs)
    assert quick.tensors.keys() == explained.tensors.keys()
    for name, tensor in quick.tensors.items():
        other = explained.tensors[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape)
        assert np.array_equal(tensor, other, equal_nan=tensor.dtype != object)


@settings(max_examples=3000, deadline=None)
@given(st.sampled_from(REQUESTS), st.data())
def test_changed_bytes_are_read_or_refused(body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = start + data.draw(st.integers(0, 4))
        changed[start:end] = data.draw(st.binary(max_size=4))
    outcome(CODEC, bytes(changed))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(body: bytes) -> None:
    outcome(CODEC, body)
