"""Other people's servers, each in an environment of its own, with the model as docs/integrations.md says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from environments import ROOT, made_environment
from programs import READY_SECONDS, free_ports, new_directory, running

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_golden, read_model
from shipway.pipelines.code import code_snapshot
from shipway.serving.integrations import bentoml, seldon

PAGE = (ROOT / "docs" / "integrations.md").read_text()
MODEL = ROOT / "tests" / "serving" / "fixtures" / "binary"
LOCK = dict(line.split("==") for line in (ROOT / "serving" / "requirements-host.txt").read_text().split())
NEEDED = tuple(f"{name}=={LOCK[name]}" for name in bentoml.REQUIREMENTS)
GOLDEN = read_golden(MODEL)
RELEASE = "releases/flights/0123456789abcdef"


def python_of(section: str) -> str:
    """Returns the section's Python, as it stands on the page."""
    (text,) = (part for part in PAGE.split("\n## ") if part.startswith(f"{section}\n"))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return code


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server's directory, with a release where the page has one; the servers see the project's code."""
    directory = new_directory()
    (directory / RELEASE).mkdir(parents=True)
    (directory / RELEASE / "model").symlink_to(MODEL)
    monkeypatch.setenv("PYTHONPATH", str(code_snapshot()))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def inputs_of(instances: Any, missing: str = "") -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [len(instances)],
            "data": [instance[tensor.name] for instance in instances],
        }
        for tensor in read_model(MODEL).inputs
        if tensor.name != missing
    ]


def post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read().strip() or b"null")


def flat(scores: Any) -> list[float]:
    return [score for row in scores for score in row]


def agrees_over_v1(url: str) -> None:
    status, answer = post(f"{url}/v1/models/flights:predict", {"instances": GOLDEN.instances})
    assert status == 200
    assert [row["label"] for row in answer["predictions"]] == list(GOLDEN.labels)
    scores = [list(row["scores"].values()) for row in answer["predictions"]]
    assert flat(scores) == pytest.approx(flat(GOLDEN.scores), abs=GOLDEN.tolerance)


def agrees_over_v2(url: str) -> None:
    status, answer = post(f"{url}/v2/models/flights/infer", {"inputs": inputs_of(GOLDEN.instances)})
    assert status == 200
    outputs = {output["name"]: output for output in answer["outputs"]}
    rows, classes = len(GOLDEN.labels), len(GOLDEN.scores[0])
    assert (outputs["scores"]["shape"], outputs["label"]["shape"]) == ([rows, classes], [rows])
    assert outputs["scores"]["data"] == pytest.approx(flat(GOLDEN.scores), abs=GOLDEN.tolerance)
    assert outputs["label"]["data"] == list(GOLDEN.labels)
    assert answer["model_version"] == read_model(MODEL).digest
    status, refusal = post(f"{url}/v2/models/flights/infer", {"inputs": inputs_of(GOLDEN.instances, "distance")})
    assert (status, "lacks distance" in refusal["error"]) == (400, True)


@pytest.mark.parametrize("framework", ["FastAPI", "Flask"])
def test_mounted_in_an_application_of_ones_own(framework: str, place: Path) -> None:
    assert f"\npip install {' '.join(bentoml.REQUIREMENTS)}\n" in PAGE
    others = ("a2wsgi==1.10.10", "fastapi==0.165.0", "flask==3.1.3", "uvicorn==0.54.0")
    directory = made_environment("web", (*NEEDED, *others)) / "bin"
    (place / "service.py").write_text(python_of(framework))
    (port,) = free_ports(1)
    command = "uvicorn service:app" if framework == "FastAPI" else "flask --app service run"
    assert f"\n{command} --port 8080\n" in PAGE
    url = f"http://127.0.0.1:{port}"
    program, *arguments = command.split()
    with running(framework, place, [str(directory / program), *arguments, "--port", str(port)], lambda: get(url)):
        assert get(url) == {"model": "/models/v2/models/flights"}
        agrees_over_v1(f"{url}/models")
        agrees_over_v2(f"{url}/models")
        assert get(f"{url}/models/v2/models/flights/ready")["ready"] is True


@contextlib.contextmanager
def bentoml_running(command: list[str], directory: Path, ready: str) -> Iterator[None]:
    """Runs BentoML from when it is ready. Its workers have sessions of their own, so it must end them itself."""
    with subprocess.Popen(command, cwd=directory) as process:
        try:
            until = time.monotonic() + READY_SECONDS
            while True:
                with contextlib.suppress(OSError):
                    get(ready)
                    break
                assert process.poll() is None, "BentoML ended"
                assert time.monotonic() < until, "BentoML is not ready"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def test_a_bento(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = made_environment("bentoml", (*NEEDED, "bentoml==1.4.40")) / "bin"
    monkeypatch.setenv("BENTOML_HOME", str(place / "home"))
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("PATH", f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}")  # BentoML locks by uv
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(place)
    exec(compile(python_of("BentoML"), "integrations.md", "exec"), {})
    bento = str(directory / "bentoml")
    subprocess.run([bento, "build", "."], cwd=place / "bento", check=True, capture_output=True)
    shutil.rmtree(place / "bento")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [bento, "serve", "flights:latest", "--host", "127.0.0.1", "--port", str(port)]
    with bentoml_running(command, place, f"{url}/readyz"):
        agrees_over_v1(url)
        agrees_over_v2(url)


@pytest.fixture
def mlserver(place: Path) -> Iterator[tuple[str, int, Path]]:
    """MLServer with the directory of the page: its URL, gRPC port and environment."""
    environment = made_environment("mlserver", (*NEEDED, "mlserver==1.7.1", "uvloop==0.21.0"))
    directory = place / "seldon" / "flights"
    seldon.write_model_directory(place / RELEASE, directory, "flights")
    rest, grpc, metrics = free_ports(3)
    ports = {"http_port": rest, "grpc_port": grpc, "metrics_port": metrics}
    (directory / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports}))
    command = [str(environment / "bin" / "mlserver"), "start", str(directory)]
    url = f"http://127.0.0.1:{rest}"
    with running("MLServer", place, command, lambda: get(f"{url}/v2/models/flights/ready")):
        yield url, grpc, environment


def test_mlserver(mlserver: tuple[str, int, Path]) -> None:
    url, grpc_port, environment = mlserver
    agrees_over_v2(url)
    asked = {"inputs": inputs_of(GOLDEN.instances[:1]), "outputs": [{"name": "label"}]}
    status, answer = post(f"{url}/v2/models/flights/infer", asked)
    assert (status, [output["name"] for output in answer["outputs"]]) == (200, ["label"])
    status, refusal = post(f"{url}/v2/models/flights/infer", {**asked, "outputs": [{"name": "odds"}]})
    assert (status, "no output odds" in refusal["error"]) == (400, True)
    described = get(f"{url}/v2/models/flights")
    assert {tensor["name"]: tensor["datatype"] for tensor in described["inputs"]} == {
        tensor.name: tensor.datatype for tensor in read_model(MODEL).inputs
    }

    def over_grpc(inputs: list[dict[str, Any]]) -> Any:
        program = [str(environment / "bin" / "python"), str(Path(__file__).with_name("mlserver_grpc.py"))]
        told = subprocess.run(
            [*program, str(grpc_port)], input=json.dumps(inputs), capture_output=True, text=True, check=True
        )
        return json.loads(told.stdout)

    answer = over_grpc(inputs_of(GOLDEN.instances))
    assert answer["scores"] == pytest.approx(flat(GOLDEN.scores), abs=GOLDEN.tolerance)
    assert answer["label"] == list(GOLDEN.labels)
    refusal = over_grpc(inputs_of(GOLDEN.instances, "distance"))
    assert (refusal["code"], "lacks distance" in refusal["error"]) == ("INVALID_ARGUMENT", True)


def test_seldons_model(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    exec(compile(python_of("Seldon Core and MLServer"), "integrations.md", "exec"), {})
    assert yaml.safe_load(capsys.readouterr().out) == {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "flights", "labels": {"app.kubernetes.io/managed-by": "shipway"}},
        "spec": {"storageUri": "s3://models/seldon/flights", "requirements": [seldon.CAPABILITY], "memory": "256Mi"},
    }
    assert f"extraCapabilities: [{seldon.CAPABILITY}]" in PAGE
    settings = json.loads(Path("seldon/flights/model-settings.json").read_text())
    assert settings["parameters"] == {"uri": "./model", "version": read_model(MODEL).digest}
    with pytest.raises(InputError, match="publish the directory"):
        seldon.model_yaml("flights", "seldon/flights")


@pytest.mark.parametrize("write", [bentoml.write_project, seldon.write_model_directory])
def test_what_is_no_model_becomes_no_directory(write: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="no model at"):
        write(tmp_path, tmp_path / "there")
    shutil.copytree(MODEL, tmp_path / "altered")
    (tmp_path / "altered" / "golden.json").write_text("{}")
    with pytest.raises(InputError, match=r"golden.json has changed"):
        write(tmp_path / "altered", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
