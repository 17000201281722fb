"""The model server: ``python -m shipway.serving.server --model-dir DIR --name NAME``.

One process, one model, KServe's v1 and v2 REST protocols, the loopback interface unless told otherwise.
SIGTERM drains: for half a second a shared port's new connections go to the successor and kept-alive ones
are asked to reconnect; then the process ends. SIGINT ends it at once. Requests under way are answered.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from shipway.components.common.artifacts import write_json
from shipway.components.common.errors import InputError, ShipwayError
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.models import load_model
from shipway.serving.sockets import listening_socket, take_over

__all__ = ["DIGEST_HEADER", "main"]

DIGEST_HEADER = "x-shipway-model-digest"

_DRAIN_SECONDS = 0.5
_GRACE_SECONDS = 10
_CLOSE = (b"connection", b"close")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal ends it; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _serve(options)
    except ShipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shipway serve", description="Serve a model over KServe's v1 and v2 REST.")
    parser.add_argument("--model-dir", required=True, help="a Model or Release directory")
    parser.add_argument("--name", default="", help="the model's name in the URLs (default: its own)")
    parser.add_argument("--host", default="127.0.0.1", help="an IPv4 address; 0.0.0.0 serves every interface")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--reuse-port", action="store_true", help="take the port over from the process that has it")
    parser.add_argument("--ready-file", help="written, as JSON, when requests are answered")
    return parser


def _serve(options: argparse.Namespace) -> None:
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port is {options.port}; it must be from 0 to 65535")
    model = load_model(options.model_dir, options.name)
    listening = listening_socket(options.host, options.port, options.reuse_port)
    digest = model.description.digest
    application = Application([model])
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        date_header=False,
        headers=[(DIGEST_HEADER, digest)],
        timeout_graceful_shutdown=_GRACE_SECONDS,
        lifespan="off",
    )
    _Server(config, application, listening, options, digest).run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and drains before it ends."""

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        listening: socket.socket,
        options: argparse.Namespace,
        digest: str,
    ) -> None:
        super().__init__(config)
        self._application = application
        self._listening = listening
        self._options = options
        self._digest = digest
        self._ends_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self._listening.getsockname()
        if self._options.reuse_port:
            take_over(self._listening)
        if self._options.ready_file:
            write_json(Path(self._options.ready_file), {"pid": os.getpid(), "port": port, "model_digest": self._digest})
        else:
            print(f"serving at http://{host}:{port} (Ctrl+C ends it)", file=sys.stderr)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's interface)
        if sig != signal.SIGTERM or self._ends_at is not None:
            self.should_exit = True
            return
        self._application.drain()
        self._ends_at = time.monotonic() + _DRAIN_SECONDS
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def on_tick(self, counter: int) -> bool:
        drained = self._ends_at is not None and time.monotonic() >= self._ends_at
        return await super().on_tick(counter) or drained


if __name__ == "__main__":
    sys.exit(main())
