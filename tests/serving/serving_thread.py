"""Serves an application in a thread of the tests."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from shipway.serving.openinference.application import Application
from shipway.serving.openinference.connections import HttpServer
from shipway.serving.openinference.http import Door
from shipway.serving.sockets import listening_socket


@contextlib.contextmanager
def running(application: Application) -> Iterator[tuple[str, int]]:
    """Serves an application in a thread; yields its address."""
    server = HttpServer(Door(application.respond, application.bodies), timeout_keep_alive=5)
    with listening_socket("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()
        server.should_exit = True
        thread.join(20)
