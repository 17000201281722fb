"""Bodies that nobody would write by hand: the decoders agree with the door on each, or refuse it with a reason."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import orjson
import pytest
from fuzz_strategies import FEATURES, anything, json_text, mutations, v1_bodies, v2_bodies
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from serving_support import FIXTURES

from shipway.components.common.model import read_golden, read_model
from shipway.serving.openinference.binary import packed
from shipway.serving.openinference.door import (
    BadRequest,
    tensors_of_instances,
)
from shipway.serving.openinference.request import InferRequest
from shipway.serving.openinference.v1 import V1
from shipway.serving.openinference.v2 import V2

MODEL = read_model(FIXTURES / "vector")


class DoorV1(V1):
    """Never takes the quick way."""

    def _tensors(self, *_: Any) -> Any:
        raise ValueError


class DoorV2(V2):
    """Never takes the quick way."""

    def _tensors(self, *_: Any) -> Any:
        raise ValueError


V1_CODEC, V2_CODEC = V1(MODEL), V2("images", MODEL)
DOOR_V1, DOOR_V2 = DoorV1(MODEL), DoorV2("images", MODEL)
GOLDEN = read_golden(FIXTURES / "vector").instances
EXAMPLES = int(os.environ.get("SHIPWAY_FUZZ_EXAMPLES", "600"))

settings = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="SHIPWAY_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def outcome(decode: Callable[[], InferRequest]) -> InferRequest | None:
    """What a decoder makes of a body; None when it refuses it, and nothing else may be raised."""
    try:
        return decode()
    except BadRequest:
        return None


def same(quick: InferRequest | None, slow: InferRequest | None) -> None:
    assert (quick is None) == (slow is None)
    if quick and slow:
        assert (quick.rows, quick.id, quick.outputs) == (slow.rows, slow.id, slow.outputs)
        assert quick.tensors.keys() == slow.tensors.keys()
        for feature in FEATURES:
            one, other = quick.tensors[feature.name], slow.tensors[feature.name]
            assert one.dtype == other.dtype
            assert one.shape == other.shape == (quick.rows, *feature.shape[1:])
            if feature.datatype == "BYTES":
                assert one.tolist() == other.tolist()
            else:
                np.testing.assert_array_equal(one, other)
                assert not np.isinf(one).any()


@settings
@given(v1_bodies)
def test_v1_decodes_as_the_door_does(body: bytes) -> None:
    same(outcome(lambda: V1_CODEC.decode(body)), outcome(lambda: DOOR_V1.decode(body)))


@pytest.mark.parametrize("binary", [False, True])
def test_v2_decodes_as_the_door_does(binary: bool) -> None:
    @settings
    @given(v2_bodies(binary))
    def check(made: tuple[bytes, str | None]) -> None:
        body, length = made
        same(outcome(lambda: V2_CODEC.decode(body, length)), outcome(lambda: DOOR_V2.decode(body, length)))

    check()


@settings
@given(
    st.one_of(st.binary(max_size=300), anything.map(json_text)),
    st.none() | st.text(max_size=6) | st.integers().map(str),
)
def test_what_is_no_request_is_refused(body: bytes, length: str | None) -> None:
    assert outcome(lambda: V1_CODEC.decode(body)) is None
    assert outcome(lambda: V2_CODEC.decode(body, length)) is None


def golden_body(binary: bool) -> tuple[bytes, bytes]:
    """The golden requests over v2: the JSON, and what follows it."""
    inputs, tail = [], b""
    for feature in FEATURES:
        values = [instance[feature.name] for instance in GOLDEN]
        shape = [len(values), *feature.shape[1:]]
        given: dict[str, Any] = {"name": feature.name, "datatype": feature.datatype, "shape": shape}
        if binary:
            flat = tensors_of_instances(FEATURES, {"instances": list(GOLDEN)})[feature.name]
            raw = packed(flat.tolist()) if feature.datatype == "BYTES" else flat.tobytes()
            given["parameters"], tail = {"binary_data_size": len(raw)}, tail + raw
        else:
            given["data"] = values
        inputs.append(given)
    return orjson.dumps({"id": "7", "inputs": inputs, "outputs": [{"name": "scores"}]}), tail


BODIES = {
    "v1": (orjson.dumps({"instances": list(GOLDEN)}), b""),
    "v2": golden_body(binary=False),
    "binary": golden_body(binary=True),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_with_damage_are_refused_or_mean_the_same_both_ways(kind: str) -> None:
    head, tail = BODIES[kind]

    @settings
    @given(mutations(head), mutations(tail) | st.just(tail) if tail else st.just(tail), st.booleans())
    def check(text: bytes, raw: bytes, keeps_length: bool) -> None:
        if kind == "v1":
            same(outcome(lambda: V1_CODEC.decode(text)), outcome(lambda: DOOR_V1.decode(text)))
            return
        body, length = text + raw, str(len(head) if keeps_length else len(text)) if tail else None
        same(outcome(lambda: V2_CODEC.decode(body, length)), outcome(lambda: DOOR_V2.decode(body, length)))

    check()


@pytest.mark.parametrize("kind", BODIES)
def test_a_key_that_comes_twice_is_refused_wherever_it_is(kind: str) -> None:
    head, tail = BODIES[kind]
    objects = list(re.finditer(rb'\{("[a-z_]+":)', head))
    assert len(objects) > len(FEATURES)
    for found in objects:
        text = head[: found.start(1)] + found[1] + b"null," + head[found.start(1) :]
        with pytest.raises(BadRequest, match=found[1][1:-2].decode()) as refused:
            V1_CODEC.decode(text) if kind == "v1" else V2_CODEC.decode(text + tail, str(len(text)) if tail else None)
        assert "2 times" in str(refused.value)


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_without_damage_are_decoded(kind: str) -> None:
    head, tail = BODIES[kind]
    decoded = V1_CODEC.decode(head) if kind == "v1" else V2_CODEC.decode(head + tail, str(len(head)) if tail else None)
    expected = InferRequest(tensors_of_instances(FEATURES, {"instances": list(GOLDEN)}), len(GOLDEN))
    same(decoded._replace(id=None, outputs=()), expected)
