"""A web server for the tests: files of a directory, with the faults that the path names.

Usage: server.py DIRECTORY [CERTIFICATE]   prints its port.
"""

from __future__ import annotations

import http.server
import ssl
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

SEEN: Counter[str] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths are ``/FAULT/name``: plain, tagged, weak, nohead, busy, twice (503), short (half, once), cut (half)."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        fault, _, name = unquote(urlsplit(self.path).path).strip("/").partition("/")
        SEEN[self.command + self.path] += 1
        file = Path(sys.argv[1]) / name
        if fault == "nohead" and not body:
            return self.send_error(501)
        if fault == "forbidden":
            return self.send_error(403)
        if fault == "busy" or (fault == "twice" and SEEN[self.command + self.path] <= 2):
            return self.send_error(503)
        if not file.is_file():
            return self.send_error(404)
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if fault in ("tagged", "weak"):
            self.send_header("ETag", ("W/" if fault == "weak" else "") + f'"{hash(content)}"')
        self.end_headers()
        if body:
            half = fault == "cut" or (fault == "short" and SEEN[self.command + self.path] == 1)
            self.wfile.write(content[: len(content) // 2] if half else content)
        return None

    def log_message(self, *_args: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
