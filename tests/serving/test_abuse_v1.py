"""Bodies that no model can answer over v1: each is refused with the reason."""

from __future__ import annotations

import json

import pytest
from abuse_support import MOST_GROWTH_MIB, PREDICT, ROW, Abused, deep, inputs, instance, instances, refuses

FLOAT32_BORDER = (2 - 2**-24) * 2.0**127  # what rounds to infinity


def wind(value: str) -> bytes:
    return instances(instance(), instance(wind=value))


def carrier(value: str) -> bytes:
    return instances(instance(), instance(carrier=value))


def pixels(value: str) -> bytes:
    return instances(instance(), instance(pixels=value))


V1: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "malformed request"),
    "white space": (b" \r\n\t ", "malformed request"),
    "a NUL": (b"\0", "malformed request"),
    "NULs around": (b"\0" + instances() + b"\0", "malformed request"),
    "a byte order mark": (b"\xef\xbb\xbf" + instances(), "byte order mark"),
    "UTF-16": (instances().decode().encode("utf-16"), "malformed request"),
    "UTF-16 without a mark": (instances().decode().encode("utf-16-le"), "malformed request"),
    "UTF-32": (instances().decode().encode("utf-32-be"), "malformed request"),
    "Latin-1": (carrier('"é"').decode().encode("latin-1"), "UTF-8"),
    "overlong UTF-8": (carrier('"X"').replace(b"X", b"\xc0\x80"), "UTF-8"),
    "a surrogate in UTF-8": (carrier('"X"').replace(b"X", b"\xed\xa0\x80"), "UTF-8"),
    "half a character": (carrier('"X"').replace(b'X"', b'\xf0\x9f\x98"'), "UTF-8"),
    "a lone surrogate": (carrier(r'"\ud800"'), "surrogate"),
    "surrogates the wrong way round": (carrier(r'"\udc00\ud800"'), "malformed request"),
    "a bad escape": (carrier(r'"\x41"'), "malformed request"),
    "half an escape": (carrier(r'"\u00"'), "malformed request"),
    "a control character": (carrier('"a\nb"'), "control character"),
    "cut off": (instances()[:-1], "malformed request"),
    "cut off in a string": (instances()[:40], "malformed request"),
    "garbage behind": (instances() + b"}", "malformed request"),
    "two bodies": (instances() * 2, "malformed request"),
    "a comment": (b"/* rows */" + instances(), "malformed request"),
    "a comment behind": (instances() + b"// rows", "malformed request"),
    "a comma too many": (instances().replace(b"]}", b"],}"), "malformed request"),
    "a comma behind a row": (instances(instance(), ""), "malformed request"),
    "single quotes": (instances().replace(b'"', b"'"), "malformed request"),
    "names without quotes": (b'{instances: [{"wind": 1}]}', "malformed request"),
    "Python": (str({"instances": [ROW]}).encode(), "malformed request"),
    "a form": (b"instances=1", "malformed request"),
    "XML": (b"<instances/>", "malformed request"),
    "null": (b"null", "must be a JSON object"),
    "true": (b"true", "must be a JSON object"),
    "a number": (b"1", "must be a JSON object"),
    "a string": (b'"instances"', "must be a JSON object"),
    "a list": (b"[]", "must be a JSON object"),
    "a list of rows": (f"[{instance()}]".encode(), "must be a JSON object"),
    "an empty object": (b"{}", '{"instances"'),
    "v2's body": (inputs(), '{"instances"'),
    "capitals": (instances().replace(b"instances", b"Instances"), '{"instances"'),
    "rows as an object": (f'{{"instances": {instance()}}}'.encode(), '{"instances"'),
    "rows as a string": (b'{"instances": "rows"}', '{"instances"'),
    "rows as a number": (b'{"instances": 1}', '{"instances"'),
    "rows as null": (b'{"instances": null}', '{"instances"'),
    "no rows": (b'{"instances": []}', "at least one row"),
    "a row as a list": (b'{"instances": [[1, 0.5, "AA", [0, 1, 2, 3]]]}', "instances[0] must be an object"),
    "a row as a number": (instances(instance(), "5"), "instances[1] must be an object of feature names and values"),
    "a row as null": (instances(instance(), "null"), "instances[1] must be an object of feature names and values"),
    "a row as four letters": (instances('"wind"'), "instances[0] must be an object of feature names and values"),
    "a row in a list": (instances(f"[{instance()}]"), "instances[0] must be an object of feature names and values"),
    "an empty row": (instances("{}"), "instances[0] lacks carrier, distance, pixels, wind"),
    "a feature too few": (instances(instance(), instance(wind=None)), "instances[1] lacks wind (send null"),
    "a feature too many": (instances(instance(colour="1")), "features that the model does not know: colour"),
    "another feature": (instances(instance(wind=None, Wind="1")), "lacks wind"),
    "a feature without a name": (instances(instance(**{"": "1"})), "does not know"),
    "columns": (b'{"instances": {"distance": [1], "wind": [1], "carrier": ["AA"]}}', '{"instances"'),
    "NaN": (wind("NaN"), "malformed request"),
    "Infinity": (wind("Infinity"), "malformed request"),
    "-Infinity": (wind("-Infinity"), "malformed request"),
    "nan as a string": (wind('"NaN"'), "instances[1].wind must be a number or null, not a string"),
    "1e999": (wind("1e999"), "infinity"),
    "-1e999": (wind("-1e999"), "infinity"),
    "ten to the 400th": (wind("1" + "0" * 400), "infinity"),
    "ten to the 39th": (wind("1" + "0" * 39), "instances[1].wind is beyond the range of a 32-bit float"),
    "1e39": (wind("1e39"), "instances[1].wind is beyond the range of a 32-bit float"),
    "-1e39": (wind("-1e39"), "instances[1].wind is beyond the range of a 32-bit float"),
    "the least that is too much": (wind(repr(FLOAT32_BORDER)), "beyond the range of a 32-bit float"),
    "+1": (wind("+1"), "malformed request"),
    "01": (wind("01"), "malformed request"),
    ".5": (wind(".5"), "malformed request"),
    "5.": (wind("5."), "malformed request"),
    "1e": (wind("1e"), "malformed request"),
    "0x10": (wind("0x10"), "malformed request"),
    "1_000": (wind("1_000"), "malformed request"),
    "full-width digits": (wind("\uff11"), "malformed request"),
    "a number as a string": (wind('"0.5"'), "instances[1].wind must be a number or null, not a string"),
    "an empty string for a number": (wind('""'), "instances[1].wind must be a number or null, not a string"),
    "a list for a number": (wind("[1]"), "instances[1].wind must be a number or null, not a list"),
    "an object for a number": (wind('{"value": 1}'), "instances[1].wind must be a number or null, not an object"),
    "nothing for a number": (wind(""), "malformed request"),
    "a number for a string": (carrier("5"), "instances[1].carrier must be a string or null, not a number"),
    "a boolean for a string": (carrier("true"), "instances[1].carrier must be a string or null, not a boolean"),
    "a list for a string": (carrier('["AA"]'), "instances[1].carrier must be a string or null, not a list"),
    "base64 for a string": (carrier('{"b64": "QUE="}'), "instances[1].carrier must be a string or null"),
    "a short vector": (pixels("[1, 2, 3]"), "instances[1].pixels must be a list of 4 numbers or null"),
    "a long vector": (pixels("[1, 2, 3, 4, 5]"), "not a list of 5"),
    "an empty vector": (pixels("[]"), "not a list of 0"),
    "a number for a vector": (pixels("1"), "instances[1].pixels must be a list of 4 numbers or null, not a number"),
    "an object for a vector": (pixels('{"0": 1, "1": 2, "2": 3, "3": 4}'), "not an object"),
    "a string in a vector": (pixels('[1, "2", 3, 4]'), "instances[1].pixels[1] must be a number or null"),
    "a list in a vector": (pixels("[1, 2, [3], 4]"), "instances[1].pixels[2] must be a number or null"),
    "a ragged vector": (pixels("[[1, 2], [3]]"), "not a list of 2"),
    "too much in a vector": (pixels("[1, 2, 3, 1e39]"), "instances[1].pixels[3] is beyond the range"),
    "instances twice, the last empty": (instances(more=', "instances": []'), '"instances" 2 times'),
    "equal instances twice": (
        b'{"instances": [%b], "instances": [%b]}' % ((instance().encode(),) * 2),
        '"instances" 2 times',
    ),
    "a feature twice": (instances(instance()[:-1] + ', "wind": 0.5}'), '"wind" 2 times'),
    "a feature twice, once escaped": (instances(instance()[:-1] + ', "\\u0077ind": 0.5}'), '"wind" 2 times'),
    "a feature twice, with a space": (instances(instance()[:-1] + ', "wind" : 0.5}'), '"wind" 2 times'),
    "a feature twice and a colon": (instances(instance(carrier='"12:30"')[:-1] + ', "wind": 0.5}'), '"wind" 2 times'),
    "a feature thrice": (instances(instance()[:-1] + ', "wind": 1, "wind": 2}'), '"wind" 3 times'),
    "a parameter twice": (instances(more=', "parameters": {"a": 1, "a": 1}'), '"a" 2 times'),
    "deep lists": (b"[" * 100_000, "malformed request"),
    "deep lists that end": (deep("[", "]", 5000).encode(), "malformed request"),
    "deep objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "malformed request"),
    "a deep value": (wind(deep("[", "]", 2000)), "malformed request"),
    "a value of some depth": (wind(deep("[", "]", 900)), "instances[1].wind must be a number or null, not a list"),
    "a deep parameter": (instances(more=f', "parameters": {{"a": {deep("[", "]", 1015)}}}'), "nested too deeply"),
    "a name of a megabyte": (instances(instance(**{"x" * 2**20: "1"})), "does not know: xxx"),
}


