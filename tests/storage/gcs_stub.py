"""A server that speaks Google Cloud Storage's JSON interface as documented, and fails as it is told to.

What the emulators lack: preconditions on every call, rejected checksums, resumable uploads that keep a part of what
was sent, forgotten sessions, lost answers. Use it in a thread, ``with GcsStub() as stub``, or as a process: ``python
gcs_stub.py [--null]`` prints its port and ends with its standard input. A null server forgets what is written to it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import gzip
import json
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

UNIT = 256 << 10
Resource = dict[str, Any]


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next requests that match; ``POST /_script`` takes a list of them as JSON.

    Attributes:
        on: How ``METHOD /path?query`` begins.
        status: Answered instead of doing anything.
        keep: How many bytes of a session's request are kept, or of an object are sent before the connection is cut.
        cut: Whether the connection is cut when all is done, without an answer.
        forget: Whether the session is forgotten first.
        whole: Whether an object is sent whole, whatever range is asked for.
        damage: Whether a bit of what is written changes, and no checksum is compared.
        rename: The name that an upload gets instead of its own.
        times: For how many requests.
    """

    on: str
    status: int = 0
    keep: int = -1
    cut: bool = False
    forget: bool = False
    whole: bool = False
    damage: bool = False
    rename: str = ""
    times: int = 1


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Content:
    """Bytes with their checksum; of a null server only how many, and the checksum."""

    def __init__(self, null: bool) -> None:
        self.null, self.pieces, self.size, self.crc = null, [b""], 0, 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.crc = google_crc32c.extend(self.crc, piece)
        if not self.null:
            self.pieces.append(piece)

    def data(self) -> bytes:
        self.pieces = [b"".join(self.pieces)]
        return self.pieces[0]


@dataclasses.dataclass
class Session:
    bucket: str
    metadata: Resource
    match: str | None
    content: Content
    resource: Resource | None = None


