"""Servers under measurement: each a process of its own with its model loaded, and the client that loads it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.environments import BENCH
from benchmarks.serving.interpreters import family_python, variables
from benchmarks.serving.load import Job
from benchmarks.serving.models import ServedNetwork
from benchmarks.serving.questions import questions
from benchmarks.serving.sample import Sample
from shipway.serving.sockets import free_port

__all__ = ["Contender", "Ports", "Running", "asked", "started", "wait_for", "wait_until_it_answers"]

_HOST = "127.0.0.1"
_CORES = sorted(os.sched_getaffinity(0))
_SERVER_CORE, _CLIENT_CORE = _CORES[0], _CORES[-1]
_START_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where a server is to listen on the loopback interface; ``others`` are for what it wants besides."""

    rest: int
    grpc: int
    others: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server that can be started.

    Attributes:
        name: What the tables call it.
        protocols: Those of :data:`.questions.PROTOCOLS` that it answers.
        command: Returns what starts it with a network, at ports, in a directory of its own.
    """

    name: str
    protocols: tuple[str, ...]
    command: Callable[[ServedNetwork, Ports, Path], Sequence[str | Path]]


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        contender: Which.
        network: What it serves.
        process: What was started.
        ports: Where it listens.
        started: When, of the monotonic clock.
    """

    contender: Contender
    network: ServedNetwork
    process: subprocess.Popen[bytes]
    ports: Ports
    started: float

    def job(self, protocol: str, rows: int, connections: int = 16, seconds: float = 2.0, requests: int = 0) -> Job:
        """Returns the job to load it."""
        port = self.ports.grpc if protocol == "gRPC" else self.ports.rest
        model, name, pid = str(self.network.model), self.network.name, self.process.pid
        return Job(model, name, protocol, rows, port, pid, connections, seconds, requests, _CLIENT_CORE)


@contextlib.contextmanager
def started(contender: Contender, network: ServedNetwork, ports: Ports | None = None) -> Iterator[Running]:
    """Yields a server that is being started, on a core of its own; it is ended with all its processes.

    Args:
        contender: Which.
        network: What it is to serve.
        ports: Where; by default, where nobody else is.
    """
    directory = BENCH.absolute() / "serving" / f"{contender.name}-{network.name}".replace(" ", "-")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    ports = ports or Ports(free_port(_HOST), free_port(_HOST), tuple(free_port(_HOST) for _ in range(3)))
    command = [str(part) for part in contender.command(network, ports, directory)]
    with (directory / "log").open("wb") as log, _on(_SERVER_CORE):
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=variables(),
            start_new_session=True,
        )
    try:
        yield Running(contender, network, process, ports, begun)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(running: Running, happened: Callable[[], bool]) -> float:
    """Returns how many seconds after its start something happened to a server.

    Raises:
        RuntimeError: When the server ends, or it takes too long.
    """
    while not happened():
        name = running.contender.name
        if running.process.poll() is not None:
            raise RuntimeError(f"{name} ended with {running.process.returncode}; see its log in {BENCH}/serving")
        if time.monotonic() - running.started > _START_SECONDS:
            raise RuntimeError(f"{name} does not answer within {_START_SECONDS:g} s; see its log in {BENCH}/serving")
        time.sleep(0.002)
    return time.monotonic() - running.started


def wait_until_it_answers(running: Running) -> float:
    """Returns how many seconds after its start a server's first answer was there.

    Raises:
        RuntimeError: As :func:`wait_for`.
    """
    protocol = running.contender.protocols[0]
    if protocol == "gRPC":
        return wait_for(running, lambda: _accepts(running.ports.grpc))
    question = questions(running.network.model, running.network.name, protocol, 1)[0]
    url = f"http://{_HOST}:{running.ports.rest}{question.path}"
    request = urllib.request.Request(url, question.body, question.headers)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 (it is our own)
                question.check(response.read())
        except OSError:
            return False
        return True

    return wait_for(running, answers)


def asked(job: Job) -> Sample:
    """Loads a server from a process of its own, on a core of its own, and returns what was measured.

    Raises:
        RuntimeError: When the client fails.
    """
    done = subprocess.run(
        [family_python("serving"), "-m", "benchmarks.serving.load"],
        input=json.dumps(dataclasses.asdict(job)),
        capture_output=True,
        text=True,
        env=variables(),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the client of {job} ended with {done.returncode}: {done.stderr[-2000:]}")
    return Sample(**json.loads(done.stdout))


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), 5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _on(core: int) -> Iterator[None]:
    """Has what is started meanwhile run on one core; this process stays on the clients'."""
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {_CLIENT_CORE})
