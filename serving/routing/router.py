"""Local routers: one Envoy each, registered per user below the state directory::

    <state>/routes/<name>/route.json      what runs, and with which arms
                          envoy.json      the router's configuration
                          table.json      which request goes where; replaced when weights change
                          router.log
                          admin.sock      for this user only

Envoy is in the routing environment: its interpreter is ``SHIPWAY_PYTHON_ROUTING``, unless the caller names it.
"""  # noqa: D415

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import read_json, write_json
from shipway.components.common.errors import ConflictError, DeploymentError, InputError
from shipway.components.common.state import state_directory
from shipway.serving.processes import ServerProcess
from shipway.serving.routing.admin import Admin
from shipway.serving.routing.configuration import TABLE_FILE, bootstrap, threads
from shipway.serving.routing.messages import Json
from shipway.serving.routing.route import Route, check_name
from shipway.serving.routing.table import table
from shipway.serving.sockets import check_free, free_port

__all__ = ["PYTHON_VARIABLE", "routes", "set_weights", "start", "status", "stop", "stop_all"]

PYTHON_VARIABLE = "SHIPWAY_PYTHON_ROUTING"

logger = logging.getLogger(__name__)

_START_SECONDS = 30.0
_TABLE_SECONDS = 10.0
_IDLE_SECONDS = 1.0
_DRAIN_SECONDS = 15.0
_POLL_SECONDS = 0.02
_QUOTED_LINES = 12

Record = dict[str, Any]


def start(route: Route, port: int = 0, host: str = "127.0.0.1", python: str = "") -> Record:
    """Starts a route's router and waits until it takes requests; returns its record, the content of ``route.json``.

    The router is a process of its own, which goes on when this one ends.

    Args:
        route: Its arms need not be up yet.
        port: 0 chooses a free one.
        host: The IPv4 address to listen on. Metrics and administration stay on this machine, whatever it is.
        python: The interpreter of the routing environment; by default what ``SHIPWAY_PYTHON_ROUTING`` names.

    Raises:
        InputError: For an impossible host or port, or no routing environment.
        ConflictError: When the route runs already, or somebody else holds the port.
        DeploymentError: When the router did not come up; the message has its last log lines.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"the port is {port}; it must be from 0 to 65535")
    envoy = _envoy(python or os.environ.get(PYTHON_VARIABLE, ""))
    with _locked():
        directory = _directory(route.name)
        if (directory / "route.json").exists() and _process(read_json(directory / "route.json")).running:
            raise ConflictError(
                f"the route {route.name} runs already; change it with `shipway route set {route.name}`, or stop it"
                f" with `shipway route stop {route.name}`"
            )
        port = _port(host, port)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        try:
            return _start(route, envoy, directory, host, port)
        except BaseException:
            shutil.rmtree(directory)
            raise


def set_weights(name: str, weights: Mapping[str, int]) -> Record:
    """Changes how requests are split; returns the route's record once the router splits them so.

    No request and no connection is lost. Who is on an arm by header or cookie stays on it as far as its share allows.

    Args:
        name: The route's.
        weights: Percentages, one for each arm.

    Raises:
        InputError: When there is no such route, an arm is missing or unknown, or the sum is not 100.
        DeploymentError: When the router is down or does not take the weights; those before stay.
    """
    with _locked():
        record = status(name)
        if record["status"] != "up":
            raise DeploymentError(f"the route {name} is down, see {record['log']}; start it again")
        route = Route.of(record["route"]).with_weights(weights)
        directory, revision = _directory(name), record["revision"] + 1
        try:
            _take(directory, table(route, str(revision)), str(revision))
        except BaseException:
            write_json(directory / TABLE_FILE, table(Route.of(record["route"]), str(record["revision"])))
            raise
        changed = {**record, "route": dataclasses.asdict(route), "revision": revision}
        write_json(directory / "route.json", {key: value for key, value in changed.items() if key != "status"})
        return status(name)


def status(name: str) -> Record:
    """Returns one route's record with its ``status``: ``up`` or ``down``.

    Raises:
        InputError: When there is no such route.
    """
    file = _directory(name) / "route.json"
    if not file.is_file():
        names = ", ".join(record["route"]["name"] for record in routes()) or "none"
        raise InputError(f"there is no route {name!r}; registered: {names}")
    return _with_status(read_json(file))


def routes() -> list[Record]:
    """Returns the records of this user's routes, each with a ``status``."""
    records = []
    for file in sorted((state_directory() / "routes").glob("*/route.json")):
        try:
            records.append(_with_status(read_json(file)))
        except (InputError, LookupError, TypeError) as error:
            logger.warning("the record %s cannot be read (%s); remove its directory", file, error)
    return records


