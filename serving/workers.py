"""Several processes that share a server's ports, and the one that starts them and holds them together."""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from shipway.components.common.artifacts import read_json, write_json
from shipway.serving.sockets import listening_socket

__all__ = ["end_with_parent", "supervise"]

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 15.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0

logger = logging.getLogger(__name__)


def supervise(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Runs ``options.workers`` servers that accept from one socket, and starts anew those that die.

    Args:
        arguments: The server's command line.
        options: The same, parsed.

    Returns:
        0 when a signal ended it; the exit code of a worker that never came up.

    Raises:
        ConflictError: When somebody else holds a port.
    """
    with tempfile.TemporaryDirectory(prefix="shipway-serving-") as directory:
        supervisor = _Supervisor(arguments, options, Path(directory))
        try:
            return supervisor.run()
        finally:
            supervisor.end()


def end_with_parent() -> None:
    """Has the kernel end this process when the one that started it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclasses.dataclass
class _Worker:
    """One process: where it says that it is ready, and when it may be started again."""

    ready_file: Path
    process: subprocess.Popen[bytes]
    pause_seconds: float = _SHORTEST_PAUSE_SECONDS
    starts_at: float | None = None


class _Supervisor:
    def __init__(self, arguments: Sequence[str], options: argparse.Namespace, directory: Path) -> None:
        self._options, self._directory, self._ending = options, directory, False
        self._listening = listening_socket(options.host, options.port)
        own = ["--workers", "1", "--worker-directory", str(directory), "--socket", str(self._listening.fileno())]
        # gRPC binds by itself; holding the port keeps a free one from being given to somebody else.
        self._held: socket.socket | None = None
        if options.grpc_port is not None:
            self._held = listening_socket(options.host, options.grpc_port, reuse_port=True)
            own += ["--grpc-port", str(self._held.getsockname()[1])]
        self._command = [sys.executable, "-m", "shipway.serving.server", *arguments, *own]
        self._workers: list[_Worker] = []

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        self._workers = [self._started(self._directory / f"ready-{i}.json") for i in range(self._options.workers)]
        while not all(worker.ready_file.exists() for worker in self._workers):
            if self._ending:
                return 0
            ended = [code for worker in self._workers if (code := worker.process.poll()) is not None]
            if ended:
                return max(1, ended[0])
            time.sleep(_POLL_SECONDS)
        self._tell()
        while not self._ending:
            for worker in self._workers:
                self._keep(worker)
            time.sleep(_POLL_SECONDS)
        return 0

    def end(self) -> None:
        """Ends the workers, which answer what they have begun, and waits for them."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._listening.close()
        if self._held:
            self._held.close()

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal's handler)
        self._ending = True

    def _started(self, ready_file: Path) -> _Worker:
        return _Worker(ready_file, self._process(ready_file))

    def _process(self, ready_file: Path) -> subprocess.Popen[bytes]:
        ready_file.unlink(missing_ok=True)
        command = [*self._command, "--ready-file", str(ready_file)]
        return subprocess.Popen(command, pass_fds=[self._listening.fileno()])

    def _keep(self, worker: _Worker) -> None:
        """Starts a worker anew that has died, later and later when it dies again and again."""
        now = time.monotonic()
        if worker.starts_at is None:
            code = worker.process.poll()
            if code is None:
                return
            if worker.ready_file.exists():
                worker.pause_seconds = _SHORTEST_PAUSE_SECONDS
            logger.error("a worker ended with %s; another is started in %g s", code, worker.pause_seconds)
            worker.starts_at = now + worker.pause_seconds
            worker.pause_seconds = min(2 * worker.pause_seconds, _LONGEST_PAUSE_SECONDS)
        elif now >= worker.starts_at:
            worker.starts_at = None
            worker.process = self._process(worker.ready_file)

    def _tell(self) -> None:
        told = read_json(self._workers[0].ready_file)
        if self._options.ready_file:
            write_json(Path(self._options.ready_file), {**told, "pid": os.getpid()})
        else:
            names, count = ", ".join(told["models"]), len(self._workers)
            where = f"http://{self._options.host}:{told['port']}"
            if told["grpc_port"]:
                where += f" and grpc://{self._options.host}:{told['grpc_port']}"
            print(f"serving {names} at {where} with {count} workers (Ctrl+C ends it)", file=sys.stderr)
