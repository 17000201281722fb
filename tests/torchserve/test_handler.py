"""The archive in a TorchServe of its own, started with its own command and the archive's settings."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchserve_support import ask, exchanged, wait_until

from shipway.components.common.model import read_golden, read_model
from shipway.components.common.preprocessing import instance_tensors
from shipway.serving.openinference.binary import packed
from shipway.serving.sockets import free_port
from shipway.serving.torchserve.archive import create_archive
from shipway.serving.torchserve.process import java
from shipway.serving.torchserve.properties import Workers

PREDICT = "/predictions/flowers"
ROW = {"size (mm)": 50.0, "depth": 0.5, "colour": "red", "petals": [0.1, 0.2, 0.3, 0.4]}
BATCH = 8
BATCH_DELAY_SECONDS = 0.5


@pytest.fixture(scope="module")
def urls(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where inference and management are; a batch waits long enough for its requests to come."""
    root = tmp_path_factory.mktemp("ts")
    create_archive(
        flowers, root / "models", model_format="torchscript", workers=Workers(1, BATCH, int(1000 * BATCH_DELAY_SECONDS))
    )
    settings = (root / "models" / "config" / "config.properties").read_text()
    settings = settings.replace("/mnt/models", str(root / "models"))
    urls = {}
    for kind, port in (("inference", 8085), ("management", 8086), ("metrics", 8082)):
        urls[kind] = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        settings = settings.replace(f"http://127.0.0.1:{port}", urls[kind])
    for port in ("=7070", "=7071"):
        settings = settings.replace(port, f"={free_port('127.0.0.1')}")
    (root / "config.properties").write_text(settings)
    (root / "tmp").mkdir()
    home = str(Path(java()).parents[1])
    # Settings from the environment are ignored.
    variables = {"TMPDIR": str(root / "tmp"), "JAVA_HOME": home, "TS_ENABLE_MODEL_API": "true"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--ts-config", str(root / "config.properties"), "--model-store", str(root / "models" / "model-store")]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=root, env={**kept, **variables}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: answers(urls["inference"]), "TorchServe answers", 90)
        yield urls
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return ask(url, PREDICT, {"instances": [ROW]})[0] == 200
    except OSError:
        return False


def test_golden_requests(urls: dict[str, str], flowers: Path) -> None:
    golden = read_golden(flowers)
    status, answer = ask(urls["inference"], PREDICT, {"instances": list(golden.instances)})
    assert status == 200
    assert [p["label"] for p in answer["predictions"]] == list(golden.labels)
    scores = [list(p["scores"].values()) for p in answer["predictions"]]
    np.testing.assert_allclose(scores, golden.scores, atol=1e-6)


REFUSED = {
    "no JSON": (b"{", "malformed request"),
    "nothing": (b"", "malformed request"),
    "no instances": ({"data": [ROW]}, "instances"),
    "no rows": ({"instances": []}, "at least one row"),
    "missing feature": ({"instances": [{"depth": 1}]}, "lacks colour, petals, size (mm)"),
    "unknown feature": ({"instances": [{**ROW, "scent": 1}]}, "does not know: scent"),
    "string for number": ({"instances": [ROW, {**ROW, "depth": "1"}]}, "instances[1].depth must be a number or null"),
    "number for string": ({"instances": [{**ROW, "colour": 1}]}, "instances[0].colour must be a string or null"),
    "NaN": (json.dumps({"instances": [{**ROW, "depth": float("nan")}]}).encode(), "malformed request"),
    "overflow": ({"instances": [{**ROW, "depth": 1e39}]}, "range of a 32-bit float"),
    "short list": ({"instances": [{**ROW, "petals": [1]}]}, "must be a list of 4 numbers or null"),
    "deep": (b"[" * 100_000, "malformed request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_told_why(case: str, urls: dict[str, str]) -> None:
    body, reason = REFUSED[case]
    status, answer = ask(urls["inference"], PREDICT, body)
    assert (status, reason in answer["error"]) == (400, True), answer


def test_a_form_is_refused(urls: dict[str, str]) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\n{}\r\n--x--\r\n'
    status, answer = ask(urls["inference"], PREDICT, body, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, answer) == (400, {"error": "the request must be the body; forms are not taken"})


def test_of_a_batch_each_request_has_its_own_answer(urls: dict[str, str]) -> None:
    def asked(number: int) -> tuple[int, Any]:
        rows = [{**ROW, "depth": number / 4}] * (number + 1)
        return ask(urls["inference"], PREDICT, {"instances": rows} if number != 3 else {"instances": [{}]})

    started = time.monotonic()
    with ThreadPoolExecutor(BATCH) as pool:
        found = list(pool.map(asked, range(BATCH)))
    assert time.monotonic() - started < BATCH * BATCH_DELAY_SECONDS / 2, "each waited for itself"
    assert [status for status, _ in found] == [400 if number == 3 else 200 for number in range(BATCH)]
    alone = [asked(number) for number in range(BATCH)]
    for number, ((_, together), (_, by_itself)) in enumerate(zip(found, alone, strict=True)):
        if number == 3:
            assert "instances[0] lacks" in together["error"]
            continue
        assert len(together["predictions"]) == number + 1
        for left, right in zip(together["predictions"], by_itself["predictions"], strict=True):
            assert left["scores"] == pytest.approx(right["scores"], abs=1e-6)


def test_v2_with_binary_tensors(urls: dict[str, str], flowers: Path) -> None:
    golden = read_golden(flowers)
    rows = len(golden.instances)
    inputs, parts = [], []
    for name, values in instance_tensors(golden.instances, read_model(flowers).kinds).items():
        parts.append(packed(values.tolist()) if values.dtype == object else values.astype("<f4").tobytes())
        datatype, sizes = "BYTES" if values.dtype == object else "FP32", {"binary_data_size": len(parts[-1])}
        inputs.append({"name": name, "datatype": datatype, "shape": list(values.shape), "parameters": sizes})
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    status, answer = ask(urls["inference"], PREDICT, head + b"".join(parts), **headers)
    assert status == 200, answer
    scores, labels = answer["outputs"]
    assert labels["data"] == list(golden.labels)
    np.testing.assert_allclose(np.reshape(scores["data"], (rows, -1)), golden.scores, atol=1e-6)
    lying = {**headers, "Inference-Header-Content-Length": str(len(head) + 10_000)}
    status, answer = ask(urls["inference"], PREDICT, head, **lying)
    assert (status, "Inference-Header-Content-Length is" in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models?url=flowers.mar"),
        ("POST", "/models?url=http://127.0.0.1:1/x.mar"),
        ("DELETE", "/models/flowers"),
    ],
)
def test_models_cannot_be_registered_or_removed(method: str, path: str, urls: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(urls["management"].removeprefix("http://"), timeout=20)
    status, answer = exchanged(connection, path, method=method)
    assert (status, answer["type"]) == (405, "MethodNotAllowedException")


def other_addresses() -> list[str]:
    """Returns this machine's addresses besides the loopback ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; asks which address would be used
        return [probe.getsockname()[0]]


@pytest.mark.parametrize("kind", ["inference", "management", "metrics"])
def test_it_listens_on_the_loopback_interface_only(kind: str, urls: dict[str, str]) -> None:
    port = int(urls[kind].rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    for address in other_addresses():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=5)
