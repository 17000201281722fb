"""An MLflow server for the tests, of the whole ``mlflow``, in an environment below ``build`` made on first use."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "storage"))

from programs import free_ports, made_environment, new_directory, running

REQUIREMENTS = ("mlflow==3.17.2",)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class TrackingServer:
    """Reads back what a server was told, through its REST API."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def get(self, call: str, **query: str) -> Any:
        """Returns the answer to a GET as JSON."""
        return json.loads(self.read(f"/api/2.0/mlflow/{call}?{urllib.parse.urlencode(query)}"))

    def post(self, call: str, body: object) -> Any:
        """Returns the answer to a POST as JSON."""
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return json.load(_DIRECT.open(request, timeout=20))

    def read(self, path: str) -> bytes:
        """Returns the answer to a GET."""
        with _DIRECT.open(f"{self.uri}{path}", timeout=20) as answer:
            return answer.read()

    def runs(self, experiment: str) -> Any:
        """Returns the runs of an experiment, the newest first."""
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
        return self.post("runs/search", {"experiment_ids": [found]})["runs"]


@contextlib.contextmanager
def tracking_server() -> Iterator[TrackingServer]:
    """Runs a server on the loopback, with its database and artifacts in a directory that goes with it."""
    directory, port = new_directory(), free_ports(1)[0]
    server = TrackingServer(f"http://127.0.0.1:{port}")
    quiet = ("MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false")
    mlflow = made_environment("tracking-server", REQUIREMENTS) / "bin/mlflow"
    command = ["env", *quiet, str(mlflow), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", "sqlite:///store.db", "--artifacts-destination", "./artifacts"]
    with running("MLflow", directory, command, lambda: server.get("experiments/get", experiment_id="0") and None):
        yield server
