"""A small web server over a dictionary: GET, HEAD, Range, ETag, PUT; answers in chunks below ``/chunked/``."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: RangeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        data = self.server.objects.get(self.path.strip("/"))
        if data is None:
            return self._answer(404, b"", {})
        fields = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        if self.headers.get("If-Match", fields["ETag"]) != fields["ETag"]:
            return self._answer(412, b"", {})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted or self.headers.get("If-Range", fields["ETag"]) != fields["ETag"]:
            return self._answer(200, data, fields)
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1) + 1, len(data))
        if start >= len(data):
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        fields["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._answer(206, data[start:stop], fields)

    def do_PUT(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b"".join(iter(self._chunk, b""))
        else:
            length = int(self.headers["Content-Length"])
            data = self.rfile.read(length)
            if len(data) < length:
                self.close_connection = True
                return
        self.server.objects[self.path.strip("/")] = data
        self._answer(201, b"", {})

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def _answer(self, status: int, data: bytes, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if self.path.startswith("/chunked/") and status == 200:
            self.send_header("Transfer-Encoding", "chunked")
            pieces = [data[i : i + 1000] for i in range(0, len(data), 1000)]
            data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()


class RangeServer(http.server.ThreadingHTTPServer):
    """The objects by path, without the slash in front."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients hang up here as a matter of course."""


@contextlib.contextmanager
def range_server() -> Iterator[RangeServer]:
    with RangeServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
