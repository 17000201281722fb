"""What uvicorn leaves open about its connections: heads that are too large, too slow or never come."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["HttpConnection"]

_MOST_HEAD_BYTES = 64 << 10
_HEAD_SECONDS = 20.0


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection, which waits neither for a head nor for its end without limits."""

    _in_head = False
    _head_bytes = 0
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Waits for the first request as for later ones."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._head_is_done()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parses, and counts what a head takes."""
        super().data_received(data)
        if not self._in_head:
            if self._head_timer:
                self._head_is_done()
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(431, f"the headers are larger than {_MOST_HEAD_BYTES:,} bytes")
        elif not self._head_timer:
            self._head_timer = self.loop.call_later(
                _HEAD_SECONDS, self._refuse, 408, f"the headers did not come within {_HEAD_SECONDS:g} s"
            )

    def _head_is_done(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, message: str) -> None:
        self._head_is_done()
        if self.transport.is_closing():
            return
        body = b'{"error":"%s"}' % message.encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
