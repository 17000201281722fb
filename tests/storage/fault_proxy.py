"""A TCP proxy that knows just enough of HTTP/1.1 to do harm where it is planned.

Without a plan it forwards, so that a benchmark can put latency in front of a server::

    python tests/storage/fault_proxy.py 127.0.0.1 8333 --round-trip-seconds 0.02

prints its URL and runs until its standard input ends.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

from faults import Exchange, Fault
from http_messages import CHUNK_BYTES, Head, Wire

__all__ = ["Exchange", "Fault", "FaultProxy"]


class Connection:
    """A client's connection and the one to the server; a thread each way."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = socket.create_connection(proxy.upstream)
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting: collections.deque[Exchange] = collections.deque()
        self.resetting = False
        proxy.connections.add(self)
        threading.Thread(target=self._requests, daemon=True).start()

    def _requests(self) -> None:
        responses = threading.Thread(target=self._responses, daemon=True)
        responses.start()
        with contextlib.suppress(OSError, ValueError):
            self._pass_requests()
        self.hang_up()
        responses.join()
        self.client.close()
        self.server.close()
        self.proxy.connections.discard(self)

    def _responses(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._pass_responses()
        self.hang_up()

    def hang_up(self) -> None:
        """Wakes both threads; a connection that is being reset must not be ended before it is closed."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD if self.resetting else socket.SHUT_RDWR)

    def _pass_requests(self) -> None:
        wire = Wire(self.client)
        time.sleep(self.proxy.round_trip_seconds)  # the handshake's
        while head := wire.head():
            byte_range = head.fields.get("range") or head.fields.get("content-range", "")
            exchange = Exchange(head.first[0], head.first[1], byte_range)
            self.proxy.exchanges.append(exchange)
            fault = self.proxy.fault("request", exchange, head.request_length)
            if fault and fault.kind == "status":
                self._refuse(wire, head, exchange, fault)
                continue
            self.waiting.append(exchange)
            for count in self._forward(wire, self.server, head, head.request_length, fault):
                exchange.request_bytes += count

    def _pass_responses(self) -> None:
        wire = Wire(self.server)
        while head := wire.head():
            time.sleep(self.proxy.round_trip_seconds)
            if head.first[1].startswith("1"):
                self.client.sendall(head.text)
                continue
            exchange = self.waiting.popleft()
            exchange.status = int(head.first[1])
            length = head.response_length(exchange.method)
            head.text = head.text.replace(self.proxy.upstream_url.encode(), self.proxy.url.encode())
            fault = self.proxy.fault("response", exchange, length)
            for count in self._forward(wire, self.client, head, length, fault):
                exchange.response_bytes += count
            if length is None and not head.chunked:
                return

    def _forward(
        self, wire: Wire, target: socket.socket, head: Head, length: int | None, fault: Fault | None
    ) -> Iterator[int]:
        """Passes a message on; yields the bytes of its body as they have been sent."""
        if fault and fault.at < 0:
            self._strike(fault)
            return
        at = fault.at % length if fault and length else fault.at if fault else -1
        out, position, sent = bytearray(head.text), 0, 0
        if not wire.buffer:
            target.sendall(out)
            out.clear()
        for piece, of_body in wire.body(head, length):
            index = at - position
            if fault and of_body and 0 <= index < len(piece):
                if fault.kind != "flip":
                    target.sendall(out + piece[:index])
                    yield position + index - sent
                    self._strike(fault)
                    return
                fault.hits += 1
                piece = piece[:index] + bytes([piece[index] ^ 1 << at % 8]) + piece[index + 1 :]
            out += piece
            position += len(piece) * of_body
            if not wire.buffer or len(out) >= CHUNK_BYTES:
                self.proxy.pace(len(out))
                target.sendall(out)
                out.clear()
                yield position - sent
                sent = position
        target.sendall(out)
        yield position - sent

    def _refuse(self, wire: Wire, head: Head, exchange: Exchange, fault: Fault) -> None:
        """Answers in the server's place; a client that waits to be told to go on does not send its body then."""
        expects = "expect" in head.fields
        if not expects:
            for _ in wire.body(head, head.request_length):
                pass
        time.sleep(self.proxy.round_trip_seconds)
        exchange.status = fault.status
        fault.hits += 1
        fields = [f"HTTP/1.1 {fault.status} Refused", "Content-Length: 0"]
        fields += [f"Retry-After: {fault.retry_after}"] * bool(fault.retry_after)
        fields += ["Connection: close"] * expects
        self.client.sendall("\r\n".join([*fields, "", ""]).encode())
        if expects:
            raise ConnectionError

    def _strike(self, fault: Fault) -> None:
        """Breaks the connection, at the latest when the client does."""
        fault.hits += 1
        if fault.kind == "stall":
            poll = select.poll()
            poll.register(self.client, select.POLLRDHUP)
            while not self.proxy.closed and not poll.poll(50):
                pass
        if fault.kind == "reset":
            self.resetting = True
            for end in (self.client, self.server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionError


class FaultProxy:
    """Listens on the loopback and forwards to a server; ``plan`` says what goes wrong.

    Args:
        host: The server's.
        port: The server's.
        round_trip_seconds: Latency: what every exchange, and every new connection, takes longer.
        bytes_per_second: What both ways of all connections together may carry; 0 for all there is.
        listen_port: 0 for one that is free.
    """

    def __init__(
        self, host: str, port: int, round_trip_seconds: float = 0.0, bytes_per_second: int = 0, listen_port: int = 0
    ) -> None:
        self.upstream = (host, port)
        self.upstream_url = f"http://{host}:{port}"
        self.round_trip_seconds = round_trip_seconds
        self.bytes_per_second = bytes_per_second
        self.exchanges: list[Exchange] = []
        self.closed = False
        self._faults: tuple[Fault, ...] = ()
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.connections: set[Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", listen_port), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self.connections):
            connection.hang_up()

    def plan(self, *faults: Fault) -> None:
        """Replaces the faults to come, and begins to count exchanges anew."""
        with self._lock:
            self._faults = faults
        self.exchanges = []

    @property
    def requests(self) -> int:
        return len(self.exchanges)

    @property
    def request_bytes(self) -> int:
        return sum(exchange.request_bytes for exchange in self.exchanges)

    @property
    def response_bytes(self) -> int:
        return sum(exchange.response_bytes for exchange in self.exchanges)

    def fault(self, side: str, exchange: Exchange, length: int | None) -> Fault | None:
        """Returns the fault that this message is to suffer."""
        with self._lock:
            taken = [fault for fault in self._faults if fault.side == side and fault.takes(exchange, length)]
        return taken[0] if taken else None

    def pace(self, count: int) -> None:
        """Waits until so many bytes may pass."""
        if not self.bytes_per_second:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self.bytes_per_second
            pause = self._free_at - time.monotonic()
        time.sleep(max(0.0, pause))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    Connection(self, client)
                except OSError:
                    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Forwards to a server on this machine, slowly if asked.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--round-trip-seconds", type=float, default=0.0)
    parser.add_argument("--bytes-per-second", type=int, default=0)
    arguments = parser.parse_args()
    with FaultProxy(**vars(arguments)) as proxy:
        print(proxy.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
