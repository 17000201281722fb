"""TorchServe behind KServe's protocols: ``python -m shipway.serving.torchserve.server --model-dir DIR``.

The front is Shipway's own server, whose models run in a TorchServe that this process starts and ends. It is ready while
the model in TorchServe answers its golden requests. When TorchServe ends by itself, so does this process.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from shipway.components.common.errors import DeploymentError, InputError, Preempted, ShipwayError
from shipway.serving.engines.engine import Unavailable
from shipway.serving.observability.options import add_options, check_options
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.door import BadRequest
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.models import ServedModel
from shipway.serving.openinference.repository import Repository
from shipway.serving.server import Server
from shipway.serving.sockets import listening_socket
from shipway.serving.torchserve.archive import FORMATS
from shipway.serving.torchserve.engine import WatchedEngine
from shipway.serving.torchserve.layout import Archive, find_archive
from shipway.serving.torchserve.process import TorchServe

__all__ = ["main"]

_CHECKS_SECONDS = 2.0
_STARTING_CHECKS_SECONDS = 0.2
_NOT_UP = (Unavailable, BadRequest, DeploymentError)

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal or TorchServe's end ends it; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _raise_preempted)
    try:
        _serve(_options(arguments))
    except ShipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m shipway.serving.torchserve.server",
        description="Serves a PyTorch model with TorchServe behind KServe's protocols. SIGTERM drains.",
    )
    add = parser.add_argument
    add("--model-dir", required=True, help="model-store/ and config/ as KServe has them, or a Model or Release")
    add("--name", default="", help="the model's name in the URLs (default: its own)")
    add("--host", default="127.0.0.1", help="an IPv4 address; 0.0.0.0 serves every interface (default: %(default)s)")
    add("--port", type=int, default=8080, help="REST; 0 takes a free one (default: %(default)s)")
    add("--grpc-port", type=int, help="gRPC; 0 takes a free one (default: no gRPC)")
    add("--model-format", choices=FORMATS, default="pt2", help="of a Model or Release (default: %(default)s)")
    add("--max-batch-rows", type=int, default=1024, help="1 runs every request alone (default: %(default)s)")
    add("--max-body-mib", type=int, default=64, help="larger ones are refused, 413 (default: %(default)s)")
    add("--timeout-seconds", type=float, default=60.0, help="of a batch in TorchServe (default: %(default)s)")
    add("--start-timeout-seconds", type=float, default=120.0, help="until the model answers (default: %(default)s)")
    add("--drain-seconds", type=float, default=0.5, help="take requests after SIGTERM (default: %(default)s)")
    add("--reuse-port", action="store_true", help="take the port over from the process that has it")
    add("--ready-file", help="written, as JSON, when requests are answered")
    add_options(parser)
    options = parser.parse_args(arguments)
    check_options(options)
    ranges = {
        "port": (0, 65535),
        "grpc_port": (0, 65535),
        "max_batch_rows": (1, 1 << 20),
        "max_body_mib": (1, 1024),
        "drain_seconds": (0, 3600),
        "timeout_seconds": (1, 3600),
        "start_timeout_seconds": (1, 3600),
    }
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be from {low} to {high}")
    options.worker_directory = None  # the server's, of several processes
    return options


def _serve(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="shipway-archive-") as workspace:
        archive = find_archive(options.model_dir, Path(workspace), options.model_format)
        listening = listening_socket(options.host, options.port, options.reuse_port)
        torchserve = TorchServe(archive.path, math.ceil(options.timeout_seconds))
        try:
            engine = _answering(torchserve, archive, options)
            load_seconds = time.perf_counter() - started
            _Front(_application(engine, archive, load_seconds, options), listening, options, torchserve, engine).run(
                sockets=[listening]
            )
            code = torchserve.exit_code
        finally:
            torchserve.end()
    if code is not None:
        raise DeploymentError(f"TorchServe ended by itself with exit code {code}; its log is above")


def _answering(torchserve: TorchServe, archive: Archive, options: argparse.Namespace) -> WatchedEngine:
    """Returns the model in TorchServe once it answers as it must."""
    engine = WatchedEngine(torchserve, archive, options.timeout_seconds)
    until = time.monotonic() + options.start_timeout_seconds
    while not engine.up:
        try:
            engine.check()
        except _NOT_UP as error:
            if (code := torchserve.exit_code) is not None:
                raise DeploymentError(
                    f"TorchServe ended with exit code {code} before it answered; its log is above"
                ) from error
            if time.monotonic() > until:
                raise DeploymentError(
                    f"the model {archive.name} did not answer in TorchServe within"
                    f" {options.start_timeout_seconds:g} s ({error}); its log is above"
                ) from error
            time.sleep(_STARTING_CHECKS_SECONDS)
    return engine


def _application(
    engine: WatchedEngine, archive: Archive, load_seconds: float, options: argparse.Namespace
) -> Application:
    def load(_path: Path, name: str) -> ServedModel:
        return ServedModel(name, engine, load_seconds, most_rows=options.max_batch_rows, waits_for_others=True)

    repository = Repository({options.name or archive.name: archive.path}, load)
    inference = Inference(timeout_seconds=options.timeout_seconds)
    return Application(repository, inference, most_body_bytes=options.max_body_mib << 20)


class _Front(Server):
    """The server, ready while TorchServe's model answers."""

    def __init__(
        self,
        application: Application,
        listening: socket.socket,
        options: argparse.Namespace,
        torchserve: TorchServe,
        engine: WatchedEngine,
    ) -> None:
        super().__init__(application, listening, options)
        self._torchserve, self._engine = torchserve, engine
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._watch())

    async def on_tick(self, counter: int) -> bool:
        draining = self._ends_at is not None
        self._application.ready = self._engine.up and not draining
        return await super().on_tick(counter) or self._torchserve.exit_code is not None

    async def _watch(self) -> None:
        while True:
            was_up = self._engine.up
            try:
                await asyncio.to_thread(self._engine.check)
                if not was_up:
                    logger.warning("TorchServe answers again")
            except _NOT_UP as error:
                if was_up:
                    logger.error("not ready: %s", error)
            await asyncio.sleep(_CHECKS_SECONDS if self._engine.up else _STARTING_CHECKS_SECONDS)


def _raise_preempted(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("stopped by SIGTERM before TorchServe answered")


if __name__ == "__main__":
    sys.exit(main())