def stop(name: str) -> None:
    """Ends a route's router after its last answer, and removes its registration; the arms stay.

    Raises:
        InputError: When there is no such route.
    """
    with _locked():
        record = status(name)
        directory, process = _directory(name), _process(record)
        if process.running:
            with contextlib.suppress(DeploymentError):  # it is ended all the same
                _drain(Admin(directory))
        process.end()
        shutil.rmtree(directory)


def stop_all() -> list[str]:
    """Ends every router of this user; returns the routes' names."""
    names = [record["route"]["name"] for record in routes()]
    for name in names:
        with contextlib.suppress(InputError):  # somebody else stopped it meanwhile
            stop(name)
    return names


def _start(route: Route, envoy: Path, directory: Path, host: str, port: int) -> Record:
    metrics_port = free_port("127.0.0.1")
    write_json(directory / "envoy.json", bootstrap(route, host, port, metrics_port))
    write_json(directory / TABLE_FILE, table(route, "1"))
    command = [str(envoy), "--config-path", "envoy.json", "--disable-hot-restart", "--log-level", "warning"]
    with (directory / "router.log").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--concurrency", str(threads())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )
    process = ServerProcess.of(started.pid)
    record = {
        "route": dataclasses.asdict(route),
        "url": f"http://{host}:{port}",
        "metrics_url": f"http://127.0.0.1:{metrics_port}/metrics",
        "port": port,
        "pid": process.pid,
        "pid_started": process.started,
        "revision": 1,
        "log": str(directory / "router.log"),
        "undo": f"shipway route stop {route.name}",
    }
    try:
        write_json(directory / "route.json", record)
        admin = Admin(directory)
        if not _comes_true(lambda: admin.ready or started.poll() is not None, _START_SECONDS) or not admin.ready:
            raise DeploymentError(f"the router of the route {route.name} did not come up" + _said(directory))
    except BaseException:
        process.end()
        raise
    return status(route.name)


def _take(directory: Path, new: Json, version: str) -> None:
    """Makes the router take a table of routes."""
    write_json(directory / TABLE_FILE, new)
    admin = Admin(directory)
    if not _comes_true(lambda: admin.table_version() == version, _TABLE_SECONDS):
        what = f"the route {directory.name} did not take the weights within {_TABLE_SECONDS:.0f} s"
        raise DeploymentError(what + _said(directory))


def _drain(admin: Admin) -> None:
    """Waits for the last answers; who is connected without asking for anything is not waited for."""
    admin.take_no_more()
    _comes_true(lambda: admin.connections() == 0, _IDLE_SECONDS)
    _comes_true(lambda: admin.requests_under_way() == 0, _DRAIN_SECONDS)


def _port(host: str, port: int) -> int:
    try:
        if port:
            check_free(host, port)
        return port or free_port(host)
    except OSError as error:
        raise InputError(f"this machine cannot listen on {host!r}: {error}; give an IPv4 address of its own") from error


def _envoy(python: str) -> Path:
    if not python:
        raise InputError(
            f"no routing environment: {PYTHON_VARIABLE} must name its interpreter; `shipway route start` sets it"
        )
    envoy = Path(python).absolute().with_name("envoy")
    if not envoy.is_file():
        raise InputError(f"there is no {envoy}: {python} is not the interpreter of a routing environment")
    return envoy


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Lets one process at a time start, change or stop routes."""
    parent = state_directory() / "routes"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _directory(name: str) -> Path:
    check_name("route", name)
    return state_directory() / "routes" / name


def _said(directory: Path) -> str:
    lines = (directory / "router.log").read_text(errors="replace").strip().splitlines()
    return "; its log ends with:\n" + "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])


def _process(record: Record) -> ServerProcess:
    return ServerProcess(record["pid"], record["pid_started"])


def _with_status(record: Record) -> Record:
    return {**record, "status": "up" if _process(record).running else "down"}