class GcsStub(ThreadingHTTPServer):
    """The server and all that it holds; ``requests`` are those so far, with their Authorization headers."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, null: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.null, self.lock = null, threading.Lock()
        self.buckets: set[str] = set()
        self.objects: dict[tuple[str, str], tuple[Resource, Content]] = {}
        self.sessions: dict[str, Session] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.connections = self.generation = 0

    def __enter__(self) -> GcsStub:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""

    def require(self, bucket: str, name: str, match: str | None) -> None:
        found = self.objects.get((bucket, name))
        if match is not None and match != (found[0]["generation"] if found else "0"):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")

    def store(self, bucket: str, metadata: Resource, match: str | None, content: Content, check: bool) -> Resource:
        crc32c = base64.b64encode(content.crc.to_bytes(4, "big")).decode()
        if check and metadata.get("crc32c", crc32c) != crc32c:
            given = metadata["crc32c"]
            raise Refusal(400, f'Provided CRC32C "{given}" doesn\'t match calculated CRC32C "{crc32c}".')
        with self.lock:
            self.require(bucket, metadata["name"], match)
            self.generation += 1
            resource = {**metadata, "bucket": bucket, "size": str(content.size), "crc32c": crc32c}
            resource["generation"] = str(1_700_000_000_000_000 + self.generation)
            resource["updated"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self.objects[bucket, metadata["name"]] = resource, content
        return resource

    def page(self, bucket: str, query: dict[str, str]) -> Resource:
        """Returns a page; its token is its last name."""
        prefix, delimiter, most = query.get("prefix", ""), query.get("delimiter"), int(query.get("maxResults", 1000))
        entries: dict[str, Resource | None] = {}
        with self.lock:
            found = sorted((name, resource) for (where, name), (resource, _) in self.objects.items() if where == bucket)
        for name, resource in found:
            head, slash, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if name.startswith(prefix):
                entries[prefix + head + slash if slash else name] = None if slash else resource
        names = [name for name in entries if name > query.get("pageToken", "")]
        token = {"nextPageToken": names[most - 1]} if len(names) > most else {}
        items = [entries[name] for name in names[:most] if entries[name]]
        return {"items": items, "prefixes": [name for name in names[:most] if not entries[name]], **token}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: GcsStub

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)._replace(scheme="", netloc="")  # a proxy is told the host
        self.path, target = address.geturl(), f"{self.command} {address.path}?{address.query}"
        self.query = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.left = int(self.headers.get("Content-Length", 0))
        with self.server.lock:
            self.server.requests.append((target, self.headers.get("Authorization", "")))
            self.fault = next((fault for fault in self.server.faults if target.startswith(fault.on)), Fault(""))
            self.fault.times -= 1
            self.server.faults[:] = [fault for fault in self.server.faults if fault.times > 0]
        try:
            if self.fault.status:
                raise Refusal(self.fault.status, "as the script says")
            self.route(address.path)
        except Refusal as refusal:
            self.answer(refusal.status, {"error": {"code": refusal.status, "message": str(refusal)}})

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def route(self, path: str) -> None:
        upload, bucket, objects, name = re.fullmatch(
            r"(/upload|/download)?(?:/storage/v1/b(?:/([^/]+)(/o(?:/(.+))?)?)?|/token|/_script)", path
        ).groups()  # type: ignore[union-attr]
        if path == "/_script":
            self.server.faults += [Fault(**fault) for fault in json.loads(self.body())]
            self.answer(200, {})
        elif path == "/token":
            self.answer(200, {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"})
        elif not bucket:
            self.server.buckets.add(json.loads(self.body())["name"])
            self.answer(200, {})
        elif bucket not in self.server.buckets:
            raise Refusal(404, "The specified bucket does not exist.")
        elif "upload_id" in self.query:
            self.session(self.query["upload_id"])
        elif upload == "/upload":
            self.upload(bucket)
        elif objects and not name:
            self.answer(200, self.server.page(bucket, self.query))
        else:
            self.object(bucket, unquote(name or ""))

    def object(self, bucket: str, name: str) -> None:
        with self.server.lock:
            found = self.server.objects.get((bucket, name))
            if not found or self.query.get("generation", found[0]["generation"]) != found[0]["generation"]:
                raise Refusal(404, f"No such object: {bucket}/{name}")
            self.server.require(bucket, name, self.query.get("ifGenerationMatch"))
            if self.command == "DELETE":
                del self.server.objects[bucket, name]
        if self.command == "DELETE":
            self.answer(204, None)
        elif self.query.get("alt") == "media":
            self.media(*found)
        else:
            self.answer(200, found[0])

    def media(self, resource: Resource, content: Content) -> None:
        data, headers = content.data(), {"X-Goog-Generation": resource["generation"]}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", "" if self.fault.whole else self.headers.get("Range", ""))
        if resource.get("contentEncoding") == "gzip" and "gzip" not in self.headers.get("Accept-Encoding", ""):
            data, wanted = gzip.decompress(data), None
        elif "contentEncoding" in resource:
            headers["Content-Encoding"] = resource["contentEncoding"]
        start, stop = (int(wanted[1]), min(int(wanted[2]) + 1, len(data))) if wanted else (0, len(data))
        if wanted and start >= len(data):
            raise Refusal(416, "The requested range cannot be satisfied.")
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self.start(206 if wanted else 200, stop - start, headers)
        if self.fault.keep >= 0:
            stop, self.close_connection = start + self.fault.keep, True
        self.wfile.write(memoryview(data)[start:stop])

    def upload(self, bucket: str) -> None:
        match, kind, body = self.query.get("ifGenerationMatch"), self.query["uploadType"], self.body()
        content, metadata = Content(self.server.null), {"name": self.query.get("name", "")}
        if kind == "resumable":
            metadata = self.named(json.loads(body))
            self.server.require(bucket, metadata["name"], match)
            identity = uuid.uuid4().hex
            self.server.sessions[identity] = Session(bucket, metadata, match, content)
            return self.start(200, 0, {"Location": f"{self.server.url}{self.path}&upload_id={identity}"})
        if kind == "multipart":
            boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].encode()
            _, first, body = body.split(boundary, 2)
            metadata = self.named(json.loads(first.partition(b"\r\n\r\n")[2]))
            body = body[: body.rindex(b"\r\n" + boundary + b"--")].partition(b"\r\n\r\n")[2]
        content.add(self.damaged(body))
        return self.answer(200, self.server.store(bucket, metadata, match, content, not self.fault.damage))

    def session(self, identity: str) -> None:
        if self.fault.forget or self.command == "DELETE":
            self.server.sessions.pop(identity, None)
        if self.command == "DELETE":
            return self.answer(499, None)
        session = self.server.sessions.get(identity)
        if session is None:
            raise Refusal(410, "The upload session is gone.")
        sent = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", self.headers["Content-Range"])
        total, content = int(sent[3]), session.content  # type: ignore[index]
        if sent and sent[1] and not session.resource:
            self.take(content, int(sent[1]), int(sent[2]) + 1, total)
        if not session.resource and content.size == total:
            place = session.bucket, session.metadata, session.match
            session.resource = self.server.store(*place, content, not self.fault.damage)
        if session.resource or self.fault.cut:
            return self.answer(200, session.resource)
        return self.start(308, 0, {"Range": f"bytes=0-{content.size - 1}"} if content.size else {})

    def take(self, content: Content, first: int, stop: int, total: int) -> None:
        """Adds what is sent to a session's content, which ignores the bytes that it has already."""
        if first > content.size or (stop < total and (stop - first) % UNIT):
            raise Refusal(400, f"Invalid request: {content.size} bytes are kept; sent were {first} to {stop}.")
        kept = content.size + self.fault.keep if self.fault.keep >= 0 else stop
        while piece := self.rfile.read(min(self.left, UNIT)):
            self.left -= len(piece)
            content.add(self.damaged(piece[max(content.size - first, 0) : max(kept - first, 0)]))
            first += len(piece)

    def named(self, metadata: Resource) -> Resource:
        return {**metadata, "name": self.fault.rename or metadata["name"]}

    def damaged(self, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:] if self.fault.damage and data else data

    def body(self) -> bytes:
        data, self.left = self.rfile.read(self.left), 0
        return data

    def answer(self, status: int, document: Resource | None) -> None:
        while self.left and (piece := self.rfile.read(min(self.left, UNIT))):
            self.left -= len(piece)
        if self.fault.cut:
            self.close_connection = True
            return
        data = b"" if document is None else json.dumps(document).encode()
        self.start(status, len(data), {"Content-Type": "application/json"})
        self.wfile.write(data)

    def start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


if __name__ == "__main__":
    with GcsStub(null="--null" in sys.argv) as stub:
        print(stub.server_port, flush=True)
        sys.stdin.read()