def test_v1_refuses_numbers_that_no_network_adds_up(server: Abused) -> None:
    row = instance(distance="3e38", wind="-3e38", pixels="[3e38, 3e38, -3e38, -3e38]")
    refuses(server.post(PREDICT, instances(instance(), row)), "no finite scores for row 1", 422)


@pytest.mark.parametrize("case", V1)
def test_v1_refuses(server: Abused, case: str) -> None:
    body, reason = V1[case]
    refuses(server.post(PREDICT, body), reason)


ANSWERED_V1 = {
    "spaces around": b" \r\n\t" + instances() + b"\n ",
    "no spaces": instances().replace(b" ", b""),
    "another order": instances('{"pixels": [0, 1.5, -2, 3], "carrier": "AA", "wind": 0.5, "distance": 1.0}'),
    "escapes": instances(instance()).replace(b'"wind"', rb'"\u0077ind"').replace(b'"AA"', rb'"\u0041A"'),
    "exponents": instances(instance(distance="10e-1", wind="5E-1")),
    "more than instances": instances(more=', "parameters": {"a": {"b": [{"c": 1}]}}, "signature_name": "x:y"'),
}


@pytest.mark.parametrize("case", ANSWERED_V1)
def test_v1_answers_what_is_only_unusual(server: Abused, case: str) -> None:
    assert server.post(PREDICT, ANSWERED_V1[case]) == server.post(PREDICT, instances())


def test_v1_answers_extreme_values(server: Abused) -> None:
    rows = [instance(wind=value) for value in ("-0.0", "1e-400", "1e37", "-1e37", "true", str(2**64 - 1))]
    status, answer = server.post(PREDICT, instances(*rows))
    assert status == 200, answer
    assert len(answer["predictions"]) == len(rows)


@pytest.mark.parametrize("text", ["", "12:30", '"', "\\", "\0", "é", "😀", "x" * 100_000, '","wind":1,"'])
def test_a_string_is_only_a_string(server: Abused, text: str) -> None:
    unknown = server.post(PREDICT, carrier('"a carrier nobody has seen"'))
    assert server.post(PREDICT, carrier(json.dumps(text))) == unknown
    assert server.post(PREDICT, carrier(json.dumps(text, ensure_ascii=False))) == unknown
    assert server.post(PREDICT, carrier("null")) == unknown


def test_memory_stays_flat(server: Abused) -> None:
    def all_of_it() -> None:
        for body, _ in V1.values():
            server.post(PREDICT, body)
        server.is_well()

    all_of_it()
    before = server.resident_mib
    for _ in range(4):
        all_of_it()
    assert server.resident_mib - before < MOST_GROWTH_MIB
