"""Bodies to fuzz the decoders of the vector fixture with: nearly right ones, strange ones and damaged ones."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from hypothesis import strategies as st
from serving_support import FIXTURES

from shipway.components.common.model import Tensor, read_model
from shipway.serving.openinference.binary import DTYPES, packed
from shipway.serving.openinference.door import INTEGERS

FEATURES = read_model(FIXTURES / "vector").inputs

FLOAT32_BORDER = (2 - 2**-24) * 2.0**127
BORDERS = [low + step for bounds in INTEGERS.values() for low in bounds for step in (-1, 0, 1)]
BORDERS += [0, 1, -1, 2**24 + 1, 2**53 + 1, 2**62 + 2**38 + 1]
FLOATS = [
    0.0,
    -0.0,
    1e-46,
    1e38,
    3.4028235e38,
    math.nextafter(FLOAT32_BORDER, 0),
    FLOAT32_BORDER,
    65504.0,
    65519.0,
    65520.0,
]

numbers = st.one_of(
    st.sampled_from(BORDERS),
    st.sampled_from([*FLOATS, *(-value for value in FLOATS)]),
    st.integers(-300, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
texts = st.one_of(
    st.sampled_from(["", "AA", "UA", "12:30", '":', "a\\b", "\0", "é😀", "null"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def rarely(strange: st.SearchStrategy[Any], usual: st.SearchStrategy[Any], one_in: int = 12) -> st.SearchStrategy[Any]:
    """Something strange once in a while, so that most of what is made still gets far."""
    return st.integers(1, one_in).flatmap(lambda drawn: strange if drawn == 2 else usual)


number = rarely(st.one_of(st.booleans(), anything), st.one_of(numbers, numbers, st.none()))
text = rarely(anything, st.one_of(texts, texts, st.none()))


def value_of(feature: Tensor) -> st.SearchStrategy[Any]:
    if feature.datatype == "BYTES":
        return text
    if len(feature.shape) == 1:
        return number
    size = feature.shape[1]
    return rarely(anything, st.lists(number, min_size=size, max_size=size) | st.none())


def json_text(value: Any) -> bytes:
    """Writes JSON as clients do: with and without spaces and escapes, chosen by the value itself."""
    kind = len(repr(value)) % 3
    separators = ((",", ":"), (", ", ": "), (" ,", " : "))[kind]
    return json.dumps(value, ensure_ascii=kind == 1, separators=separators).encode()


row = st.fixed_dictionaries({feature.name: value_of(feature) for feature in FEATURES})
strange_row = st.one_of(
    anything, row.map(lambda r: {**r, "colour": 1}), row.map(lambda r: {k: r[k] for k in list(r)[:-1]})
)
v1_bodies = st.builds(
    lambda rows, more: json_text({"instances": rows, **more}),
    rarely(anything, st.lists(rarely(strange_row, row, 30), min_size=1, max_size=4)),
    rarely(st.dictionaries(texts, anything, max_size=2), st.just({})),
)


@st.composite
def v2_inputs(draw: st.DrawFn, feature: Tensor, rows: int, binary: bool) -> tuple[dict[str, Any], bytes]:
    """An input, and the bytes that follow the JSON for it."""
    kind = "BYTES" if feature.datatype == "BYTES" else draw(st.sampled_from(sorted(DTYPES)))
    kind = draw(rarely(st.sampled_from([*DTYPES, "BYTES", "FP8", 7, None]), st.just(kind), 40))
    shape = [rows, *feature.shape[1:]]
    count = math.prod(shape)
    given = {"name": feature.name, "datatype": kind, "shape": draw(rarely(strange_shapes(shape), st.just(shape), 40))}
    raw = b""
    if binary and draw(st.booleans()):
        raw = draw(st.binary(min_size=0, max_size=9) if kind == "BYTES" else content(kind, count))
        if kind == "BYTES":
            raw = packed([draw(texts) for _ in range(count)]) if draw(st.integers(1, 8)) > 1 else raw
        size = draw(rarely(st.one_of(anything, st.integers(-1, 40), st.just(2**63)), st.just(len(raw)), 40))
        given["parameters"] = {"binary_data_size": size}
    else:
        value = text if kind == "BYTES" else number_of(kind)
        data = draw(st.lists(value, min_size=count, max_size=count))
        if len(shape) == 2 and draw(st.booleans()):
            data = [data[i : i + shape[1]] for i in range(0, count, shape[1])]
        given["data"] = draw(rarely(anything, st.just(data), 40))
    more = draw(rarely(st.fixed_dictionaries({"parameters": anything}), st.just({}), 40))
    return {**given, **more}, raw


def number_of(kind: Any) -> st.SearchStrategy[Any]:
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        return rarely(number, st.one_of(st.integers(low, high), st.sampled_from([low, high]), st.none()), 30)
    return rarely(number, st.booleans(), 30) if kind == "BOOL" else number


def content(kind: Any, count: int) -> st.SearchStrategy[bytes]:
    size = DTYPES[kind].itemsize * count if kind in DTYPES else 4
    patterns = st.sampled_from([0.0, 1.5, math.nan, math.inf, 1e39, 1e38]).map(lambda v: struct.pack("<d", v) * count)
    exact = st.binary(min_size=size, max_size=size)
    if kind == "BOOL":
        exact = st.lists(st.sampled_from([0, 1, 1, 2]), min_size=count, max_size=count).map(bytes)
    return rarely(st.binary(max_size=40), st.one_of(exact, patterns.map(lambda raw: raw[:size])), 30)


def strange_shapes(shape: list[int]) -> st.SearchStrategy[Any]:
    odd = [[], [0], [-1], [2**63], [2**64 - 1] * 3, [float(shape[0]), *shape[1:]], [*shape, 1], [shape[0] + 1], [True]]
    return st.one_of(st.sampled_from(odd), anything)


@st.composite
def v2_bodies(draw: st.DrawFn, binary: bool) -> tuple[bytes, str | None]:
    rows = draw(st.integers(1, 3))
    made = [draw(v2_inputs(feature, rows, binary)) for feature in draw(st.permutations(FEATURES))]
    made += draw(rarely(st.just(made[:1]), st.just([]), 60))
    head: dict[str, Any] = {"inputs": [given for given, _ in made]}
    output = st.fixed_dictionaries(
        {"name": rarely(anything, st.sampled_from(["scores", "label"]))},
        optional={"parameters": rarely(anything, st.dictionaries(st.just("binary_data"), st.booleans()))},
    )
    head |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "id": rarely(anything, texts),
                "outputs": rarely(anything, st.lists(output, max_size=2)),
                "parameters": rarely(anything, st.dictionaries(st.just("binary_data_output"), st.booleans())),
            },
        )
    )
    told, raw = json_text(head), b"".join(raw for _, raw in made)
    return (told + raw, str(len(told))) if binary else (told, None)


@st.composite
def mutations(draw: st.DrawFn, body: bytes) -> bytes:
    """Flips bits, cuts, repeats, swaps and overwrites parts."""
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
        part, way = body[start : min(end, start + 60)], draw(st.integers(0, 5))
        if way == 0 and body:
            at = min(start, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ (1 << draw(st.integers(0, 7)))]) + body[at + 1 :]
        elif way == 1:
            body = body[:start]
        elif way == 2:
            body = body[:start] + part + body[start:]
        elif way == 3:
            body = body[:start] + body[start + len(part) :]
        elif way == 4:
            body = body[:start] + draw(st.binary(max_size=6)) + body[start:]
        else:
            token = draw(
                st.sampled_from([b"null", b"1e999", b"-", b"{}", b"[]", b'"a":1,', b"1e39", b"true", b'"x"', b","])
            )
            body = body[:start] + token + body[start + len(token) :]
    return body
