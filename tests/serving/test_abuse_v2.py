"""JSON bodies that no model can answer over v2: each is refused with the reason."""

from __future__ import annotations

import pytest
from abuse_support import INFER, MOST_GROWTH_MIB, Abused, deep, inputs, instances, refuses, tensor

from shipway.serving.openinference.door import INTEGERS


def of_wind(datatype: str = "", shape: str = "", data: str = "", more: str = "") -> bytes:
    return inputs(tensor("wind", datatype, shape, data, more))


def of_pixels(shape: str = "", data: str = "", datatype: str = "") -> bytes:
    return inputs(tensor("pixels", datatype, shape, data))


LABEL = '{"name": "label"}'
BORDERS = {
    f"{name} {border}": (of_wind(name, data=f"[0, {border}]"), f"input wind is declared {name} but holds")
    for name, (low, high) in INTEGERS.items()
    for border in (low - 1, high + 1)
}
V2: dict[str, tuple[bytes, str]] = {
    **BORDERS,
    "empty": (b"", "malformed request"),
    "a list": (b"[]", '{"inputs"'),
    "no inputs": (b"{}", '{"inputs"'),
    "v1's body": (instances(), '{"inputs"'),
    "inputs as an object": (b'{"inputs": {"wind": [1]}}', '{"inputs"'),
    "inputs as null": (b'{"inputs": null}', '{"inputs"'),
    "inputs as a string": (b'{"inputs": "wind"}', '{"inputs"'),
    "no input": (b'{"inputs": []}', "lacks carrier, distance, pixels, wind"),
    "an input as a number": (b'{"inputs": [1]}', "each input must be an object"),
    "an input as null": (b'{"inputs": [null]}', "each input must be an object"),
    "an input without a name": (b'{"inputs": [{"datatype": "FP32", "shape": [1], "data": [1]}]}', "each input must"),
    "an input without a shape": (b'{"inputs": [{"name": "wind", "datatype": "FP32", "data": [1]}]}', "each input must"),
    "an input without a datatype": (b'{"inputs": [{"name": "wind", "shape": [1], "data": [1]}]}', "each input must"),
    "an input without data": (inputs('{"name": "wind", "datatype": "FP32", "shape": [2]}'), "neither data nor"),
    "data as null": (of_wind(data="null"), "neither data nor a binary_data_size"),
    "a name as a number": (inputs().replace(b'"wind"', b"5"), "lacks wind"),
    "a name as a list": (inputs().replace(b'"wind"', b'["wind"]'), "lacks wind"),
    "an input twice": (inputs(more="").replace(b'"distance"', b'"wind"'), "an input is given twice"),
    "an input too many": (inputs(tensor("colour")), "does not know: colour"),
    "an input too few": (inputs().replace(b'"wind"', b'"wild"'), "lacks wind"),
    "an unknown datatype": (of_wind("FP8"), "input wind takes FP32, not FP8"),
    "a datatype in small letters": (of_wind("fp32"), "input wind takes FP32, not fp32"),
    "a datatype as a number": (of_wind("32"), "input wind takes FP32, not 32"),
    "a datatype as null": (of_wind("null"), "input wind takes FP32, not None"),
    "a datatype as a list": (of_wind('["FP32"]'), "input wind takes FP32"),
    "BYTES for numbers": (of_wind("BYTES", data='["1", "2"]'), "input wind takes FP32, not BYTES"),
    "numbers for BYTES": (inputs(tensor("carrier", "INT64", data="[1, 2]")), "input carrier takes BYTES, not INT64"),
    "numbers in BYTES": (inputs(tensor("carrier", data="[1, 2]")), "input carrier[0] must be a string or null"),
    "one string as BYTES": (inputs(tensor("carrier", data='"AA"')), "must hold a flat list of 2 values"),
    "strings in FP32": (of_wind("FP32", data='["1", "2"]'), "input wind[0] must be a number or null"),
    "fractions in INT64": (of_wind("INT64", data="[1, 1.5]"), "something else than integers"),
    "whole fractions in INT64": (of_wind("INT64", data="[1, 2.0]"), "something else than integers"),
    "booleans in INT8": (of_wind("INT8", data="[true, false]"), "something else than integers"),
    "numbers in BOOL": (of_wind("BOOL", data="[0, 5.5]"), "something else than true and false"),
    "strings in BOOL": (of_wind("BOOL", data='["true", "false"]'), "something else than true and false"),
    "too much in FP16": (of_wind("FP16", data="[0, 65520]"), "declared FP16 but holds 65520"),
    "too little in FP16": (of_wind("FP16", data="[0, -1e6]"), "declared FP16 but holds"),
    "too much in FP32": (of_wind("FP32", data="[0, 3.5e38]"), "input wind[1] is beyond the range of a 32-bit float"),
    "too much in FP64": (of_wind("FP64", data="[0, -1e300]"), "input wind[1] is beyond the range of a 32-bit float"),
    "NaN": (of_wind(data="[NaN, 1]"), "malformed request"),
    "-Infinity": (of_wind(data="[-Infinity, 1]"), "malformed request"),
    "1e999": (of_wind(data="[1e999, 1]"), "infinity"),
    "a shape as a number": (of_wind(shape="2"), "has the shape 2"),
    "a shape as a string": (of_wind(shape='"2"'), "has the shape 2"),
    "a shape as null": (of_wind(shape="null"), "has the shape None"),
    "a shape as an object": (of_wind(shape='{"0": 2}'), "has the shape"),
    "a shape of a string": (of_wind(shape='["2"]'), "has the shape ['2']"),
    "a shape of a fraction": (of_wind(shape="[2.0]"), "has the shape [2.0]"),
    "a shape of true": (inputs().replace(b"[2]", b"[true]").replace(b"[2, 4]", b"[true, 4]"), "[True]"),
    "a shape of null": (of_wind(shape="[null]"), "has the shape [None]"),
    "a shape in a shape": (of_wind(shape="[[2]]"), "has the shape [[2]]"),
    "rank 0": (of_wind(shape="[]"), "has the shape []"),
    "rank 0 first": (inputs(tensor("distance", shape="[]")), "N >= 1"),
    "rank 2": (of_wind(shape="[2, 1]"), "has the shape [2, 1]"),
    "rank 3": (of_pixels("[2, 2, 2]"), "has the shape [2, 2, 2]"),
    "rank 3 to the same count": (of_pixels("[2, 4, 1]"), "has the shape [2, 4, 1]"),
    "the sizes swapped": (of_pixels("[4, 2]"), "has the shape [4, 2]"),
    "no rows": (inputs().replace(b"[2]", b"[0]"), "N >= 1"),
    "no rows, no data": (of_wind(shape="[0]", data="[]"), "has the shape [0]"),
    "a negative shape": (inputs().replace(b"[2]", b"[-1]"), "N >= 1"),
    "-1 for any size": (of_wind(shape="[-1]"), "has the shape [-1]"),
    "other rows": (of_wind(shape="[3]", data="[1, 2, 3]"), "with as many rows as the first input it is [2]"),
    "2 to the 63rd rows": (inputs().replace(b"[2]", b"[9223372036854775808]"), "list of 9223372036854775808 values"),
    "2 to the 64th rows": (inputs().replace(b"[2]", b"[18446744073709551616]"), "N >= 1"),
    "ten to the 30th rows": (of_wind(shape=f"[{10**30}]"), "has the shape [1e+30]"),
    "a product that overflows": (of_pixels("[4294967296, 4294967296]"), "has the shape [4294967296, 4294967296]"),
    "a product that overflows to 8": (of_pixels("[9223372036854775812, 2]"), "has the shape"),
    "a shape of a million sizes": (of_wind(shape=f"[{', '.join(['18446744073709551615'] * 200_000)}]"), "the shape"),
    "fewer values than the shape": (of_wind(data="[1]"), "must hold a flat list of 2 values"),
    "more values than the shape": (of_wind(data="[1, 2, 3]"), "must hold a flat list of 2 values"),
    "no values": (of_wind(data="[]"), "must hold a flat list of 2 values"),
    "one value that is no list": (of_wind(data="1"), "must hold a flat list of 2 values"),
    "values as an object": (of_wind(data='{"0": 1, "1": 2}'), "must hold a flat list of 2 values"),
    "nested values": (of_wind(data="[[1], [2]]"), "input wind[0] must be a number or null, not a list"),
    "ragged values": (of_pixels(data="[[1, 2, 3, 4], [1, 2, 3]]"), "input pixels[1] must be a list of 4 numbers"),
    "nested too deeply": (of_pixels(data="[[[1, 2, 3, 4]], [[1, 2, 3, 4]]]"), "not a list of 1"),
    "half nested": (of_pixels(data="[[1, 2, 3, 4], 1, 2, 3, 4]"), "must hold a flat list of 8 values"),
    "deep": (of_wind(data=deep("[", "]", 2000)), "malformed request"),
    "id as a number": (inputs(more=', "id": 5'), "id must be a string"),
    "id as a list": (inputs(more=', "id": ["5"]'), "id must be a string"),
    "outputs as an object": (inputs(more=', "outputs": {}'), "outputs must be a list"),
    "outputs as false": (inputs(more=', "outputs": false'), "outputs must be a list"),
    "outputs as a number": (inputs(more=', "outputs": 0'), "outputs must be a list"),
    "outputs as names": (inputs(more=', "outputs": ["scores"]'), "outputs must be a list"),
    "an output without a name": (inputs(more=', "outputs": [{}]'), "outputs must be a list"),
    "an output's name as a number": (inputs(more=', "outputs": [{"name": 1}]'), "outputs must be a list"),
    "an unknown output": (inputs(more=', "outputs": [{"name": "colour"}]'), "the model has no output colour"),
    "an output twice": (inputs(more=', "outputs": [{"name": "label"}, {"name": "label"}]'), "asked for twice"),
    "an output a hundred thousand times": (
        inputs(more=f', "outputs": [{", ".join([LABEL] * 100_000)}]'),
        "asked for twice",
    ),
    "parameters as a list": (inputs(more=', "parameters": []'), "parameters must be an object"),
    "parameters as a string": (inputs(more=', "parameters": "binary"'), "parameters must be an object"),
    "binary_data_output as a number": (inputs(more=', "parameters": {"binary_data_output": 1}'), "true or false"),
    "binary_data as a string": (
        inputs(more=', "outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]'),
        "binary_data must be true or false",
    ),
    "an output's parameters as a list": (
        inputs(more=', "outputs": [{"name": "label", "parameters": ["binary_data"]}]'),
        "parameters must be an object",
    ),
    "an output's parameters as a number": (
        inputs(more=', "outputs": [{"name": "label", "parameters": 1}]'),
        "parameters must be an object",
    ),
    "classification": (
        inputs(more=', "outputs": [{"name": "scores", "parameters": {"classification": 1}}]'),
        "does not have classification",
    ),
    "shared memory": (
        inputs('{"name": "wind", "datatype": "FP32", "shape": [2], "parameters": {"shared_memory_region": "a"}}'),
        "neither data nor a binary_data_size",
    ),
    "an input's parameters as a list": (of_wind(more=', "parameters": [1]'), "the parameters of input wind must be"),
    "an input's parameters as a number": (of_wind(more=', "parameters": 1'), "the parameters of input wind must be"),
    "data and a binary_data_size": (of_wind(more=', "parameters": {"binary_data_size": 0}'), "has both data and"),
    "a binary_data_size without binary data": (
        inputs('{"name": "wind", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}'),
        "neither data nor a binary_data_size within the body",
    ),
    "inputs twice, the last empty": (inputs(more=', "inputs": []'), '"inputs" 2 times'),
    "equal ids": (inputs(more=', "id": "a", "id": "a"'), '"id" 2 times'),
    "a name twice": (of_wind(more=', "name": "wind"'), '"name" 2 times'),
    "a shape twice": (of_wind(more=', "shape": [2]'), '"shape" 2 times'),
    "data twice": (of_wind(more=', "data": [7, 8]'), '"data" 2 times'),
    "an input's parameter twice": (of_wind(more=', "parameters": {"a": 1, "a": 2}'), '"a" 2 times'),
    "an output's name twice": (inputs(more=', "outputs": [{"name": "scores", "name": "label"}]'), '"name" 2 times'),
    "a parameter twice": (
        inputs(more=', "parameters": {"binary_data_output": false, "binary_data_output": false}'),
        '"binary_data_output" 2 times',
    ),
}


