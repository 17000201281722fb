"""An S3 server that takes everything and keeps nothing, so that an upload costs what its client costs.

``python -m benchmarks.storage.sink`` prints its port. It answers as stores do that check CRC32C: it repeats what the
client says, and remembers of each object its size and metadata.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_BUFFER_BYTES = 1 << 20
_ETAG = '"0123456789abcdef0123456789abcdef-2"'
_LOCK = threading.Lock()
_SIZES: dict[str, int] = {}
_METADATA: dict[str, dict[str, str]] = {}


class Sink(BaseHTTPRequestHandler):
    """Speaks as much S3 as uploads need."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Takes an object or a part."""
        path = urlsplit(self.path)
        if "partNumber" in path.query:
            taken = self._taken()
            with _LOCK:
                _SIZES[path.path] += taken
        else:
            _SIZES[path.path] = self._taken()
            _METADATA[path.path] = self._metadata()
        echoed = {name: self.headers[name] for name in self.headers if re.match("x-amz-checksum-", name, re.I)}
        self._answer(200, {"ETag": _ETAG, **echoed})

    def do_POST(self) -> None:
        """Begins or ends an upload in parts."""
        path = urlsplit(self.path)
        self._taken()
        if "uploads" in parse_qs(path.query, keep_blank_values=True):
            _SIZES[path.path] = 0
            _METADATA[path.path] = self._metadata()
            self._answer(
                200, {}, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            etag = _ETAG.replace('"', "&quot;")
            self._answer(200, {}, f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>")

    def do_HEAD(self) -> None:
        """Tells what was taken."""
        path = urlsplit(self.path).path
        if path not in _SIZES:
            return self._answer(404, {})
        return self._answer(200, {"ETag": _ETAG, **_METADATA[path]}, length=_SIZES[path])

    def do_GET(self) -> None:
        """Lists nothing."""
        self._answer(200, {}, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""

    def _metadata(self) -> dict[str, str]:
        return {name: self.headers[name] for name in self.headers if name.lower().startswith("x-amz-meta-")}

    def _taken(self) -> int:
        """Reads the body and returns its length without the framing of chunks."""
        length = int(self.headers.get("Content-Length", 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self._skip(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self._skip(length)
        return int(self.headers.get("x-amz-decoded-content-length", length))

    def _skip(self, length: int) -> None:
        buffer = memoryview(bytearray(min(length, _BUFFER_BYTES)))
        while length:
            length -= self.rfile.readinto(buffer[:length])  # type: ignore[attr-defined]

    def _answer(self, status: int, headers: dict[str, str], body: str = "", length: int = -1) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length if length >= 0 else len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()
