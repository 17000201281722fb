"""What is under load in the soak: a server whose release is swapped, and a router one of whose arms is killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environments import BENCH
from benchmarks.serving.contenders import ours
from benchmarks.serving.interpreters import family_python
from benchmarks.serving.models import SMALL, SMALL_TOO
from benchmarks.serving.servers import Ports, Running, started, wait_until_it_answers
from shipway.components.common.errors import InputError
from shipway.serving.routing import router
from shipway.serving.routing.route import Arm, Route

__all__ = ["KilledArm", "SwappedServer", "routed", "surviving_arm", "swapped_server"]

_DOWN_SECONDS = 3.0
_ROUTE = "soak"


class SwappedServer:
    """A server that is told to load another release while it answers."""

    def __init__(self, running: Running, link: Path) -> None:
        self.running, self._link, self._swaps = running, link, 0

    def swap(self) -> None:
        """Has the server answer from the other release.

        Raises:
            RuntimeError: When it does not load it.
        """
        self._swaps += 1
        point(self._link, (SMALL, SMALL_TOO)[self._swaps % 2].model)
        connection = http.client.HTTPConnection("127.0.0.1", self.running.ports.rest, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", f"/v2/repository/models/{SMALL.name}/load", b"{}")
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"the release was not swapped: {response.status} {response.read()!r}")


@contextlib.contextmanager
def swapped_server() -> Iterator[SwappedServer]:
    """Yields a server of the small model's releases."""
    link = BENCH.absolute() / "serving" / "released"
    link.parent.mkdir(parents=True, exist_ok=True)
    point(link, SMALL.model)
    contender = ours("shipway, swapped", f"--model-dir={link}", "--allow-repository-changes")
    with started(contender, SMALL) as running:
        wait_until_it_answers(running)
        yield SwappedServer(running, link)


def point(link: Path, target: Path) -> None:
    """Makes a symbolic link lead elsewhere; there is no moment without it."""
    aside = link.with_name(f"{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


@contextlib.contextmanager
def surviving_arm() -> Iterator[Running]:
    """Yields a server that nobody kills."""
    with started(ours("shipway, surviving"), SMALL) as running:
        wait_until_it_answers(running)
        yield running


class KilledArm:
    """A server that is killed, and comes back at the same place."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.running = self._start()

    def __enter__(self) -> KilledArm:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self) -> None:
        """Kills it without warning and starts it again."""
        os.killpg(self.running.process.pid, signal.SIGKILL)
        self._stack.close()
        time.sleep(_DOWN_SECONDS)
        self.running = self._start(self.running.ports)

    def _start(self, ports: Ports | None = None) -> Running:
        running = self._stack.enter_context(started(ours("shipway, killed"), SMALL, ports))
        wait_until_it_answers(running)
        return running


@contextlib.contextmanager
def routed(*arms: Running) -> Iterator[int]:
    """Yields the port of a router that splits requests evenly over two arms."""
    with contextlib.suppress(InputError):  # none is left of a run before
        router.stop(_ROUTE)
    named = [Arm(f"arm-{i}", f"http://127.0.0.1:{arm.ports.rest}", 50) for i, arm in enumerate(arms)]
    record = router.start(Route(_ROUTE, named), python=family_python("routing"))
    try:
        yield int(record["port"])
    finally:
        router.stop(_ROUTE)
