"""HTTP/1.1 over TCP, as much of it as an inference server needs: whole requests in, whole answers out.

httptools parses; uvicorn's server accepts connections and ends them. What would make the server wait or store without
end is refused: heads and bodies that are too large or too slow, clients that do not fetch their answers. A request that
would rather go on in another protocol, as Java's client asks for HTTP/2, is answered in this one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.server import ServerState

from shipway.serving.openinference.http import CLOSE, Door, Header, HttpError, Reply, Request, path_of

__all__ = ["HttpConnection", "HttpServer"]

_MOST_HEAD_BYTES = 64 << 10
_HEAD_SECONDS = 20.0
# How long a client that was refused may go on sending: cut off at once, it might not see why.
_LINGER_SECONDS, _LINGER_PAUSE_SECONDS = 30.0, 2.0
# How long a client may leave an answer unfetched that is more than its connection holds.
_WRITE_SECONDS = 60.0
# Requests that a client may send without waiting for answers; then it is not read from.
_MOST_QUEUED = 64
_OF_UPGRADES = (b"connection", b"upgrade", b"http2-settings")
_TICKS_BETWEEN_LOOKS = 5  # of a tenth of a second each

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class HttpServer(uvicorn.Server):
    """uvicorn's server with our connections, which it looks after."""

    def __init__(self, door: Door, **options: Any) -> None:
        """Takes what connections lead to, and more options of ``uvicorn.Config``."""
        super().__init__(
            uvicorn.Config(
                door,  # type: ignore[arg-type] # the connections get it as it is
                http=HttpConnection,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                **options,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Returns whether it is time to end."""
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]
        ends: bool = await super().on_tick(counter)
        return ends


class HttpConnection(asyncio.Protocol):
    """The connection of one client; answers its requests in their order."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 (as uvicorn calls it)
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._door: Door = config.app  # type: ignore[assignment]
        self._state, self._loop = server_state, _loop or asyncio.get_event_loop()
        self._keep_alive_seconds = float(config.timeout_keep_alive)
        self._parser = _parser(self)
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._in_head = self._in_body = self._is_last = self._is_refused = self._lingers = self._is_paused = False
        self._head_bytes = self._body_bytes = 0
        self._until = self._fetched_until = self._lingers_until = math.inf
        self._url = b""
        self._headers: list[Header] = []
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first request as for later ones."""
        self._transport: Any = transport
        self._client = transport.get_extra_info("peername")
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's interface)
        """Gives up what is under way."""
        self._state.connections.discard(self)  # type: ignore[arg-type]
        self._queue.clear()
        self._forget_body()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parses; what is complete begins to be answered."""
        if self._lingers:
            self._until = min(self._lingers_until, self._loop.time() + _LINGER_PAUSE_SECONDS)
        elif not self._is_refused and (self._in_body or not self._is_last):
            before = self._in_head, self._in_body
            self._feed(data)
            if before != (self._in_head, self._in_body):
                self._arm()
            elif self._in_head:  # what came with its beginning may belong to the request before
                self._head_bytes += len(data)
                if self._head_bytes > _MOST_HEAD_BYTES:
                    self._refuse(HttpError(431, f"the headers are larger than {_MOST_HEAD_BYTES:,} bytes", CLOSE))

    def pause_writing(self) -> None:
        """Waits for the client to fetch what it asked for, but not forever."""
        self._fetched_until = self._loop.time() + _WRITE_SECONDS
        self._read(on=False)

    def resume_writing(self) -> None:
        """Goes on."""
        self._fetched_until = math.inf
        self._read(on=True)
        self._next()

    def shutdown(self) -> None:
        """Ends with the last answer to what has begun; uvicorn's server calls it."""
        self._is_last = True
        if not self._task and not self._in_body and not self._lingers:
            self._transport.close()

    def look(self, now: float) -> None:
        """Ends what takes too long."""
        if now > self._fetched_until:
            self._transport.abort()
        elif self._task or now < self._until:
            return
        elif self._in_body:
            seconds = self._door.bodies.timeout_seconds
            self._refuse(HttpError(408, f"the body did not come within {seconds:g} s", CLOSE))
        elif self._in_head:
            self._refuse(HttpError(408, f"the headers did not come within {_HEAD_SECONDS:g} s", CLOSE))
        else:
            self._transport.close()

    def on_message_begin(self) -> None:
        """A head begins; the parser calls this and the following."""
        self._in_head, self._head_bytes = not self._is_refused, 0
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete, and says what the body will be."""
        if self._is_refused or self._is_last or self._parser.should_upgrade():
            return
        self._in_head, self._in_body = False, True
        given = dict(self._headers)
        try:
            self._door.bodies.require_readable(given)
        except HttpError as error:
            self._refuse(error)
            return
        if given.get(b"expect", b"").lower() == b"100-continue" and not self._task:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._in_body:
            return
        bodies = self._door.bodies
        self._parts.append(body)
        self._body_bytes += len(body)
        bodies.pending_bytes += len(body)
        try:
            bodies.require_room(self._body_bytes)
        except HttpError as error:
            self._refuse(error)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._in_body:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._forget_body()
            self._begin(self._request(body))

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(HttpError(400, f"malformed request: {error}", CLOSE))

    def _stay(self, rest: bytes) -> None:
        """Reads the head of a request that would go on in another protocol once more, without that wish."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(HttpError(405, "CONNECT is not allowed", CLOSE))
            return
        kept = [header for header in self._headers if header[0] not in _OF_UPGRADES]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self._headers):
            kept.append(CLOSE)
        lines = b"".join([b"%b: %b\r\n" % header for header in kept])
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._url, version, lines)
        self._parser = _parser(self)
        self._feed(head + rest)

    def _request(self, body: bytes, refusal: HttpError | None = None) -> Request:
        parser = self._parser
        keeps_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        method, path = parser.get_method().decode(), path_of(self._url)
        return Request(method, path, self._headers, body, keeps_alive, self._client, refusal)

    def _begin(self, request: Request) -> None:
        if self._task:
            self._queue.append(request)
            if len(self._queue) >= _MOST_QUEUED:
                self._read(on=False)
        else:
            self._task = self._loop.create_task(self._answer(request))
            self._state.tasks.add(self._task)

    async def _answer(self, request: Request) -> None:
        task = self._task
        try:
            reply = await self._door.respond(request)
        except asyncio.CancelledError:
            return
        finally:
            self._task = None
            self._state.tasks.discard(task)  # type: ignore[arg-type]
        self._send(request, reply)
        self._next()

    def _next(self) -> None:
        """Begins with the next request that is there, unless the client has answers to fetch."""
        if self._queue and not self._task and self._fetched_until == math.inf and not self._transport.is_closing():
            self._begin(self._queue.popleft())
            self._read(on=True)

    def _send(self, request: Request, reply: Reply) -> None:
        if self._transport.is_closing():
            return
        is_refusal, drains = CLOSE in reply.headers, CLOSE in self._state.default_headers
        is_last = self._is_last and not self._queue and not self._in_body
        closes = is_refusal or drains or is_last or not request.keeps_alive
        headers = b"".join([b"%b: %b\r\n" % header for header in reply.headers if header != CLOSE])
        end = b"connection: close\r\n\r\n" if closes else b"\r\n"
        body = b"" if request.method == "HEAD" else reply.body
        self._transport.write(
            b"%b%bcontent-length: %d\r\n%b%b" % (_STATUS_LINES[reply.status], headers, len(reply.body), end, body)
        )
        if is_refusal:
            self._linger()
        elif closes:
            self._transport.close()
        else:
            self._arm()

    def _arm(self) -> None:
        """Sets until when the client is waited for."""
        seconds = self._keep_alive_seconds
        if self._in_body or self._in_head:
            seconds = self._door.bodies.timeout_seconds if self._in_body else _HEAD_SECONDS
        self._until = self._loop.time() + seconds

    def _refuse(self, error: HttpError) -> None:
        """Refuses what is not a request, or not a whole one; those before it are answered first."""
        if self._is_refused:
            return
        nothing = Request("", "", [], b"", False, self._client, error)
        refused = self._request(b"", error) if self._in_body else nothing
        self._is_refused, self._in_head = True, False
        self._forget_body()
        self._begin(refused)

    def _linger(self) -> None:
        """Reads for a while what the client still sends."""
        self._lingers, now = True, self._loop.time()
        self._until, self._lingers_until = now + _LINGER_PAUSE_SECONDS, now + _LINGER_SECONDS
        self._read(on=True)
        self._transport.write_eof()

    def _read(self, *, on: bool) -> None:
        if self._is_paused == on and not self._transport.is_closing():
            self._is_paused = not on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _forget_body(self) -> None:
        self._door.bodies.pending_bytes -= self._body_bytes
        self._in_body, self._body_bytes, self._parts = False, 0, []


def _parser(connection: HttpConnection) -> Any:
    parser = httptools.HttpRequestParser(connection)
    # A client that says it closes may have sent more; what it asked first is answered all the same.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
