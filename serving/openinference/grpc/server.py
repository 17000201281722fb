"""The gRPC server, which runs in the event loop of the REST server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from shipway.components.common.errors import DeploymentError
from shipway.serving.openinference.grpc.service import InferenceService
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.repository import Repository
from shipway.serving.sockets import listening_socket, take_over

__all__ = ["GrpcServer", "start_grpc"]

# A client is asked so often to connect anew, which it does without losing a call; so that it finds a new process.
_CONNECTION_SECONDS = 5
_POLL_SECONDS = 0.05
_INTERNET = (socket.AF_INET, socket.AF_INET6)  # gRPC holds IPv4 addresses as IPv6 ones


class GrpcServer:
    """A server that answers.

    Attributes:
        port: Where.
    """

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server, self.port = server, port

    def take_over(self) -> None:
        """Sends every new connection of a shared port to this server, the second that listens there."""
        for held in self._sockets(listening=True):
            take_over(held)

    async def stop(self, grace_seconds: float, drain_seconds: float = 0.0) -> None:
        """Takes no more calls, lets those under way end, and cancels what is left after ``grace_seconds``.

        Args:
            grace_seconds: How long calls may take to end.
            drain_seconds: How long, before that, connections may take to end; calls that come just when a server
                stops are lost, and connections end by themselves without a loss.
        """
        until = time.monotonic() + drain_seconds
        while time.monotonic() < until and any(self._sockets(listening=False)):
            await asyncio.sleep(_POLL_SECONDS)
        await self._server.stop(grace_seconds)

    def _sockets(self, *, listening: bool) -> Iterator[socket.socket]:
        """Yields this process's sockets of the port, the listening or the connected ones; gRPC does not give them."""
        for handle in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if not str(handle.readlink()).startswith("socket:"):  # a copy of any other would stay open
                    continue
                with socket.socket(fileno=os.dup(int(handle.name))) as held:
                    listens = bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                    if held.family in _INTERNET and held.getsockname()[1] == self.port and listens is listening:
                        yield held


async def start_grpc(
    repository: Repository,
    inference: Inference,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    is_ready: Callable[[], bool],
    most_body_bytes: int = 64 << 20,
    reuse_port: bool = False,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> GrpcServer:
    """Starts to answer, in the running event loop.

    Args:
        repository: What is served.
        inference: How.
        host: An IPv4 address.
        port: 0 takes a free one.
        is_ready: Whether requests are wanted; what is asked after readiness is told this.
        most_body_bytes: Larger messages are refused, and not sent either.
        reuse_port: Whether another process of this user may hold the port as well.
        interceptors: Who sees calls before they are answered.

    Raises:
        ConflictError: When somebody else holds the port.
        DeploymentError: When it cannot listen there for another reason.
    """
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", most_body_bytes),
            ("grpc.max_send_message_length", most_body_bytes),
            ("grpc.so_reuseport", int(reuse_port)),
            ("grpc.max_connection_age_ms", _CONNECTION_SECONDS * 1000),
        ],
    )
    server.add_generic_rpc_handlers((InferenceService(repository, inference, is_ready),))
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        with listening_socket(host, port, reuse_port):  # tells who holds it
            raise DeploymentError(f"gRPC cannot listen on {host}:{port}: {error}") from error
    await server.start()
    return GrpcServer(server, bound)
