"""TensorFlow's cluster, as a pod of a JobSet can tell it: who the workers are, and which of them this one is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from shipway.components.common.errors import InputError

__all__ = [
    "JOB_VARIABLE",
    "NODES_VARIABLE",
    "PORT_VARIABLE",
    "REPLICATED_JOB",
    "TF_CONFIG_VARIABLE",
    "tf_config",
    "tf_config_from_environment",
]

TF_CONFIG_VARIABLE = "TF_CONFIG"
JOB_VARIABLE = "SHIPWAY_JOB_NAME"
NODES_VARIABLE = "SHIPWAY_NODES"
PORT_VARIABLE = "SHIPWAY_WORKER_PORT"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Kubernetes sets it in every container of an Indexed Job."""

REPLICATED_JOB = "node"
"""What Kubeflow Trainer calls the JobSet's part that trains."""


def tf_config(workers: Sequence[str], index: int) -> str:
    """Returns the ``TF_CONFIG`` of one worker.

    Args:
        workers: ``host:port`` of every worker; the first one is the chief.
        index: Which of them it is for.
    """
    return json.dumps({"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}})


def tf_config_from_environment(environment: Mapping[str, str] | None = None) -> str:
    """Returns this process's ``TF_CONFIG``; "" where it trains alone.

    One that is set is returned as it is. In a pod it follows from the JobSet's name (``SHIPWAY_JOB_NAME``), the number
    of nodes (``SHIPWAY_NODES``), the port (``SHIPWAY_WORKER_PORT``) and the pod's index (``JOB_COMPLETION_INDEX``): the
    host names are those of the JobSet's headless service, ``<jobset>-node-0-<index>.<jobset>``.

    Args:
        environment: The variables; this process's by default.

    Raises:
        InputError: When a variable of these is missing or contradicts another.
    """
    variables = os.environ if environment is None else environment
    if given := variables.get(TF_CONFIG_VARIABLE):
        return given
    if not (job := variables.get(JOB_VARIABLE)):
        return ""
    nodes, index, port = (_number(variables, name) for name in (NODES_VARIABLE, INDEX_VARIABLE, PORT_VARIABLE))
    if index >= nodes:
        raise InputError(
            f"this is node {index} of {nodes}; give the TrainJob's trainer the environment variable {NODES_VARIABLE}"
            " with the value of its numNodes"
        )
    if nodes == 1:
        return ""
    return tf_config([f"{job}-{REPLICATED_JOB}-0-{node}.{job}:{port}" for node in range(nodes)], index)


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "")
    if not text.isdecimal():
        raise InputError(
            f"{name} is {text!r}, it must be a number; the TrainingRuntime for TensorFlow in manifests/training sets it"
        )
    return int(text)
