"""A container registry over HTTP: manifests by tag and digest, behind tokens as the distribution specification says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """What it holds, how it behaves, and what it was asked.

    Attributes:
        manifests: By ``path:tag``: media type and bytes.
        host: Its name, with the port.
        login: User and password that the token server wants; None gives everybody a token.
        token: Whether manifests need one.
        fault: ``wrong-bytes``, ``page``, ``no-realm``, ``no-token``, ``503`` or ``429``; empty for none.
        asked: Paths and the authorization that came with them.
    """

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    host: str = ""
    login: tuple[str, str] | None = None
    token: bool = True
    fault: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, tag: str, kind: str = INDEX) -> str:
        """Holds an image from now on; returns its digest."""
        content = json.dumps({"schemaVersion": 2, "mediaType": kind, "of": f"{path}:{tag}"}).encode()
        self.manifests[f"{path}:{tag}"] = (kind, content)
        return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextlib.contextmanager
def running_registry() -> Iterator[Registry]:
    """Runs one on a free loopback port."""
    registry = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": registry}))
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization", "")
        self.registry.asked.append((self.path, authorization))
        if self.registry.fault.isdigit():
            self._answer(int(self.registry.fault), b"{}")
        elif self.path.startswith("/token?"):
            self._token(authorization)
        elif self.registry.token and not authorization.startswith("Bearer t:"):
            realm = f'realm="http://{self.registry.host}/token",' if self.registry.fault != "no-realm" else ""
            scope = f"repository:{self.path.removeprefix('/v2/').partition('/manifests/')[0]}:pull"
            challenge = f'Bearer {realm}service="the registry",scope="{scope}"'
            self._answer(401, b'{"errors": []}', {"WWW-Authenticate": challenge})
        else:
            self._manifest(authorization)

    def _token(self, authorization: str) -> None:
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[::2]
        if self.registry.login and given != self.registry.login:
            return self._answer(401, b"{}")
        (scope,) = parse_qs(urlsplit(self.path).query)["scope"]
        return self._answer(
            200, json.dumps({} if self.registry.fault == "no-token" else {"token": f"t:{scope}"}).encode()
        )

    def _manifest(self, authorization: str) -> None:
        path, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        kind, content = self.registry.manifests.get(f"{path}:{tag}", ("", b""))
        wanted = kind in self.headers.get("Accept", "")
        if not kind or not wanted or (self.registry.token and authorization != f"Bearer t:repository:{path}:pull"):
            return self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        if self.registry.fault == "page":
            return self._answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        content = content + b" " if self.registry.fault == "wrong-bytes" else content
        return self._answer(200, content, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Keeps quiet."""
