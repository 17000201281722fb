"""Just enough of HTTP/1.1 to tell where messages and their bodies begin and end."""

from __future__ import annotations

import socket
from collections.abc import Iterator

CHUNK_BYTES = 1 << 16


class Head:
    """The first line and the headers of a message."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        first, *lines = text.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.first = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        self.fields = {name.lower(): value.strip() for name, _, value in pairs}
        self.chunked = self.fields.get("transfer-encoding", "").lower().endswith("chunked")

    @property
    def request_length(self) -> int | None:
        return None if self.chunked else int(self.fields.get("content-length", 0))

    def response_length(self, method: str) -> int | None:
        """Returns the body's length; None where only its end tells."""
        if method == "HEAD" or int(self.first[1]) in (204, 304):
            return 0
        return None if self.chunked or "content-length" not in self.fields else int(self.fields["content-length"])


class Wire:
    """Reads messages from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self.source = source
        self.buffer = b""

    def head(self) -> Head | None:
        """Returns the next message's head; None at the end."""
        text = self._until(b"\r\n\r\n")
        return Head(text) if text else None

    def body(self, head: Head, length: int | None) -> Iterator[tuple[bytes, bool]]:
        """Yields the pieces, and whether each is of the body or of its framing."""
        if head.chunked and length is None:
            while size := int((line := self._until(b"\r\n")).partition(b";")[0], 16):
                yield line, False
                yield from self._exactly(size)
                yield self._until(b"\r\n"), False
            yield line, False
            while (line := self._until(b"\r\n")) not in (b"\r\n", b""):
                yield line, False
            yield line, False
        elif length is None:
            while piece := self._some(CHUNK_BYTES):
                yield piece, True
        else:
            yield from self._exactly(length)

    def _exactly(self, size: int) -> Iterator[tuple[bytes, bool]]:
        while size:
            piece = self._some(size)
            if not piece:
                raise ConnectionError
            size -= len(piece)
            yield piece, True

    def _some(self, limit: int) -> bytes:
        data = self.buffer or self.source.recv(CHUNK_BYTES)
        self.buffer = data[limit:]
        return data[:limit]

    def _until(self, mark: bytes) -> bytes:
        while (end := self.buffer.find(mark)) < 0:
            data = self.source.recv(CHUNK_BYTES)
            if not data:
                return b""
            self.buffer += data
        end += len(mark)
        text, self.buffer = self.buffer[:end], self.buffer[end:]
        return text
