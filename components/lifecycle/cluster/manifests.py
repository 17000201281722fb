"""Kubeflow Trainer's objects (``trainer.kubeflow.org/v1alpha1``, version 2.3): the runtimes and the TrainJob.

A TrainingRuntime says how a framework trains on this cluster, once, by whoever runs the cluster; a TrainJob says what
to train. Trainer makes a JobSet of the two, with one Indexed Job whose pods ``<trainjob>-node-0-<index>`` are the
nodes. Trainer has a runtime for PyTorch's torchrun, which it tells its place in ``PET_*`` variables, and none for
TensorFlow: that runtime brings what :mod:`shipway.components.common.training.tf_config` makes ``TF_CONFIG`` of.

What is retried: the JobSet is started anew, all nodes together, until ``restarts`` is used up, when a pod is preempted
(exit code 143), lost with its node, or ends with an error that another try may mend. A caller's mistake (2) and the
others of :data:`.pods.FINAL_EXIT_CODES` fail the TrainJob at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.tf_config import (
    JOB_VARIABLE,
    NODES_VARIABLE,
    PORT_VARIABLE,
    REPLICATED_JOB,
)
from shipway.components.lifecycle.cluster.pods import (
    SERVICE_ACCOUNT,
    pod_failure_policy,
    pod_spec,
    request_variable,
    storage_variables,
)
from shipway.components.lifecycle.cluster.settings import STORAGE_SECRET, Cluster, checked_framework, checked_name

__all__ = ["GROUP", "JOBSET_LABEL", "LABELS", "VERSION", "job_name", "runtime_name", "train_job", "training_runtime"]

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
LABELS = {"app.kubernetes.io/managed-by": "shipway", "app.kubernetes.io/component": "training"}

_PORT = 29500
_DIGEST_DIGITS = 12
_LONGEST_STEM = 32


def runtime_name(framework: str) -> str:
    """Returns the name of a framework's TrainingRuntime.

    Raises:
        InputError: When there is no such framework here.
    """
    return f"shipway-{checked_framework(framework)}"


def training_runtime(
    framework: str,
    image: str,
    name: str = "",
    storage_secret: str = STORAGE_SECRET,
    service_account: str = SERVICE_ACCOUNT,
    restarts: int = 5,
    scratch: str = "50Gi",
    shared_memory: str = "2Gi",
) -> dict[str, Any]:
    """Returns the manifest of a framework's TrainingRuntime.

    Args:
        framework: ``pytorch`` or ``tensorflow``.
        image: That framework's image; best by digest.
        name: Of the runtime; "" for ``shipway-<framework>``.
        storage_secret: Secret with a ``storage.yaml``; it may be missing where the ServiceAccount has a role.
        service_account: Who the pods are; no token of it is mounted.
        restarts: How often a training may be started anew.
        scratch: Most that a pod's ``/tmp`` may hold.
        shared_memory: Most that a pod's ``/dev/shm`` may hold.

    Raises:
        InputError: When there is no such framework here, or a name cannot be one.
    """
    name = checked_name(name, "name") if name else runtime_name(framework)
    pod = pod_spec(framework, image, storage_secret, service_account, scratch, shared_memory)
    container = pod["containers"][0]
    container["ports"] = [{"name": "workers", "containerPort": _PORT}]
    policy: dict[str, Any] = {"numNodes": 1}
    if framework == "pytorch":
        policy["torch"] = {}
    else:
        container["env"] += [
            {"name": JOB_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{JOBSET_LABEL}']"}}},
            {"name": PORT_VARIABLE, "value": str(_PORT)},
            {"name": NODES_VARIABLE, "value": "1"},
        ]
    job = {
        # One pod that ends badly breaks what the others wait for: the JobSet starts all of them anew.
        "backoffLimit": 0,
        "completionMode": "Indexed",
        "podFailurePolicy": pod_failure_policy(),
        "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod},
    }
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    nodes = {"name": REPLICATED_JOB, "replicas": 1, "template": {"metadata": {"labels": labels}, "spec": job}}
    final = {"name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    job_set = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": {"maxRestarts": restarts, "rules": [final]},
        "replicatedJobs": [nodes],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainingRuntime",
        "metadata": {
            "name": name,
            "labels": {**LABELS, "trainer.kubeflow.org/framework": "torch" if framework == "pytorch" else framework},
        },
        "spec": {"mlPolicy": policy, "template": {"spec": job_set}},
    }


def job_name(
    request: TrainingRequest, framework: str, cluster: Cluster, contents: Mapping[str, str] | None = None
) -> str:
    """Returns the name of a training's TrainJob: the same for the same request, so that a retry finds its own.

    Where the results go and how long it may take make no difference; how it runs does.

    Args:
        request: What to train.
        framework: ``pytorch`` or ``tensorflow``.
        cluster: Where and how large.
        contents: Digests of what the request's URIs hold, as far as they are known.
    """
    content = {
        "framework": framework,
        "contents": dict(contents or {}),
        "request": {**json.loads(request.to_json()), "model": "", "curves": ""},
        "cluster": {**asdict(cluster), "timeout_seconds": 0},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    stem = re.sub("[^a-z0-9]+", "-", request.model_name.lower()).strip("-0123456789")[:_LONGEST_STEM].strip("-")
    return f"{stem or 'training'}-{digest[:_DIGEST_DIGITS]}"


def train_job(name: str, request: TrainingRequest, framework: str, cluster: Cluster) -> dict[str, Any]:
    """Returns the manifest of a TrainJob.

    Args:
        name: As :func:`job_name` gives it.
        request: What to train; splits, model and curves by URIs that the pods reach.
        framework: ``pytorch`` or ``tensorflow``.
        cluster: Where and how large.

    Raises:
        InputError: When there is no such framework here.
    """
    environment: list[dict[str, Any]] = [request_variable(request)]
    resources = cluster.resources(request.accelerator == "gpu")
    trainer: dict[str, Any] = {"numNodes": cluster.nodes, "resourcesPerNode": resources, "env": environment}
    if checked_framework(framework) == "pytorch":
        trainer["numProcPerNode"] = cluster.devices_per_node
    else:
        environment.append({"name": NODES_VARIABLE, "value": str(cluster.nodes)})
    environment += storage_variables(cluster.storage_secret)
    if cluster.image:
        trainer["image"] = cluster.image
    runtime = cluster.runtime or runtime_name(framework)
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": checked_name(name, "name"),
            **({"namespace": cluster.namespace} if cluster.namespace else {}),
            "labels": dict(LABELS),
        },
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": runtime},
            "activeDeadlineSeconds": cluster.timeout_seconds,
            "trainer": trainer,
        },
    }
