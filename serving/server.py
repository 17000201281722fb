"""The model server: ``python -m shipway.serving.server --model-dir DIR``.

KServe's v1 and v2 REST protocols and, where a port is given, v2 over gRPC; the loopback interface unless told
otherwise. SIGTERM drains: for half a second a shared port's new connections go to the successor and kept-alive ones
are asked to reconnect; then the process ends. SIGINT ends it at once. Requests under way are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from shipway.components.common.artifacts import write_json
from shipway.components.common.errors import ShipwayError
from shipway.serving.observability.metrics import CacheMetrics, ConnectionMetrics
from shipway.serving.observability.options import is_asked
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.cache import ResponseCache
from shipway.serving.openinference.connections import HttpServer
from shipway.serving.openinference.exposition import SharedExposition
from shipway.serving.openinference.http import CLOSE, Door
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.models import ServedModel, load_model
from shipway.serving.openinference.repository import Repository, model_paths
from shipway.serving.options import parsed_options
from shipway.serving.sockets import listening_socket, take_over
from shipway.serving.workers import end_with_parent, supervise

if TYPE_CHECKING:
    from shipway.serving.observability.observation import Observation
    from shipway.serving.openinference.grpc.server import GrpcServer

__all__ = ["Server", "application_of", "main"]

_GRACE_SECONDS = 10
# Longer than proxies and clients keep idle connections: a server that closes one just as it is used loses a request.
_KEEP_ALIVE_SECONDS = 125
_MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal ends it; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("shipway.serving.engines").setLevel(logging.INFO)  # which one was chosen, and why
    try:
        options = parsed_options(arguments)
        if options.workers > 1:
            return supervise(sys.argv[1:] if arguments is None else arguments, options)
        _serve(options)
    except ShipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    if options.socket is None:
        listening = listening_socket(options.host, options.port, options.reuse_port)
    else:
        end_with_parent()
        listening = socket.socket(fileno=options.socket)
    Server(application_of(_repository(options), options), listening, options).run(sockets=[listening])


def _repository(options: argparse.Namespace) -> Repository:
    def load(path: Path, name: str) -> ServedModel:
        return load_model(
            path,
            name,
            options.threads,
            options.engine,
            options.device,
            most_rows=options.max_batch_rows,
            most_waiting_rows=options.max_waiting_rows,
            delay_seconds=options.batch_delay_seconds,
        )

    paths = model_paths(options.model_dir, options.name)
    return Repository(paths, load, may_change=options.allow_repository_changes)


def application_of(repository: Repository, options: argparse.Namespace) -> Application:
    """Returns the application that answers for a repository's models as the options say."""
    cache = ResponseCache(options.cache_mib * _MIB) if options.cache_mib else None
    if cache:
        repository.metrics.registry.register(CacheMetrics(cache))
    inference = Inference(cache, options.timeout_seconds)
    return Application(repository, inference, most_body_bytes=options.max_body_mib * _MIB)


def _observation(application: Application, listening: socket.socket, options: argparse.Namespace) -> Observation | None:
    if not is_asked(options):
        return None
    from shipway.serving.observability.observation import observed  # nothing of it is there unless it is asked for

    host, port = listening.getsockname()
    return observed(application, options, f"http://{host}:{port}/")


class Server(HttpServer):
    """Says when it is ready, and drains before it ends."""

    def __init__(self, application: Application, listening: socket.socket, options: argparse.Namespace) -> None:
        self._observation = _observation(application, listening, options)
        respond = self._observation.respond if self._observation else application.respond
        super().__init__(
            Door(respond, application.bodies),
            loop="uvloop",
            log_level=logging.WARNING,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._application, self._listening, self._options = application, listening, options
        self._ends_at: float | None = None
        self._grpc: GrpcServer | None = None
        application.repository.metrics.registry.register(ConnectionMetrics(self.server_state))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer, and says so."""
        if self._options.worker_directory:
            registry = self._application.repository.metrics.registry
            shared = SharedExposition(registry, Path(self._options.worker_directory), str(os.getpid()))
            await shared.start()
            self._application.exposition = shared
        if self._options.grpc_port is not None:
            self._grpc = await self._started_grpc()
        await super().startup(sockets)
        if self._options.reuse_port:
            take_over(self._listening)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends when what is under way is answered, over REST and gRPC, or when its time is over."""
        ending = [super().shutdown(sockets)]
        if self._grpc:
            drain_seconds = 0.0 if self._ends_at is None else _GRACE_SECONDS
            ending.append(self._grpc.stop(_GRACE_SECONDS, drain_seconds))
        await asyncio.gather(*ending)
        if self._observation:
            await asyncio.to_thread(self._observation.close)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's interface)
        """Drains on SIGTERM; ends on any other signal, or on a second one."""
        if sig != signal.SIGTERM or self._ends_at is not None:
            self.should_exit = True
            return
        self._application.drain()
        self._ends_at = time.monotonic() + self._options.drain_seconds
        self.config.encoded_headers.append(CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]

    async def on_tick(self, counter: int) -> bool:
        """Returns whether it is time to end."""
        drained = self._ends_at is not None and time.monotonic() >= self._ends_at
        return await super().on_tick(counter) or drained

    async def _started_grpc(self) -> GrpcServer:
        from shipway.serving.openinference.grpc.server import start_grpc  # its libraries take memory and time

        application, options = self._application, self._options
        server = await start_grpc(
            application.repository,
            application.inference,
            options.host,
            options.grpc_port,
            is_ready=lambda: application.ready,
            most_body_bytes=options.max_body_mib * _MIB,
            reuse_port=options.reuse_port or options.worker_directory is not None,
            interceptors=self._observation.interceptors if self._observation else (),
        )
        if options.reuse_port:
            server.take_over()
        return server

    def _tell(self) -> None:
        host, port = self._listening.getsockname()
        models = self._application.repository.models
        grpc_port = self._grpc.port if self._grpc else None
        if self._options.ready_file:
            digests = {name: model.description.digest for name, model in models.items()}
            told = {"pid": os.getpid(), "port": port, "grpc_port": grpc_port, "models": digests}
            write_json(Path(self._options.ready_file), told)
        else:
            over_grpc = f" and grpc://{host}:{grpc_port}" if grpc_port else ""
            print(f"serving {', '.join(models)} at http://{host}:{port}{over_grpc} (Ctrl+C ends it)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
