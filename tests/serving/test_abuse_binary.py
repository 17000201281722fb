"""Binary tensors that are not what their request says: each is refused with the reason."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from abuse_support import INFER, MOST_GROWTH_MIB, PREDICT, Abused, inputs, refuses, tensor


def strings(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


RAW = {
    "distance": ("FP32", struct.pack("<2f", 1, math.nan)),
    "wind": ("INT16", struct.pack("<2h", 1, -2)),
    "carrier": ("BYTES", strings(b"AA", b"")),
    "pixels": ("FP64", struct.pack("<8d", *range(8))),
}


def binary(
    name: str = "", raw: bytes | None = None, size: Any = None, tail: bytes = b"", length: Any = None, **changes: Any
) -> tuple[bytes, str]:
    """A body with binary tensors, one of them as told, and the header that says how long its JSON is."""
    given, contents = [], []
    for feature, (datatype, usual) in RAW.items():
        content, shape = usual, [2, 4] if feature == "pixels" else [2]
        one: dict[str, Any] = {"name": feature, "datatype": datatype, "shape": shape}
        if feature == name:
            content = usual if raw is None else raw
            one |= changes
        one["parameters"] = {"binary_data_size": len(content) if size is None or feature != name else size}
        given.append(one)
        contents.append(content)
    text = json.dumps({"inputs": given}).encode()
    return text + b"".join(contents) + tail, str(len(text) if length is None else length)


def numbers(datatype: str, code: str, *values: Any) -> tuple[bytes, str]:
    return binary("wind", struct.pack(f"<{len(values)}{code}", *values), datatype=datatype)


BINARY: dict[str, tuple[tuple[bytes, str], str]] = {
    "a byte too few": (binary("wind", bytes(3)), "2 values of INT16 are 4 bytes, not 3"),
    "a byte too many": (binary("wind", bytes(5)), "2 values of INT16 are 4 bytes, not 5"),
    "no bytes": (binary("wind", b""), "2 values of INT16 are 4 bytes, not 0"),
    "cut off": ((binary()[0][:-1], binary()[1]), "neither data nor a binary_data_size within the body"),
    "all cut off": ((binary()[0][: int(binary()[1])], binary()[1]), "neither data nor a binary_data_size within"),
    "something behind": (binary(tail=b"\0"), "1 bytes follow the last tensor"),
    "much behind": (binary(tail=bytes(10**6)), "1000000 bytes follow the last tensor"),
    "a size too small": (binary("wind", size=3), "input wind has binary data that is no INT16"),
    "a size beyond the body": (binary("pixels", size=65), "neither data nor a binary_data_size within the body"),
    "a huge size": (binary("wind", size=2**63), "neither data nor a binary_data_size within the body"),
    "a size of ten to the 30th": (binary("wind", size=10**30), "neither data nor a binary_data_size within the body"),
    "a negative size": (binary("wind", size=-4), "neither data nor a binary_data_size within the body"),
    "a size of 0": (binary("wind", size=0), "2 values of INT16 are 4 bytes, not 0"),
    "a size as a string": (binary("wind", size="4"), "neither data nor a binary_data_size within the body"),
    "a size as a fraction": (binary("wind", size=4.0), "neither data nor a binary_data_size within the body"),
    "sizes that swap bytes": (
        (binary("distance", size=4)[0].replace(b'"binary_data_size": 64', b'"binary_data_size": 68'), binary()[1]),
        "input distance has binary data that is no FP32",
    ),
    "an infinity in FP32": (numbers("FP32", "f", 1, math.inf), "input wind[1] is beyond the range"),
    "an infinity in FP64": (numbers("FP64", "d", -math.inf, 1), "input wind[0] is beyond the range"),
    "an infinity in FP16": (numbers("FP16", "e", 1, math.inf), "declared FP16 but holds inf"),
    "too much in FP64": (numbers("FP64", "d", 1, 1e39), "input wind[1] is beyond the range"),
    "2 in BOOL": (numbers("BOOL", "B", 1, 2), "a BOOL is neither 0 nor 1"),
    "an unknown datatype": (binary("wind", datatype="FP8"), "'FP8', which there is not"),
    "BF16": (binary("wind", datatype="BF16"), "'BF16', which there is not"),
    "a datatype as a list": (binary("wind", datatype=["INT16"]), "which there is not"),
    "another datatype": (binary("wind", datatype="FP32"), "2 values of FP32 are 8 bytes, not 4"),
    "BYTES for numbers": (binary("wind", strings(b"1", b"2"), datatype="BYTES"), "input wind takes FP32, not BYTES"),
    "numbers for BYTES": (binary("carrier", bytes(8), datatype="FP32"), "input carrier takes BYTES, not FP32"),
    "a string too few": (binary("carrier", strings(b"AA")), "2 strings are longer than the 6 bytes"),
    "a string too many": (binary("carrier", strings(b"A", b"B", b"C")), "5 bytes follow the last of 2 strings"),
    "a length beyond the tensor": (binary("carrier", strings(b"AA") + b"\xff\xff\xff\xff"), "2 strings are longer"),
    "a length that steals the next": (binary("carrier", b"\x03\0\0\0AA" + strings(b"")), "no BYTES"),
    "half a length": (binary("carrier", strings(b"AA") + b"\0\0"), "2 strings are longer"),
    "no UTF-8": (binary("carrier", strings(b"\xff\xfe", b"")), "input carrier has binary data that is no BYTES"),
    "half a character": (binary("carrier", strings(b"\xf0\x9f", b"\x98\x80")), "that is no BYTES"),
    "a surrogate": (binary("carrier", strings(b"\xed\xa0\x80", b"")), "that is no BYTES"),
    "a shape of more": (binary("wind", shape=[3]), "3 values of INT16 are 6 bytes, not 4"),
    "a huge shape": (binary("wind", shape=[2**62]), "input wind has"),
    "many strings": (binary("carrier", shape=[2**62]), "strings are longer than the 10 bytes"),
    "a product that overflows": (binary("pixels", shape=[2**32, 2**32]), "input pixels has"),
    "a product that overflows to 8": (binary("pixels", shape=[2**63 + 4, 2]), "input pixels has"),
    "a negative shape": (binary("wind", shape=[-2]), "has the shape [-2]"),
    "negative sizes": (binary("pixels", shape=[-2, -4]), "has the shape [-2, -4]"),
    "a shape of a fraction": (binary("wind", shape=[2.0]), "has the shape [2.0]"),
    "a shape as a string": (binary("wind", shape="2"), "has the shape 2"),
    "rank 0": (binary("wind", bytes(2), shape=[]), "has the shape []"),
    "rank 3": (binary("pixels", shape=[2, 2, 2]), "has the shape [2, 2, 2]"),
    "other rows": (binary("wind", bytes(2), shape=[1]), "has the shape [1]"),
    "no rows": (binary("distance", b"", shape=[0]), "N >= 1"),
    "data and binary data": (binary("wind", data=[1, 2]), "has both data and a binary_data_size"),
    "strings for numbers beside binary data": (
        (
            (
                text := inputs(tensor("wind", data='["0.5", "2"]')).replace(
                    b'"data": [1.0, null]', b'"parameters": {"binary_data_size": 8}'
                )
            )
            + bytes(8),
            str(len(text)),
        ),
        "input wind[0] must be a number or null, not a string",
    ),
    "a key twice": (
        (
            (
                text := binary()[0][: int(binary()[1])]
                .replace(b'"id"', b"")
                .replace(b'{"inputs"', b'{"id":"a","id":"b","inputs"')
            )
            + binary()[0][int(binary()[1]) :],
            str(len(text)),
        ),
        '"id" 2 times',
    ),
    "a header of -1": (binary(length="-1"), "Inference-Header-Content-Length is '-1'"),
    "a header of +5": (binary(length="+5"), "Inference-Header-Content-Length is '+5'"),
    "a header of 0": (binary(length="0"), "malformed request"),
    "a header a byte too small": (binary(length=int(binary()[1]) - 1), "malformed request"),
    "a header a byte too large": (binary(length=int(binary()[1]) + 1), "malformed request"),
    "a header beyond the body": (binary(length=10**6), "Inference-Header-Content-Length is '1000000'"),
    "a header of 2 to the 64th": (binary(length=2**64), "Inference-Header-Content-Length is"),
    "a header of 5000 digits": (binary(length="9" * 5000), "Inference-Header-Content-Length is"),
    "a header of letters": (binary(length="many"), "Inference-Header-Content-Length is 'many'"),
    "a header in hexadecimal": (binary(length="0x10"), "Inference-Header-Content-Length is '0x10'"),
    "a header with a fraction": (binary(length="180.0"), "Inference-Header-Content-Length is '180.0'"),
    "a header of two numbers": (binary(length="5, 5"), "Inference-Header-Content-Length is '5, 5'"),
    "a header that is empty": (binary(length=""), "Inference-Header-Content-Length is ''"),
    "a superscript as a digit": (binary(length="²"), "Inference-Header-Content-Length is"),
    "white space within": (binary(length="1 8"), "Inference-Header-Content-Length is '1 8'"),
}


@pytest.mark.parametrize("case", BINARY)
def test_v2_refuses_binary(server: Abused, case: str) -> None:
    (body, length), reason = BINARY[case]
    refuses(server.post(INFER, body, "application/octet-stream", **{"Inference-Header-Content-Length": length}), reason)


@pytest.mark.parametrize("size", ["true", "1.0"])
def test_a_size_is_a_whole_number_even_where_it_would_fit(server: Abused, size: str) -> None:
    text = inputs(
        tensor("distance", shape="[1]", data="[1]"),
        tensor("carrier", shape="[1]", data='["AA"]'),
        tensor("pixels", shape="[1, 4]", data="[1, 2, 3, 4]"),
        f'{{"name": "wind", "datatype": "INT8", "shape": [1], "parameters": {{"binary_data_size": {size}}}}}',
    )
    length = {"Inference-Header-Content-Length": str(len(text))}
    answered = server.post(INFER, text + b"\1", "application/octet-stream", **length)
    refuses(answered, "input wind has neither data nor a binary_data_size within the body")


def test_v1_takes_no_binary(server: Abused) -> None:
    body, length = binary()
    refuses(server.post(PREDICT, body, **{"Inference-Header-Content-Length": length}), "belongs to v2")


def test_memory_stays_flat(server: Abused) -> None:
    def all_of_it() -> None:
        for (body, length), _ in BINARY.values():
            server.post(INFER, body, "application/octet-stream", **{"Inference-Header-Content-Length": length})
        server.is_well()

    all_of_it()
    before = server.resident_mib
    for _ in range(4):
        all_of_it()
    assert server.resident_mib - before < MOST_GROWTH_MIB
