"""The gRPC server, which runs in the event loop of the REST server."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import grpc

from shipway.components.common.errors import DeploymentError
from shipway.serving.openinference.grpc.service import InferenceService
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.repository import Repository
from shipway.serving.sockets import listening_socket, take_over

__all__ = ["GrpcServer", "start_grpc"]


class GrpcServer:
    """A server that answers.

    Attributes:
        port: Where.
    """

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server, self.port = server, port

    def take_over(self) -> None:
        """Sends every new connection of a shared port to this server, the second that listens there."""
        for handle in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(handle.name))) as held:
                if held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and held.getsockname()[1] == self.port:
                    take_over(held)

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, lets those under way end, and cancels what is left after ``grace_seconds``."""
        await self._server.stop(grace_seconds)


async def start_grpc(
    repository: Repository,
    inference: Inference,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    is_ready: Callable[[], bool],
    most_body_bytes: int = 64 << 20,
    reuse_port: bool = False,
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

    Raises:
        ConflictError: When somebody else holds the port.
        DeploymentError: When it cannot listen there for another reason.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most_body_bytes),
            ("grpc.max_send_message_length", most_body_bytes),
            ("grpc.so_reuseport", int(reuse_port)),
        ]
    )
    server.add_generic_rpc_handlers((InferenceService(repository, inference, is_ready),))
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        with listening_socket(host, port, reuse_port):  # tells who holds it
            raise DeploymentError(f"gRPC cannot listen on {host}:{port}: {error}") from error
    await server.start()
    return GrpcServer(server, bound)
