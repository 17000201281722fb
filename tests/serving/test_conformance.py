"""Every REST route of KServe's v1 and v2, the repository's too, as the protocol says and as others' clients ask."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from abuse_support import GOLDEN, MODEL, NAME, Abused, abused
from serving_support import FIXTURES, ask

from shipway.components.common.model import read_golden, read_model

sys.path.insert(0, str(Path(__file__).parents[1]))

from environments import made_environment

KSERVE = ("kserve", ("kserve==0.21.0", "kubernetes==30.1.0"))
TRITON = ("triton-client", ("tritonclient[http]==2.73.0",))
FLIGHTS, OTHER = read_model(FIXTURES / "binary"), read_model(FIXTURES / "binary_other")
INPUTS = [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in MODEL.inputs]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(FIXTURES / "vector", root / NAME)
    shutil.copytree(FIXTURES / "binary", root / "flights")
    return root


@pytest.fixture(scope="module")
def both(serving_python: str, tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Abused]:
    """A server of two models, which clients may load and unload."""
    directory = tmp_path_factory.mktemp("both")
    with abused(serving_python, directory, "--allow-repository-changes", models=models) as server:
        yield server


def golden_inputs() -> list[dict[str, Any]]:
    rows = len(GOLDEN.instances)
    given = []
    for feature in MODEL.inputs:
        values = [instance[feature.name] for instance in GOLDEN.instances]
        if len(feature.shape) == 2:
            values = [value or [None] * feature.shape[1] for value in values]
        if feature.datatype == "BYTES":
            values = [value or "" for value in values]
        shape = [rows, *feature.shape[1:]]
        given.append({"name": feature.name, "datatype": feature.datatype, "shape": shape, "data": values})
    return given


def is_golden(answer: dict[str, Any]) -> bool:
    rows = len(answer["labels"])
    np.testing.assert_allclose(answer["scores"], GOLDEN.scores[:rows], atol=1e-6)
    return bool(answer["labels"] == list(GOLDEN.labels[:rows]))


def asked_by(environment: tuple[str, tuple[str, ...]], script: str, given: Any, *arguments: str) -> dict[str, Any]:
    python = made_environment(*environment) / "bin/python"
    done = subprocess.run(
        [python, Path(__file__).parent / script, *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


ROUTES = {
    "/": {"status": "alive"},
    "/v1/models": {"models": ["flights", NAME]},
    f"/v1/models/{NAME}": {"name": NAME, "ready": True},
    "/v2": {"name": "shipway", "version": "1", "extensions": ["binary_tensor_data", "model_repository"]},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models": {"models": ["flights", NAME]},
    f"/v2/models/{NAME}/ready": {"name": NAME, "ready": True},
    f"/v2/models/{NAME}/versions/{MODEL.digest}/ready": {"name": NAME, "ready": True},
}
METADATA = {
    "name": NAME,
    "versions": [MODEL.digest],
    "platform": "onnx_onnxruntime",
    "inputs": INPUTS,
    "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ],
}
ROUTES[f"/v2/models/{NAME}"] = ROUTES[f"/v2/models/{NAME}/versions/{MODEL.digest}"] = METADATA


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_read(both: Abused, route: str) -> None:
    assert ask(both.url + route) == (200, ROUTES[route])


def test_v1_predicts(both: Abused) -> None:
    status, answer = both.post(f"/v1/models/{NAME}:predict", json.dumps({"instances": GOLDEN.instances}).encode())
    assert (status, answer.keys()) == (200, {"predictions"})
    assert all(one.keys() == {"label", "scores"} for one in answer["predictions"])
    assert is_golden(
        {
            "labels": [one["label"] for one in answer["predictions"]],
            "scores": [list(one["scores"].values()) for one in answer["predictions"]],
        }
    )


@pytest.mark.parametrize("path", [f"/v2/models/{NAME}/infer", f"/v2/models/{NAME}/versions/{MODEL.digest}/infer"])
def test_v2_infers(both: Abused, path: str) -> None:
    status, answer = both.post(path, json.dumps({"inputs": golden_inputs()}).encode())
    rows = len(GOLDEN.labels)
    assert (status, answer.keys()) == (200, {"model_name", "model_version", "outputs"})
    assert (answer["model_name"], answer["model_version"]) == (NAME, MODEL.digest)
    scores, label = answer["outputs"]
    assert {key: value for key, value in scores.items() if key != "data"} == {
        "name": "scores",
        "datatype": "FP32",
        "shape": [rows, 2],
    }
    assert label == {"name": "label", "datatype": "BYTES", "shape": [rows], "data": list(GOLDEN.labels)}
    assert is_golden({"scores": np.reshape(scores["data"], (rows, 2)), "labels": label["data"]})


def state(server: Abused, body: bytes = b"") -> dict[str, str]:
    status, index = server.post("/v2/repository/index", body)
    assert status == 200
    assert all(entry.keys() == {"name", "version", "state", "reason"} for entry in index)
    return {entry["name"]: entry["state"] for entry in index}


def test_models_are_unloaded_and_loaded(both: Abused) -> None:
    route = "/v2/repository/models/flights"
    assert state(both) == {"flights": "READY", NAME: "READY"}
    for _ in range(2):
        assert both.post(f"{route}/unload", b"") == (200, {"name": "flights", "unload": True})
    assert state(both) == {"flights": "UNAVAILABLE", NAME: "READY"}
    assert state(both, b'{"ready": false}') == {"flights": "UNAVAILABLE", NAME: "READY"}
    assert state(both, b'{"ready": true}') == {NAME: "READY"}
    assert ask(f"{both.url}/v2/models/flights/ready")[0] == 404
    assert both.post("/v1/models/flights:predict", b"{}")[0] == 404
    assert both.post(f"{route}/load", b'{"parameters": {}}') == (200, {"name": "flights", "load": True})
    assert state(both) == {"flights": "READY", NAME: "READY"}
    assert ask(f"{both.url}/v2/models/flights/ready")[0] == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b'{"ready": "true"}', b'{"parameters": []}'])
def test_the_index_refuses_what_it_does_not_understand(both: Abused, body: bytes) -> None:
    assert both.post("/v2/repository/index", body)[0] == 400


def test_loading_takes_no_configuration(both: Abused) -> None:
    status, answer = both.post("/v2/repository/models/flights/load", b'{"parameters": {"config": "{}"}}')
    assert status == 400
    assert "without config" in answer["error"]


def test_what_cannot_be_loaded_leaves_what_is_served(both: Abused, models: Path) -> None:
    file = models / "flights" / "model.onnx"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1])
        status, answer = both.post("/v2/repository/models/flights/load", b"")
    finally:
        file.write_bytes(content)
    assert status == 422
    assert "model.onnx has changed" in answer["error"]
    assert ask(f"{both.url}/v2/models/flights")[1]["versions"] == [FLIGHTS.digest]
    assert both.post("/v2/repository/models/flights/load", b"")[0] == 200
    both.log.write_text("")  # it was an error, and said so


def test_a_model_is_replaced_under_load_without_losing_a_request(both: Abused, models: Path) -> None:
    golden = read_golden(FIXTURES / "binary")
    body = json.dumps({"instances": golden.instances})
    expected = {
        model.digest: np.array(read_golden(FIXTURES / name).scores)
        for model, name in ((FLIGHTS, "binary"), (OTHER, "binary_other"))
    }
    seen: list[str] = []
    done = threading.Event()

    def ask_on() -> None:
        connection = http.client.HTTPConnection(*both.address, timeout=20)
        while not done.is_set():
            connection.request("POST", "/v1/models/flights:predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.load(response)
            assert response.status == 200, answer
            digest = response.headers["x-shipway-model-digest"]
            scores = [list(one["scores"].values()) for one in answer["predictions"]]
            np.testing.assert_allclose(scores, expected[digest], atol=1e-6)
            seen.append(digest)
        connection.close()

    def swap(source: str) -> str:
        shutil.rmtree(models / "flights")
        shutil.copytree(FIXTURES / source, models / "flights")
        assert both.post("/v2/repository/models/flights/load", b"")[0] == 200
        at = len(seen)
        while len(seen) < at + 50 and not failures:
            time.sleep(0.01)
        return seen[-1]

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            ask_on()
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            assert swap("binary_other") == OTHER.digest
            assert swap("binary") == FLIGHTS.digest
    finally:
        done.set()
        for thread in threads:
            thread.join(20)
    assert not failures
    assert set(seen) == {FLIGHTS.digest, OTHER.digest}


def test_kserves_own_client_is_answered(both: Abused) -> None:
    given = {"instances": GOLDEN.instances, "inputs": golden_inputs()}
    told = asked_by(KSERVE, "kserve_rest_client.py", given, both.url, NAME)
    v1, v2 = told["v1"], told["v2"]
    assert (v1["live"], v1["ready"], v1["unknown"][0]) == (True, True, 404)
    assert [one["label"] for one in v1["answer"]["predictions"]] == list(GOLDEN.labels)
    assert v1["refused"][0] == 400
    assert "at least one row" in v1["refused"][1]
    assert v1["explained"][0] == 501
    assert (v2["live"], v2["ready"], v2["model_ready"], v2["unknown"]) == (True, True, True, False)
    for kind in ("json", "binary"):
        assert (v2[kind]["id"], v2[kind]["model"]) == ("7", NAME)
        assert is_golden(v2[kind])
    assert v2["refused"][0] == 400
    assert "lacks" in v2["refused"][1]


def test_tritons_own_client_is_answered(both: Abused) -> None:
    told = asked_by(TRITON, "triton_client.py", golden_inputs(), both.url.removeprefix("http://"), NAME)
    ready = [told[kind] for kind in ("live", "ready", "model_ready", "version_ready", "unknown", "same_metadata")]
    assert ready == [True, True, True, True, False, True]
    assert told["metadata"] == METADATA
    assert told["server"] == ROUTES["/v2"]
    assert {entry["name"]: entry["state"] for entry in told["index"]} == {"flights": "READY", NAME: "READY"}
    assert {entry["name"]: entry["state"] for entry in told["index_unloaded"]}[NAME] == "UNAVAILABLE"
    assert (told["unloaded"], told["loaded"]) == (None, None)
    for kind in ("json", "binary", "mixed", "default", "version"):
        assert (told[kind]["id"], told[kind]["model"]) == ("7", NAME)
        assert len(told[kind]["labels"]) == (1 if kind in ("json", "mixed") else len(GOLDEN.labels))
        assert is_golden(told[kind]), kind
    assert told["concurrent"] == 1
    for kind, code, reason in (
        ("refused", "400", "lacks"),
        ("compressed", "415", "must not be compressed"),
        ("classified", "400", "does not have classification"),
        ("configured", "400", "without config"),
    ):
        assert told[kind][0] == code
        assert reason in told[kind][1]
