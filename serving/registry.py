"""The register of local endpoints: their directories, their server processes, and how one replaces another."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shipway.components.common.artifacts import read_json, write_json
from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.state import state_directory
from shipway.serving.client import EndpointClient
from shipway.serving.manifests import inference_service_yaml
from shipway.serving.processes import ServerProcess
from shipway.serving.sockets import check_free, free_port

__all__ = ["PYTHON_VARIABLE", "Endpoint", "Record", "registered"]

PYTHON_VARIABLE = "SHIPWAY_PYTHON_SERVING"

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_START_SECONDS = 90.0
_POLL_SECONDS = 0.02
_QUOTED_LINES = 12
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Record = dict[str, Any]


def registered() -> list[Record]:
    """Returns the records of this user's endpoints, each with a ``status``: ``up`` or ``down``."""
    files = sorted((state_directory() / "endpoints").glob("*/endpoint.json"))
    records = []
    for file in files:
        try:
            records.append(_with_status(read_json(file)))
        except (InputError, LookupError, TypeError) as error:
            logger.warning("the record %s cannot be read (%s); remove its directory", file, error)
    return records


@dataclasses.dataclass(frozen=True)
class _Server:
    """How to start the server process."""

    python: str
    pythonpath: str

    @classmethod
    def of_environment(cls, last: Mapping[str, str] | None) -> _Server:
        python = os.environ.get(PYTHON_VARIABLE)
        if python:
            # The server runs in /, so relative entries would point elsewhere.
            entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            return cls(python, os.pathsep.join(str(Path(entry).absolute()) for entry in entries))
        if last is None:
            raise InputError(
                f"no serving environment: {PYTHON_VARIABLE} must name the interpreter that serves models; `shipway run`"
                " sets it for its steps"
            )
        return cls(**last)

    def start(self, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts the server detached from this process, its output appended to ``log``."""
        # A step's own settings and directory end with the step; the server outlives it.
        ends = ("_KFP_", "SHIPWAY_", "TMPDIR")
        variables = {key: value for key, value in os.environ.items() if not key.startswith(ends)}
        command = [self.python, "-m", "shipway.serving.server", *arguments]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**variables, "PYTHONPATH": self.pythonpath},
                start_new_session=True,
            )


class Endpoint:
    """One endpoint: its directory, and what may be done to it while its lock is held."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot name an endpoint: use a-z, 0-9 and hyphens, at most 63 characters,"
                " a letter or digit first and last"
            )
        self.name = name
        self._directory = state_directory() / "endpoints" / name
        self._file = self._directory / "endpoint.json"
        self._log = self._directory / "server.log"
        # Names the processes of a deployment under way; killed, it leaves some that the record does not know.
        self._strays = self._directory / "strays.json"

    @classmethod
    @contextlib.contextmanager
    def locked(cls, name: str) -> Iterator[Endpoint]:
        """Yields the endpoint while no other process may touch it."""
        endpoint = cls(name)
        parent = endpoint._directory.parent
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (parent / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            endpoint._end_strays()
            yield endpoint

    def record(self) -> Record:
        """Returns the endpoint's record with its ``status``.

        Raises:
            InputError: When there is no such endpoint.
        """
        record = self._record()
        if record is None:
            names = ", ".join(record["name"] for record in registered()) or "none"
            raise InputError(f"there is no endpoint {self.name!r}; registered: {names}")
        return _with_status(record)

    def deploy(self, release: Mapping[str, Any], port: int) -> Record:
        """Makes the endpoint serve a release; see :func:`shipway.serving.endpoints.deploy`."""
        current = self._record()
        server = _Server.of_environment(current["server"] if current else None)
        running = current if current is not None and _process(current).running else None
        if running and port in (0, running["port"]) and _serves(running, release, server):
            return running
        wanted = port or (current["port"] if current else free_port(_HOST))
        if running is None or running["port"] != wanted:
            check_free(_HOST, wanted)
        model = _model_directory(release)
        self._directory.mkdir(exist_ok=True)
        process = self._start(server, model, release, wanted, had_endpoint=current is not None)
        record = self._new_record(current, release, wanted, process, server)
        self._publish(record, current)
        return record

    def remove(self) -> None:
        """Ends the server and removes the registration."""
        _process(self.record()).end()
        shutil.rmtree(self._directory)

    def _record(self) -> Record | None:
        return read_json(self._file) if self._file.is_file() else None

    def _start(
        self, server: _Server, model: Path, release: Mapping[str, Any], port: int, had_endpoint: bool
    ) -> ServerProcess:
        """Starts the server and waits until it answers; on failure the endpoint is as it was."""
        ready = self._directory / "ready.json"
        ready.unlink(missing_ok=True)
        arguments = ["--model-dir", str(model), "--name", self.name, "--host", _HOST, "--port", str(port)]
        log_start = self._log.stat().st_size if self._log.exists() else 0
        started = server.start([*arguments, "--reuse-port", "--ready-file", str(ready)], self._log)
        process = ServerProcess.of(started.pid)
        write_json(self._strays, [dataclasses.asdict(process)])
        try:
            self._wait(started, ready, log_start)
            self._check(port, release)
        except BaseException:
            self._end_strays()
            if not had_endpoint:
                shutil.rmtree(self._directory)
            raise
        ready.unlink()
        return process

    def _wait(self, started: subprocess.Popen[bytes], ready: Path, log_start: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            code = started.poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with exit code {code}" if code is not None else f"not ready in {_START_SECONDS:.0f} s"
                lines = self._log.read_bytes()[log_start:].decode(errors="replace").strip().splitlines()
                said = "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])
                raise DeploymentError(
                    f"the new server of the endpoint {self.name} did not come up ({what}); what was served before"
                    f" still is. Its log ends with:\n{said}"
                )
            time.sleep(_POLL_SECONDS)

    def _check(self, port: int, release: Mapping[str, Any]) -> None:
        served = EndpointClient(_url(port), self.name).model_digest()
        if served != release["model_digest"]:
            raise DeploymentError(
                f"{_url(port)} serves the model {served}, not {release['model_digest']} of the release"
                f" {release['release']}; look which process holds the port {port}"
            )

    def _new_record(
        self,
        current: Record | None,
        release: Mapping[str, Any],
        port: int,
        process: ServerProcess,
        server: _Server,
    ) -> Record:
        same = current is not None and current["release"]["digest"] == release["digest"]
        previous = current and current["previous_release" if same else "release"]
        return {
            "name": self.name,
            "target": "local",
            "url": _url(port),
            "predict_url": f"{_url(port)}/v1/models/{self.name}:predict",
            "infer_url": f"{_url(port)}/v2/models/{self.name}/infer",
            "protocols": ["v1", "v2"],
            "port": port,
            "pid": process.pid,
            "pid_started": process.started,
            "release": dict(release),
            "previous_release": previous,
            "undo": f"shipway rollback {self.name}" if previous else f"shipway endpoints stop {self.name}",
            "log": str(self._log),
            "manifest": str(self._directory / "inferenceservice.yaml"),
            "server": dataclasses.asdict(server),
        }

    def _publish(self, record: Record, current: Record | None) -> None:
        """Registers the new process and ends the old one; killed in between, the next call ends what is left."""
        Path(record["manifest"]).write_text(inference_service_yaml(self.name, record["release"]), encoding="utf-8")
        processes = [_process(r) for r in (record, current) if r is not None]
        write_json(self._strays, [dataclasses.asdict(process) for process in processes])
        write_json(self._file, record)
        self._end_strays()

    def _end_strays(self) -> None:
        if not self._strays.exists():
            return
        current = self._record()
        for stray in (ServerProcess(**fields) for fields in read_json(self._strays)):
            if current is None or stray != _process(current):
                stray.end()
        self._strays.unlink()


def _with_status(record: Record) -> Record:
    return {**record, "status": "up" if _process(record).running else "down"}


def _serves(record: Record, release: Mapping[str, Any], server: _Server) -> bool:
    """Whether the record is of this release, by this server's code and environment."""
    return bool(record["release"]["digest"] == release["digest"]) and _Server(**record["server"]) == server


def _process(record: Record) -> ServerProcess:
    return ServerProcess(record["pid"], record["pid_started"])


def _url(port: int) -> str:
    return f"http://{_HOST}:{port}"


def _model_directory(release: Mapping[str, Any]) -> Path:
    directory = Path(release["directory"]) if "directory" in release else _local_path(release["uri"])
    if not (directory / "model").is_dir():
        raise InputError(f"the release {release['uri']} is not, or no longer, at {directory}; deploy it again")
    return directory / "model"


def _local_path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        raise InputError(f"the release {uri} is not on this machine; let deploy_model fetch it")
    return Path(unquote(parts.path) if parts.scheme else uri).absolute()
