"""What a task that asks for GPUs says to a cluster, and that it runs here all the same."""

import importlib.util
import json

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl
from kfp.compiler import Compiler
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

from shipway.components.common.errors import InputError
from shipway.pipelines.accelerators import with_accelerator
from shipway.pipelines.compile import load_spec, write_pipeline

from .conftest import TOY


@pytest.fixture(scope="module")
def write_text():
    module_spec = importlib.util.spec_from_file_location("toy", TOY)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.write_text


@pytest.fixture
def compiled(write_text, tmp_path):
    """Compiles a task with and one without accelerators; returns the file."""

    def made(**options):
        @dsl.pipeline(name="on-gpus")
        def on_gpus(text: str):
            first = with_accelerator(write_text(text=text), **options)
            write_text(text="plain").after(first)

        path = tmp_path / "on_gpus.yaml"
        Compiler().compile(on_gpus, str(path))
        return path

    return made


def resources(path, task="write-text"):
    return load_spec(path.read_text())["deploymentSpec"]["executors"][f"exec-{task}"]["container"].get("resources")


def platform(path):
    """The executors' Kubernetes settings, as the backend's own message parses them."""
    documents = list(yaml.safe_load_all(path.read_text()))
    if len(documents) == 1:
        return {}
    found = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name: json_format.ParseDict(value, KubernetesExecutorConfig()) for name, value in found.items()}


def test_the_defaults_are_one_gpu_its_taint_and_shared_memory(compiled):
    path = compiled()
    assert resources(path)["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert resources(path)["accelerator"]["resourceCount"] == "1"
    assert resources(path, "write-text-2") is None
    (name, settings), *others = platform(path).items()
    assert (name, others) == ("exec-write-text", [])
    assert [(t.key, t.operator, t.value, t.effect) for t in settings.tolerations] == [
        ("nvidia.com/gpu", "Exists", "", "NoSchedule")
    ]
    assert [(m.volume_name, m.mount_path, m.medium, m.size_limit) for m in settings.empty_dir_mounts] == [
        ("shm", "/dev/shm", "Memory", "1024Mi")
    ]
    assert not settings.node_selector.labels


def test_everything_that_is_asked_for_is_said(compiled):
    wanted = {"nvidia.com/gpu.product": "NVIDIA-L4", "pool": "training"}
    taints = [
        {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute", "tolerationSeconds": 60},
        {"operator": "Exists"},
    ]
    path = compiled(
        accelerator_type="nvidia.com/mig-1g.5gb", count=4, node_selector=wanted, tolerations=taints, shm_size_gib=2.5
    )
    assert resources(path)["accelerator"]["resourceType"] == "nvidia.com/mig-1g.5gb"
    assert resources(path)["accelerator"]["resourceCount"] == "4"
    settings = platform(path)["exec-write-text"]
    assert dict(settings.node_selector.labels) == wanted
    team, every = settings.tolerations
    assert (team.key, team.value, team.effect, team.toleration_seconds) == ("team", "vision", "NoExecute", 60)
    assert (every.key, every.operator, every.effect) == ("", "Exists", "")
    assert settings.empty_dir_mounts[0].size_limit == "2560Mi"


def test_without_shared_memory_and_tolerations_nothing_is_left_to_say(compiled):
    path = compiled(tolerations=[], shm_size_gib=0)
    assert platform(path) == {}
    assert resources(path)["accelerator"]["resourceCount"] == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator_type": "gpu"}, "accelerator_type is 'gpu'; it must be a resource like nvidia.com/gpu"),
        ({"count": 0}, "count is 0, it must be at least 1"),
        ({"shm_size_gib": -1}, "shm_size_gib is -1"),
        ({"tolerations": [{"toleration_seconds": 3}]}, "no toleration_seconds; it may have key, operator"),
    ],
)
def test_what_cannot_be(compiled, options, message):
    with pytest.raises(InputError, match=message):
        compiled(**options)


def test_a_ready_pipeline_with_accelerators_keeps_them_when_its_images_are_pinned(compiled, tmp_path, monkeypatch):
    text = compiled().read_text()
    monkeypatch.setattr("shipway.pipelines.compile.compile_pipeline", lambda name: text)
    digest = "sha256:" + "a" * 64
    path = write_pipeline("on_gpus", tmp_path / "out", "registry.example/team", {"lifecycle": digest})
    assert f"image: registry.example/team/shipway/lifecycle@{digest}" in path.read_text()
    assert list(platform(path)) == ["exec-write-text"]
    assert resources(path)["accelerator"]["resourceCount"] == "1"


def test_it_runs_on_this_machine_which_takes_no_notice(compiled, shipway):
    path = compiled(node_selector={"pool": "training"})
    done = shipway("run", path, "-p", "text=yes", "--json")
    assert done.returncode == 0, done.stderr
    assert [task["status"] for task in json.loads(done.stdout)["tasks"]] == ["SUCCEEDED", "SUCCEEDED"]
