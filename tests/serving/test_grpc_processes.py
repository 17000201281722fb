"""gRPC in the server's own process: KServe's client, and the port's way from one process to the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_support import infer_request, values_of
from serving_support import FIXTURES, write_variant

from shipway.components.common.model import read_golden, read_model
from shipway.serving.openinference.grpc.messages import REQUESTS, RESPONSES, SERVICE

sys.path.append(str(Path(__file__).parents[1]))
from environments import ROOT, made_environment

PROTOCOL = ROOT / "serving/openinference/grpc"
GOLDEN = read_golden(FIXTURES / "vector")
MODEL = read_model(FIXTURES / "vector")
Start = Callable[..., tuple["subprocess.Popen[bytes]", int]]


@pytest.fixture(scope="module")
def kserve_python() -> str:
    """An interpreter that has KServe, and the compiler of protocols that it needs."""
    return str(made_environment("kserve", ("kserve==0.21.0", "kubernetes==30.1.0")) / "bin/python")


@pytest.fixture
def start(serving_python: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the server; returns its process and its gRPC port."""
    started: list[subprocess.Popen[bytes]] = []

    def starting(model: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
        ready = tmp_path / f"ready-{len(started)}.json"
        command = [serving_python, "-m", "shipway.serving.server", "--model-dir", str(model), "--name", "flights"]
        process = subprocess.Popen([*command, "--port", "0", "--ready-file", str(ready), *options])
        started.append(process)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.02)
        return process, json.loads(ready.read_text())["grpc_port"]

    yield starting
    for process in started:
        process.kill()
        process.wait(20)


def ask(kserve_python: str, port: int) -> dict[str, Any]:
    rows = len(GOLDEN.instances)
    inputs = [
        {"name": f.name, "datatype": f.datatype, "shape": [rows, *f.shape[1:]], "data": values_of(f, GOLDEN.instances)}
        for f in MODEL.inputs
    ]
    script = Path(__file__).with_name("grpc_kserve_client.py")
    command = [kserve_python, str(script), f"127.0.0.1:{port}", str(PROTOCOL / "open_inference.binpb")]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = subprocess.run(
        command, input=json.dumps({"inputs": inputs}), capture_output=True, text=True, check=False, env=variables
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    return json.loads(asked.stdout.splitlines()[-1])


def test_kserves_own_client_is_answered(kserve_python: str, start: Start) -> None:
    _, port = start(FIXTURES / "vector", "--grpc-port", "0")
    told = ask(kserve_python, port)
    for way in ("raw", "typed"):
        assert told[way]["id"] == "7"
        assert told[way]["labels"] == list(GOLDEN.labels)
        np.testing.assert_allclose(told[way]["scores"], GOLDEN.scores, atol=1e-6)
    assert told["live"]
    assert told["ready"]
    assert told["model_ready"]
    assert (told["unknown"], told["short"]) == ("NOT_FOUND", "INVALID_ARGUMENT")
    assert told["differences"] == []


def test_the_protocol_is_compiled(kserve_python: str, tmp_path: Path) -> None:
    compiled = tmp_path / "open_inference.binpb"
    arguments = ["-I.", f"--descriptor_set_out={compiled}", "open_inference.proto"]
    subprocess.run([kserve_python, "-m", "grpc_tools.protoc", *arguments], check=True, cwd=PROTOCOL)
    assert compiled.read_bytes() == (PROTOCOL / "open_inference.binpb").read_bytes(), "run `make proto`"


class Load:
    """Asks one after the other, on three channels and on a new one each time, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.port, self.versions, self.failures = port, [], []
        self._request = infer_request(GOLDEN.instances, raw=True)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._kept, self._kept, self._kept, self._new)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)

    def asked_anew(self) -> str:
        """Asks once on a connection of its own; returns who answered."""
        # Channels of the same options share their connections otherwise.
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            return str(inferring(channel)(self._request, timeout=10).model_version)

    def _kept(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = inferring(channel)
            self._ask(lambda: infer(self._request, timeout=10).model_version)

    def _new(self) -> None:
        self._ask(self.asked_anew)

    def _ask(self, answer: Callable[[], str]) -> None:
        while not self._stopped.is_set():
            try:
                self.versions.append(answer())
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()} {error.details()}")


def inferring(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        f"/{SERVICE}/ModelInfer", REQUESTS["ModelInfer"].SerializeToString, RESPONSES["ModelInfer"].FromString
    )


def test_a_port_passes_to_the_next_process_without_a_failed_call(start: Start, tmp_path: Path) -> None:
    models = [FIXTURES / "vector", write_variant("vector", tmp_path / "other", tolerance=0.5)]
    process, port = start(models[0], "--grpc-port", "0", "--reuse-port")
    with Load(port) as load:
        for turn in range(1, 4):
            time.sleep(0.3)
            former, (process, again) = process, start(models[turn % 2], "--grpc-port", str(port), "--reuse-port")
            assert again == port
            assert {load.asked_anew() for _ in range(8)} == {read_model(models[turn % 2]).digest}
            former.send_signal(signal.SIGTERM)
            assert former.wait(20) == 0
        time.sleep(0.3)
    assert load.failures == []
    assert set(load.versions) == {read_model(model).digest for model in models}


def test_a_server_that_is_asked_to_end_lets_calls_end(start: Start) -> None:
    process, port = start(FIXTURES / "vector", "--grpc-port", "0", "--batch-delay-seconds", "1")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = inferring(channel)
        infer(infer_request(GOLDEN.instances, raw=True), timeout=20)
        answer = infer.future(infer_request(GOLDEN.instances, raw=True), timeout=20)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert answer.result().model_version == MODEL.digest
    assert process.wait(20) == 0
