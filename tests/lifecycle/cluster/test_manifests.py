from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import crd
import pytest
import yaml

from shipway.components.common.errors import InputError
from shipway.components.common.training.launching import STOP_SECONDS
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.settings import Hyperparameters
from shipway.components.lifecycle.cluster import kustomization
from shipway.components.lifecycle.cluster.manifests import job_name, train_job, training_runtime
from shipway.components.lifecycle.cluster.settings import Cluster

MANIFESTS = Path(__file__).parents[3] / "manifests" / "training"
REQUEST = TrainingRequest(
    train="s3://data/train",
    validation="s3://data/validation",
    model="s3://models/late",
    curves="s3://models/late.html",
    label="late",
    model_name="Late flights",
    accelerator="cpu",
)
needs_schemas = pytest.mark.skipif(not crd.available(), reason="needs the CRDs of Kubeflow Trainer")


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def pod_of(runtime: dict[str, Any]) -> dict[str, Any]:
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]


@needs_schemas
@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_every_object_is_what_the_cluster_takes(framework: str, accelerator: str):
    cluster = Cluster(namespace="team", nodes=3, devices_per_node=2, image="shipway/x:1", timeout_seconds=60)
    request = replace(REQUEST, accelerator=accelerator)
    assert crd.faults_of(train_job("late-1", request, framework, cluster)) == []
    assert crd.faults_of(training_runtime(framework, "shipway/x:1", "mine", "secret", "account", 2)) == []


@needs_schemas
def test_the_check_itself_notices():
    runtime = training_runtime("pytorch", "shipway/x:1")
    runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"
    pod_of(runtime)["containers"][0]["imagePolicy"] = "Always"
    del pod_of(runtime)["containers"][0]["name"]
    runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] = "five"
    assert len(crd.faults_of(runtime)) == 4


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_a_pod_may_do_nothing_that_it_need_not(framework: str):
    pod = pod_of(training_runtime(framework, "shipway/x:1"))
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm"}
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS


def test_preemption_is_retried_and_a_callers_mistake_is_not():
    (job,) = training_runtime("pytorch", "shipway/x:1", restarts=7)["spec"]["template"]["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    lost, final = spec["podFailurePolicy"]["rules"]
    assert lost == {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert final["action"] == "FailJob"
    assert 2 in final["onExitCodes"]["values"]
    assert not {0, 1, 6, 75, 143} & set(final["onExitCodes"]["values"])
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    policy = training_runtime("pytorch", "x", restarts=7)["spec"]["template"]["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 7
    assert policy["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_a_train_job_says_what_to_train_and_has_no_secrets():
    request = replace(REQUEST, label="cost in $(HOME) or $$")
    job = train_job("late-1", request, "tensorflow", Cluster(nodes=3, storage_secret="keys"))
    told = variables(job["spec"]["trainer"])
    assert told["SHIPWAY_NODES"] == "3"
    text = told["SHIPWAY_TRAINING_REQUEST"]
    assert "$(" not in text.replace("$$", "")
    assert TrainingRequest.from_json(text.replace("$$", "$")) == request
    assert told["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"] == {
        "name": "keys",
        "key": "AWS_SECRET_ACCESS_KEY",
        "optional": True,
    }
    assert job["spec"]["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": "shipway-tensorflow",
    }


def test_gpus_are_asked_for_by_the_clusters_name_for_them():
    cluster = Cluster(devices_per_node=4, gpu_resource="nvidia.com/mig-1g.5gb")
    trainer = train_job("late-1", replace(REQUEST, accelerator="gpu"), "pytorch", cluster)["spec"]["trainer"]
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/mig-1g.5gb"] == "4"
    assert trainer["numProcPerNode"] == 4
    on_cpu = train_job("late-1", REQUEST, "pytorch", cluster)["spec"]["trainer"]
    assert "nvidia.com/mig-1g.5gb" not in on_cpu["resourcesPerNode"]["limits"]


def test_a_name_tells_what_is_trained_and_nothing_else():
    cluster = Cluster()
    name = job_name(REQUEST, "pytorch", cluster)
    assert name.startswith("late-flights-")
    assert job_name(replace(REQUEST, model="elsewhere"), "pytorch", replace(cluster, timeout_seconds=5)) == name
    longer = replace(REQUEST, hyperparameters=Hyperparameters(epochs=6))
    others = {
        job_name(longer, "pytorch", cluster),
        job_name(REQUEST, "tensorflow", cluster),
        job_name(REQUEST, "pytorch", replace(cluster, nodes=3)),
    }
    assert len(others | {name}) == 4
    for odd in ("42", "---", "Ü" * 80, "a" * 200):
        odd_name = job_name(replace(REQUEST, model_name=odd), "pytorch", cluster)
        assert len(odd_name) <= 45
        train_job(odd_name, REQUEST, "pytorch", cluster)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 0}, "nodes is 0"),
        ({"devices_per_node": 0}, "devices_per_node is 0"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0"),
        ({"memory": "16 GB"}, "memory is '16 GB'"),
        ({"namespace": "Team"}, "namespace is 'Team'"),
        ({"storage_secret": "a b"}, "storage_secret is 'a b'"),
    ],
)
def test_what_no_cluster_takes_is_refused_here(settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Cluster(**settings)


def test_a_pipelines_settings_are_read_by_name():
    cluster = Cluster.of({"cpu": "8", "runtime": "ours"}, "team", 3, 2, 60)
    assert cluster == Cluster("team", 3, 2, cpu="8", runtime="ours", timeout_seconds=60)
    with pytest.raises(InputError, match="cluster has no 'cpus'"):
        Cluster.of({"cpus": "8"}, "team", 3, 2, 60)


def test_an_unknown_framework_is_refused():
    with pytest.raises(InputError, match="framework is 'jax'"):
        training_runtime("jax", "x")


def test_the_manifests_are_what_the_code_makes(tmp_path: Path):
    made = kustomization.write_manifests(tmp_path)
    assert {path.name for path in made} == {path.name for path in MANIFESTS.iterdir()}
    for path in made:
        assert path.read_text() == (MANIFESTS / path.name).read_text(), f"{path.name}: run cluster.kustomization"
    resources = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in made} == {"kustomization.yaml", *resources}


def test_who_submits_may_do_no_more_than_it_does():
    (role,) = [entry for entry in kustomization.access() if entry["kind"] == "Role"]
    rights = {f"{verb} {name}" for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    assert rights == {"create trainjobs", "get trainjobs", "delete trainjobs", "list pods", "get pods/log"}
