"""What is no request, or not one of this server's: told so over HTTP."""

from __future__ import annotations

import orjson
import pytest
from abuse_support import (
    INFER,
    MODEL,
    NAME,
    PREDICT,
    Abused,
    chunks,
    exchange,
    head,
    inputs,
    instances,
    predict,
    request,
)

BODY = instances()
JSON = "content-type: application/json"
CLOSE = "connection: close"
LENGTH = f"content-length: {len(BODY)}"
CHUNKED = "transfer-encoding: chunked"
VERSION = f"/v2/models/{NAME}/versions/{MODEL.digest}"
BINARY_LENGTH = "inference-header-content-length"


HEADERS = {
    "an empty content type": (head(PREDICT, "content-type:", CLOSE, LENGTH) + BODY, 415, "application/json"),
    "a form": (head(PREDICT, "content-type: text/plain", CLOSE, LENGTH) + BODY, 415, "not 'text/plain'"),
    "almost JSON": (head(PREDICT, "content-type: application/jsonx", CLOSE, LENGTH) + BODY, 415, "jsonx"),
    "two content types": (predict(LENGTH, "content-type: text/plain"), 400, "content-type comes 2 times"),
    "the same content type twice": (predict(LENGTH, JSON), 400, "content-type comes 2 times"),
    "v2 with a form": (head(INFER, "content-type: text/plain", CLOSE, LENGTH) + BODY, 415, "application/json"),
    "gzip": (predict(LENGTH, "content-encoding: gzip"), 415, "must not be compressed"),
    "deflate over identity": (predict(LENGTH, "content-encoding: identity, deflate"), 415, "must not be compressed"),
    "two encodings": (
        predict(LENGTH, "content-encoding: gzip", "content-encoding: identity"),
        400,
        "content-encoding comes 2 times",
    ),
    "two lengths of JSON": (
        head(INFER, JSON, CLOSE, f"{BINARY_LENGTH}: 5", f"{BINARY_LENGTH}: 6", LENGTH) + BODY,
        400,
        f"{BINARY_LENGTH} comes 2 times",
    ),
    "two lengths": (predict(LENGTH, "content-length: 5"), 400, "Content-Length"),
    "the same length twice": (predict(LENGTH, LENGTH), 400, "Content-Length"),
    "a length of letters": (predict("content-length: many"), 400, "Content-Length"),
    "a negative length": (predict("content-length: -1"), 400, "Content-Length"),
    "a length with a sign": (predict(f"content-length: +{len(BODY)}"), 400, "Content-Length"),
    "a length in hexadecimal": (predict("content-length: 0x10"), 400, "Content-Length"),
    "a list of lengths": (predict(f"content-length: {len(BODY)}, {len(BODY)}"), 400, "Content-Length"),
    "a length of 30 digits": (predict(f"content-length: {'9' * 30}"), 400, "Content-Length"),
    "a length of ten terabytes": (predict("content-length: 10000000000000"), 413, "larger than 67,108,864 bytes"),
    "no length": (head(PREDICT, JSON, CLOSE), 400, "malformed request"),
    "a length and chunks": (predict(LENGTH, CHUNKED, body=chunks(BODY)), 400, "Transfer-Encoding"),
    "chunks and a length": (predict(CHUNKED, LENGTH, body=chunks(BODY)), 400, "Content-Length"),
    "chunks twice": (predict(CHUNKED, CHUNKED, body=chunks(BODY)), 400, ""),
    "chunks that are compressed": (predict("transfer-encoding: gzip, chunked", body=chunks(BODY)), 501, "chunked"),
    "another transfer encoding": (predict("transfer-encoding: gzip", body=BODY), 501, "chunked"),
    "identity and chunks": (predict("transfer-encoding: chunked, identity", body=chunks(BODY)), 400, ""),
    "a hidden transfer encoding": (
        predict("transfer-encoding:\x0bchunked", LENGTH),
        400,
        "malformed request",
    ),
    "a space before the colon": (predict("transfer-encoding : chunked", body=chunks(BODY)), 400, "malformed request"),
    "a header without a colon": (predict(LENGTH, "what is this"), 400, "malformed request"),
    "a header that is folded": (predict(LENGTH, "x-folded: a\r\n b"), 400, "malformed request"),
    "a NUL in a header": (predict(LENGTH, "x-nul: a\0b"), 400, "malformed request"),
    "a line feed in a header": (predict(LENGTH, "x-line: a\nb: c"), 400, "malformed request"),
    "a chunk of no size": (predict(CHUNKED, body=b"\r\n"), 400, "chunk size"),
    "a chunk of a bad size": (predict(CHUNKED, body=b"xyz\r\n" + BODY), 400, "chunk size"),
    "a chunk of a negative size": (predict(CHUNKED, body=b"-1\r\n" + BODY), 400, "chunk size"),
    "a chunk of a huge size": (predict(CHUNKED, body=b"f" * 20 + b"\r\n" + BODY), 400, "hunk size"),
    "a chunk that is too long": (predict(CHUNKED, body=b"5\r\n123456789\r\n0\r\n\r\n"), 400, "malformed request"),
    "a deadline of letters": (predict(LENGTH, "x-envoy-expected-rq-timeout-ms: soon"), 400, "milliseconds"),
    "a deadline of 5000 digits": (
        predict(LENGTH, f"x-envoy-expected-rq-timeout-ms: {'9' * 5000}"),
        400,
        "number of milliseconds",
    ),
    "a deadline of 400 digits": (predict(LENGTH, f"x-envoy-expected-rq-timeout-ms: {'9' * 400}"), 400, "milliseconds"),
    "a negative deadline": (predict(LENGTH, "x-envoy-expected-rq-timeout-ms: -1"), 400, "milliseconds"),
    "a header of a megabyte": (predict(LENGTH, f"x-long: {'x' * 2**20}"), 431, "larger than 65,536 bytes"),
    "a hundred thousand headers": (predict(LENGTH, *["a: b"] * 100_000), 431, "larger than 65,536 bytes"),
    "a target of a megabyte": (head("/" + "x" * 2**20, JSON, LENGTH) + BODY, 431, "larger than 65,536 bytes"),
}
LINES = {
    "nothing but lines": (b"\r\n\r\nwhat\r\n\r\n", 400, "malformed request"),
    "binary": (bytes(range(256)), 400, "malformed request"),
    "TLS": (bytes.fromhex("16030100c6010000c20303") + bytes(100), 400, "malformed request"),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 400, "malformed request"),
    "line feeds alone": (predict(LENGTH).replace(b"\r\n", b"\n"), 400, "malformed request"),
    "another version": (head(PREDICT, JSON, LENGTH, version="HTTP/9.9") + BODY, 400, "HTTP version"),
    "an unknown method": (head(PREDICT, CLOSE, method="FETCH"), 400, "method"),
    "a method in small letters": (head(PREDICT, CLOSE, method="post"), 400, "method"),
    "no method": (b" / HTTP/1.1\r\n\r\n", 400, "malformed request"),
    "OPTIONS": (head(PREDICT, CLOSE, method="OPTIONS"), 405, "takes POST"),
    "OPTIONS of all": (head("*", CLOSE, method="OPTIONS"), 404, "there is nothing at *"),
    "PUT": (head(PREDICT, JSON, CLOSE, LENGTH, method="PUT") + BODY, 405, "takes POST"),
    "PATCH": (head(PREDICT, JSON, CLOSE, LENGTH, method="PATCH") + BODY, 405, "takes POST"),
    "DELETE": (head(f"/v2/models/{NAME}", CLOSE, method="DELETE"), 405, "is only read"),
    "TRACE": (head("/", CLOSE, method="TRACE"), 405, "is only read"),
    "CONNECT": (head("example:443", CLOSE, method="CONNECT"), 405, "CONNECT is not allowed"),
    "a target beyond ASCII": (b"GET /v2/models/\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "malformed request"),
    "a space in a target": (b"GET /v2/models/a b HTTP/1.1\r\nhost: a\r\n\r\n", 400, "malformed request"),
}
MALFORMED = {**HEADERS, **LINES}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_refused(server: Abused, case: str) -> None:
    sent, status, reason = MALFORMED[case]
    (answer,) = exchange(server.address, sent)
    assert answer.status == status, answer
    assert reason in answer.error
    assert answer.headers["connection"] == "close"
    assert len(answer.body) < 1200


