"""TorchServe behind KServe's protocols: ``python -m shipway.serving.torchserve.server --model-dir DIR``.

The front is Shipway's own server, whose model runs in a TorchServe that this process starts and ends. It is ready while
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
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.door import BadRequest
from shipway.serving.openinference.models import ServedModel
from shipway.serving.openinference.repository import Repository
from shipway.serving.options import parsed_options, server_parser
from shipway.serving.server import Server, application_of
from shipway.serving.sockets import listening_socket
from shipway.serving.torchserve.engine import WatchedEngine
from shipway.serving.torchserve.files import FORMATS
from shipway.serving.torchserve.layout import Archive, find_archive
from shipway.serving.torchserve.process import TorchServe

__all__ = ["main"]

_CHECKS_SECONDS = 2.0
_STARTING_CHECKS_SECONDS = 0.2
_NOT_UP = (Unavailable, BadRequest, DeploymentError)
# What the server in front cannot choose for TorchServe.
_FIXED = {"engine": "auto", "device": "auto", "workers": 1, "allow_repository_changes": False}

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
    parser = server_parser()
    parser.prog = "python -m shipway.serving.torchserve.server"
    parser.description = "Serves a PyTorch model with TorchServe behind KServe's protocols. SIGTERM drains."
    add = parser.add_argument_group("TorchServe").add_argument
    add("--model-format", choices=FORMATS, default="pt2", help="of a Model or Release (default: %(default)s)")
    add("--start-timeout-seconds", type=float, default=120.0, help="until the model answers (default: %(default)s)")
    options = parsed_options(arguments, parser)
    if not 1 <= options.start_timeout_seconds <= 3600:
        raise InputError(f"--start-timeout-seconds is {options.start_timeout_seconds}; it must be from 1 to 3600")
    if changed := [name for name, value in _FIXED.items() if getattr(options, name) != value]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise InputError(f"{names}: of Shipway's own server only; TorchServe runs one model in one worker here")
    return options


def _serve(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="shipway-archive-") as workspace:
        archive = find_archive(options.model_dir, Path(workspace), options.model_format)
        listening = listening_socket(options.host, options.port, options.reuse_port)
        torchserve = TorchServe(archive.path, math.ceil(options.timeout_seconds), options.threads)
        try:
            engine = _answering(torchserve, archive, options)
            repository = _repository(engine, archive, time.perf_counter() - started, options)
            application = application_of(repository, options)
            _Front(application, listening, options, torchserve, engine).run(sockets=[listening])
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
            # TorchServe holds a request until its worker is there.
            engine.check(max(_STARTING_CHECKS_SECONDS, until - time.monotonic()))
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


def _repository(
    engine: WatchedEngine, archive: Archive, load_seconds: float, options: argparse.Namespace
) -> Repository:
    def load(_path: Path, name: str) -> ServedModel:
        return ServedModel(
            name,
            engine,
            load_seconds,
            most_rows=options.max_batch_rows,
            most_waiting_rows=options.max_waiting_rows,
            delay_seconds=options.batch_delay_seconds,
            waits_for_others=True,
        )

    return Repository({options.name or archive.name: archive.path}, load)


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
