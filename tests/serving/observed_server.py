"""A server in a process of its own that is observed, and what the tests of that have in common."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from prometheus_client.parser import text_string_to_metric_families
from serving_support import FIXTURES

from shipway.serving.openinference.grpc.messages import RESPONSES, SERVICE

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from programs import made_environment

PYARROW = ("pyarrow==26.0.1",)
V1 = "/v1/models/flights:predict"
ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA"}
BODY = json.dumps({"instances": [ROW]}).encode()
_READER = """
import json, math, sys
import pyarrow.parquet as parquet
tables = [parquet.ParquetFile(path) for path in sys.argv[1:]]
print(json.dumps({
    "codecs": sorted({t.metadata.row_group(0).column(0).compression for t in tables}),
    "types": {field.name: str(field.type) for field in tables[0].schema_arrow} if tables else {},
    "rows": [row for t in tables for row in t.read().to_pylist()],
}, default=str))
"""

Value = TypeVar("Value")


@dataclass
class Observed:
    process: subprocess.Popen[bytes]
    url: str
    grpc_port: int

    def post(self, path: str = V1, body: bytes = BODY, **headers: str) -> tuple[int, bytes, Any]:
        """Returns status, body and headers."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, {"content-type": "application/json", **names})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def call(self, request: Any, method: str = "ModelInfer", **metadata: str) -> tuple[Any, Any]:
        """Returns the answer, or the error, and the trailing metadata."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/{method}", type(request).SerializeToString, RESPONSES[method].FromString
            )
            pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
            try:
                answer, told = call.with_call(request, timeout=20, metadata=pairs)
            except grpc.RpcError as error:
                answer = told = error
            return answer, dict(told.trailing_metadata() or ())

    def metrics(self) -> dict[str, float]:
        """Returns the values of those without labels but ``worker``, by sample."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        return {s.name: s.value for family in families for s in family.samples if s.labels.keys() <= {"worker"}}

    def helpers(self) -> list[int]:
        """Returns the ids of its helper processes, of which there should be one."""
        return helpers_of(self.process)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def observed(
    python: str, directory: Path, *options: str, model: str = "binary", stderr: Any = None, **variables: str
) -> Iterator[Observed]:
    """Runs a server with options until the end of the block."""
    ready = directory / "ready.json"
    ready.unlink(missing_ok=True)
    command = [python, "-m", "shipway.serving.server", "--model-dir", str(FIXTURES / model), "--name", "flights"]
    command += ["--port", "0", "--grpc-port", "0", "--ready-file", str(ready), *options]
    process = subprocess.Popen(command, stderr=stderr, env={**os.environ, **variables})
    try:
        eventually(lambda: ready.exists() or process.poll() is not None, 60)
        assert process.poll() is None, "the server ended"
        told = json.loads(ready.read_text())
        yield Observed(process, f"http://127.0.0.1:{told['port']}", told["grpc_port"])
    finally:
        for helper in helpers_of(process) if process.poll() is None else ():
            os.kill(helper, signal.SIGCONT)  # one that a test has stopped would never see its input's end
        process.kill()
        process.wait()


def helpers_of(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for path in children for pid in path.read_text().split()]


def eventually(condition: Callable[[], Value], seconds: float = 20.0) -> Value:
    """Returns the first value that is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)
    return value


def parquet_files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.parquet"))


def read_parquet(*paths: Path) -> dict[str, Any]:
    """Returns what pyarrow reads: codecs, types and rows."""
    python = made_environment("parquet-reader", PYARROW) / "bin/python"
    done = subprocess.run([python, "-c", _READER, *map(str, paths)], check=True, capture_output=True)
    return json.loads(done.stdout)