@pytest.mark.parametrize(
    "more", ["", ', "outputs": [{"name": "label"}]', ', "parameters": {"binary_data_output": true}']
)
def test_v2_refuses_numbers_that_no_network_adds_up(server: Abused, more: str) -> None:
    body = inputs(
        tensor("distance", data="[1, 3e38]"),
        tensor("wind", data="[1, -3e38]"),
        tensor("pixels", data="[0, 0, 0, 0, 3e38, 3e38, -3e38, -3e38]"),
        more=more,
    )
    refuses(server.post(INFER, body), "no finite scores for row 1", 422)


@pytest.mark.parametrize("case", V2)
def test_v2_refuses(server: Abused, case: str) -> None:
    body, reason = V2[case]
    refuses(server.post(INFER, body), reason)


@pytest.mark.parametrize("datatype", INTEGERS)
def test_v2_answers_the_borders_of_integers(server: Abused, datatype: str) -> None:
    low, high = INTEGERS[datatype]
    as_json = server.post(INFER, of_wind(datatype, data=f"[{low}, {high}]"))
    as_floats = server.post(INFER, of_wind("FP64", data=f"[{float(low)}, {float(high)}]"))
    assert as_json == as_floats
    assert as_json[0] == 200


def test_memory_stays_flat(server: Abused) -> None:
    def all_of_it() -> None:
        for body, _ in V2.values():
            server.post(INFER, body)
        server.is_well()

    all_of_it()
    before = server.resident_mib
    for _ in range(4):
        all_of_it()
    assert server.resident_mib - before < MOST_GROWTH_MIB
