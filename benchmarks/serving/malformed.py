"""Requests that no server should answer, mixed into the load: each is to be refused with a 4xx."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.serving.sample import Sample, Window

__all__ = ["MALFORMED", "load_malformed"]

MALFORMED = "malformed"
_PAUSE_SECONDS = 0.005
_SIZE = 32
_JSON = {"Content-Type": "application/json"}

_Request = tuple[str, dict[str, str], bytes]


def load_malformed(name: str, port: int, seconds: float, window: Window) -> Sample:
    """Sends every malformed request in turn, over and over, and counts as failed what is not refused.

    Args:
        name: Of the model in the URLs.
        port: The server's.
        seconds: How long.
        window: Counts.
    """
    requests = [*_v1(name), *_v2(name), *_v2_binary(name)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    window.begin()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for path, headers, body in requests:
            sent = time.perf_counter()
            try:
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                window.fail(f"the connection broke: {error!r}")
                connection.close()
                continue
            if 400 <= response.status < 500:
                window.latencies.append(time.perf_counter() - sent)
            else:
                window.fail(f"{response.status} for {body[:80]!r}")
            time.sleep(_PAUSE_SECONDS)
    connection.close()
    return window.end()


def _v1(name: str) -> Iterator[_Request]:
    path = f"/v1/models/{name}:predict"
    row = [0.0] * _SIZE
    for value in (
        {}, [], None, {"instances": []}, {"instances": {}}, {"instances": [{}]}, {"instances": [{"x": row[1:]}]},
        {"instances": [{"x": [*row, 0.0]}]}, {"instances": [{"x": ["1"] * _SIZE}]}, {"instances": [{"y": row}]},
        {"instances": [{"x": [True, *row[1:], []]}]}, {"instances": [{"x": [1e300, *row[1:]]}]},
        {"instances": [{"x": row}, {"x": row[2:]}]}, {"instances": [row]},
    ):  # fmt: skip
        yield path, _JSON, json.dumps(value).encode()
    for text in (b"", b"{", b'{"instances": [{"x": [NaN]}]}', b"\xff\xfe", b"[" * 100_000, b'{"instances": 1}}'):
        yield path, _JSON, text
    yield path, {"Content-Type": "text/plain"}, b'{"instances": []}'
    yield f"/v1/models/no-{name}:predict", _JSON, b'{"instances": []}'


def _v2(name: str) -> Iterator[_Request]:
    given = {"name": "x", "datatype": "FP32", "shape": [1, _SIZE], "data": [0.0] * _SIZE}
    changes: list[dict[str, Any]] = [
        {"name": "y"}, {"datatype": "FP31"}, {"datatype": "BYTES"}, {"shape": [_SIZE]}, {"shape": [1, -_SIZE]},
        {"shape": [0, _SIZE]}, {"shape": [1 << 62, _SIZE]}, {"shape": "x"}, {"data": []}, {"data": None},
        {"data": ["a"] * _SIZE}, {"datatype": "INT8", "data": [300] * _SIZE},
    ]  # fmt: skip
    for change in changes:
        yield f"/v2/models/{name}/infer", _JSON, json.dumps({"inputs": [{**given, **change}]}).encode()
    for value in ({}, {"inputs": []}, {"inputs": [given, given]}, {"inputs": [given], "outputs": [{"name": "no"}]}):
        yield f"/v2/models/{name}/infer", _JSON, json.dumps(value).encode()


def _v2_binary(name: str) -> Iterator[_Request]:
    size = 4 * _SIZE
    given = {"name": "x", "datatype": "FP32", "shape": [1, _SIZE], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [given]}).encode()
    infinite = b"\x00\x00\x80\x7f" * _SIZE
    for length, raw in (
        (len(head), b""),
        (len(head), bytes(size - 1)),
        (len(head), bytes(size + 4)),
        (len(head), infinite),
        (len(head) + 1, bytes(size)),
        (1 << 40, bytes(size)),
        (-1, bytes(size)),
    ):
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
        yield f"/v2/models/{name}/infer", headers, head + raw