PATHS = {
    "nowhere": ("GET", "/nowhere", 404, "there is nothing at /nowhere"),
    "nothing": ("GET", "//", 404, "there is nothing at"),
    "two slashes": ("POST", PREDICT.replace("/models", "//models"), 404, "there is nothing at"),
    "two slashes first": ("GET", f"//v2/models/{NAME}", 404, "there is nothing at"),
    "a slash behind": ("POST", f"{INFER}/", 404, "there is nothing at"),
    "dots": ("GET", f"/v2/models/x/../{NAME}", 404, "there is nothing at"),
    "coded dots": ("GET", "/v2/models/%2e%2e/%2e%2e/etc/passwd", 404, "there is nothing at"),
    "another case": ("GET", f"/V2/models/{NAME}", 404, "there is nothing at"),
    "another model": ("POST", "/v1/models/ships:predict", 404, "there is no model 'ships'"),
    "another model over v2": ("POST", "/v2/models/ships/infer", 404, "there is no model 'ships'"),
    "no model": ("POST", "/v1/models/:predict", 404, "there is no model ''"),
    "no model over v2": ("POST", "/v2/models//infer", 404, "there is no model ''"),
    "a coded slash": ("GET", f"/v2/models%2f{NAME}%2fa", 404, "there is nothing at"),
    "a name beyond ASCII": ("GET", "/v2/models/%C3%A9%F0%9F%98%80", 404, "there is no model 'é😀'"),
    "a name that is no UTF-8": ("GET", "/v2/models/%ff%fe", 404, "there is no model"),
    "a name with a NUL": ("GET", "/v2/models/a%00b", 404, "there is no model 'a\\x00b'"),
    "a name with a line feed": ("GET", "/v2/models/a%0d%0aset-cookie:%20b", 404, "there is no model"),
    "half a code": ("GET", "/v2/models/%4", 404, "there is no model '%4'"),
    "no code": ("GET", "/v2/models/%zz", 404, "there is no model '%zz'"),
    "a long name": ("GET", "/v2/models/" + "x" * 30_000, 404, "there is no model"),
    "another version": ("POST", f"/v2/models/{NAME}/versions/7/infer", 404, f"the model {NAME} has the version"),
    "no version": ("POST", f"/v2/models/{NAME}/versions//infer", 404, "there is nothing at"),
    "a version of v1": ("POST", f"/v1/models/{NAME}/versions/1:predict", 404, "there is nothing at"),
    "what is no version": ("POST", f"/v2/models/{NAME}/releases/{MODEL.digest}/infer", 404, "there is nothing at"),
    "metadata of no version": ("GET", f"/v2/models/{NAME}/versions/7", 404, "has the version"),
    "something of a model": ("GET", f"/v2/models/{NAME}/config", 404, "there is nothing at"),
    "much of a model": ("GET", f"/v2/models/{NAME}/versions/a/b/c/d/e", 404, "there is nothing at"),
    "much of a model over v1": ("GET", f"/v1/models/{NAME}/versions/a/b/c/d/e", 404, "there is nothing at"),
    "an explanation": ("POST", f"/v1/models/{NAME}:explain", 501, "it has no explain"),
    "an empty verb": ("POST", f"/v1/models/{NAME}:", 501, "it has no"),
    "no verb": ("POST", f"/v1/models/{NAME}", 405, "is only read"),
    "reading what answers": ("GET", INFER, 405, "takes POST"),
    "reading what answers over v1": ("GET", PREDICT, 405, "takes POST"),
    "reading the index": ("GET", "/v2/repository/index", 405, "takes POST"),
    "writing health": ("POST", "/v2/health/ready", 405, "is only read"),
    "writing metadata": ("POST", f"/v2/models/{NAME}", 405, "is only read"),
    "writing the metrics": ("POST", "/metrics", 405, "is only read"),
    "loading what is fixed": ("POST", f"/v2/repository/models/{NAME}/load", 501, "--allow-repository-changes"),
    "loading what there is not": ("POST", "/v2/repository/models/ships/load", 404, "'ships' to load"),
    "an index of malformed JSON": ("POST", "/v2/repository/index", 400, "JSON object"),
    "another repository": ("POST", "/v2/repository/models/ships/reload", 404, "there is nothing at"),
}


@pytest.mark.parametrize("case", PATHS)
def test_what_there_is_not_is_told(server: Abused, case: str) -> None:
    method, target, status, reason = PATHS[case]
    body = b"[]" if "index" in target else BODY
    sent = request(target, body, CLOSE) if method == "POST" else head(target, CLOSE, method=method)
    (answer,) = exchange(server.address, sent)
    assert answer.status == status, answer
    assert reason in answer.error
    if status == 405:
        assert answer.headers["allow"] in ("POST", "GET, HEAD")


def test_a_model_may_be_asked_by_a_whole_url_a_coded_name_and_its_version(server: Abused) -> None:
    expected = server.post(PREDICT, BODY)[1]
    for target in (f"http://test{PREDICT}", f"{PREDICT}?a=b", PREDICT.replace("images", "%69mages")):
        (answer,) = exchange(server.address, request(target, BODY, CLOSE))
        assert (answer.status, answer.body) == (200, orjson.dumps(expected))
    assert server.post(f"{VERSION}/infer", inputs()) == server.post(INFER, inputs())
