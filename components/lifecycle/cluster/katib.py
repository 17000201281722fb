"""Tuning on a cluster: Katib's Experiment (``kubeflow.org/v1beta1``), whose trials run the trainer's worker.

Katib knows no project's hyperparameters: it replaces ``${trialParameters.NAME}`` in the trial's Job as text. Here it
stands in the request's JSON, so a value arrives as what it is. Katib reads the metric from what the worker prints, by a
regular expression with two groups, the metric's name and its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeGuard

from shipway.components.common.errors import InputError
from shipway.components.common.training.launching import REQUEST_VARIABLE, TIMES_VARIABLE
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.settings import Hyperparameters
from shipway.components.lifecycle.cluster.manifests import LABELS
from shipway.components.lifecycle.cluster.pods import (
    CONTAINER,
    SERVICE_ACCOUNT,
    environment_text,
    pod_failure_policy,
    pod_spec,
    storage_variables,
    tracking_of_pods,
)
from shipway.components.lifecycle.cluster.settings import Cluster, checked_framework, checked_name

__all__ = ["METRIC", "METRICS_FORMAT", "katib_experiment"]

METRIC = "validation_roc_auc"
METRICS_FORMAT = r"(validation_roc_auc)=([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
"""Two groups at the top, as Katib wants them."""

_ALGORITHMS = ("random", "grid", "tpe", "bayesianoptimization")
_TYPES = {"float": "double", "int": "int", "categorical": "categorical"}
_PLAIN = re.compile(r"[A-Za-z0-9_.:+-]+")
_MARK = "\0"


def katib_experiment(
    name: str,
    request: TrainingRequest,
    framework: str,
    image: str,
    space: Mapping[str, Mapping[str, Any]],
    cluster: Cluster,
    algorithm: Literal["random", "grid", "tpe", "bayesianoptimization"] = "tpe",
    trials: int = 20,
    parallel: int = 2,
    failed: int = 3,
    early_stopping: bool = True,
    service_account: str = SERVICE_ACCOUNT,
) -> dict[str, Any]:
    """Returns the manifest of an Experiment that looks for the highest ``validation_roc_auc``.

    Each trial is a Job of one pod with ``devices_per_node`` devices. Its model is not kept: train with the best
    hyperparameters, which ``status.currentOptimalTrial`` names. The namespace needs the label
    ``katib.kubeflow.org/metrics-collector-injection: enabled``.

    Args:
        name: Of the Experiment.
        request: What to train; its splits by URIs that the pods reach.
        framework: ``pytorch`` or ``tensorflow``.
        image: That framework's image.
        space: Hyperparameters by name: ``{"type": "float"|"int", "low", "high", "log", "step"}``, both ends included,
            or ``{"type": "float"|"int"|"categorical", "values"}``; a value may be a list, such as hidden_units'.
        cluster: Namespace, Secret and size of the pods; ``nodes`` is not heeded.
        algorithm: How values are chosen; ``grid`` needs ``step`` or ``values`` for floats.
        trials: At most.
        parallel: Of them at the same time.
        failed: How many may fail before the Experiment does.
        early_stopping: Whether to stop trials that fall below the median of the others, from the third epoch on.
        service_account: Who the pods are.

    Raises:
        InputError: When the space or a number cannot be.
    """
    cluster.check_devices(checked_framework(framework), request.accelerator)
    if algorithm not in _ALGORITHMS:
        raise InputError(f"algorithm is {algorithm!r}, it must be one of {', '.join(_ALGORITHMS)}")
    if not (1 <= parallel <= trials and 0 <= failed <= trials):
        raise InputError(
            f"parallel ({parallel}) must be from 1 to trials ({trials}), failed ({failed}) from 0 to trials"
        )
    if not space:
        raise InputError("the search space is empty; name at least one hyperparameter")
    parameters = [_parameter(name, dimension, algorithm) for name, dimension in space.items()]
    known = {field.name for field in fields(Hyperparameters)} | request.hyperparameters.parameters.keys()
    if strange := [name for name in space if name not in known]:
        raise InputError(
            f"{strange[0]} is no hyperparameter; when it is the network's own, give a value of it among the"
            " request's hyperparameters"
        )
    stopping = {
        "algorithmName": "medianstop",
        "algorithmSettings": [{"name": "min_trials_required", "value": "3"}, {"name": "start_step", "value": "3"}],
    }
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {
            "name": checked_name(name, "name"),
            **({"namespace": cluster.namespace} if cluster.namespace else {}),
            "labels": dict(LABELS),
        },
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": METRIC},
            "algorithm": {"algorithmName": algorithm},
            **({"earlyStopping": stopping} if early_stopping else {}),
            "maxTrialCount": trials,
            "parallelTrialCount": parallel,
            "maxFailedTrialCount": failed,
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [METRICS_FORMAT]}},
            },
            "parameters": parameters,
            "trialTemplate": {
                "primaryContainerName": CONTAINER,
                "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
                "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#',
                "trialParameters": [{"name": name, "description": name, "reference": name} for name in space],
                "trialSpec": _trial(request, framework, image, space, cluster, service_account),
            },
        },
    }


def _trial(
    request: TrainingRequest,
    framework: str,
    image: str,
    space: Mapping[str, Mapping[str, Any]],
    cluster: Cluster,
    service_account: str,
) -> dict[str, Any]:
    pod = pod_spec(framework, image, cluster.storage_secret, service_account)
    container = pod["containers"][0]
    container["resources"] = cluster.resources(request.accelerator == "gpu")
    text = _request_text(request, space, cluster.devices_per_node)
    container["env"] += [{"name": TIMES_VARIABLE, "value": "1"}, {"name": REQUEST_VARIABLE, "value": text}]
    if framework == "pytorch":
        container["env"].append({"name": "PET_NPROC_PER_NODE", "value": str(cluster.devices_per_node)})
    container["env"] += storage_variables(cluster.storage_secret)
    # Katib's collector sits beside the worker, reads what it writes and ends with it; a mesh's proxy would not.
    metadata = {"labels": dict(LABELS), "annotations": {"sidecar.istio.io/inject": "false"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 3,
            "podFailurePolicy": pod_failure_policy(),
            "template": {"metadata": metadata, "spec": pod},
        },
    }


def _request_text(request: TrainingRequest, space: Mapping[str, Mapping[str, Any]], devices: int) -> str:
    """Returns the request as JSON with Katib's placeholders where the hyperparameters' values belong."""
    trial = replace(
        request,
        model="/tmp/model",  # noqa: S108 - the pod's own
        curves="/tmp/curves.html",  # noqa: S108
        devices=devices,
        tracking_uri=tracking_of_pods(request),
    )
    value = json.loads(trial.to_json())
    value["hyperparameters"].update({name: f"{_MARK}{name}{_MARK}" for name in space})
    text = environment_text(json.dumps(value, sort_keys=True))
    mark = json.dumps(_MARK)[1:-1]
    for name, dimension in space.items():
        words = any(isinstance(choice, str) for choice in dimension.get("values", ()))
        placeholder = f"${{trialParameters.{name}}}"
        text = text.replace(f'"{mark}{name}{mark}"', f'"{placeholder}"' if words else placeholder)
    return text


def _parameter(name: str, dimension: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    kind = dimension.get("type")
    if kind not in _TYPES:
        raise InputError(f"{name}: type is {kind!r}, it must be float, int or categorical")
    if "values" in dimension:
        return _list_parameter(name, kind, dimension["values"])
    low, high, step = dimension.get("low"), dimension.get("high"), dimension.get("step")
    if kind == "categorical" or not (_is_number(low, kind) and _is_number(high, kind) and low < high):
        raise InputError(f"{name}: a {kind} needs {'values' if kind == 'categorical' else 'low below high, or values'}")
    if dimension.get("log") and low <= 0:
        raise InputError(f"{name}: low is {low}, on a logarithmic scale it must be above 0")
    if step is not None and not (_is_number(step, kind) and step > 0):
        raise InputError(f"{name}: step is {step!r}, it must be a number above 0")
    if algorithm == "grid" and kind == "float" and step is None:
        raise InputError(f"{name}: a grid over a float needs a step, or values")
    for end in (low, high):
        Hyperparameters.of({name: end})
    feasible = {"min": str(low), "max": str(high), **({"step": str(step)} if step is not None else {})}
    if dimension.get("log"):
        feasible["distribution"] = "logUniform"
    return {"name": name, "parameterType": _TYPES[kind], "feasibleSpace": feasible}


def _list_parameter(name: str, kind: str, values: Sequence[Any]) -> dict[str, Any]:
    words = [value for value in values if isinstance(value, str)]
    if not values or (words and len(words) != len(values)):
        raise InputError(f"{name}: values are {list(values)!r}, they must be one or more, all strings or none")
    if kind != "categorical" and not all(_is_number(value, kind) for value in values):
        raise InputError(f"{name}: values are {list(values)!r}, they must all be of type {kind}")
    # Katib puts them into the JSON as they are, so a quotation mark in one would end it.
    if odd := [word for word in words if not _PLAIN.fullmatch(word)]:
        raise InputError(f"{name}: {odd[0]!r} cannot be a value; use letters, digits and _.:+-")
    for value in values:
        Hyperparameters.of({name: value})
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    if any('"' in text for text in texts) and not words:
        raise InputError(f"{name}: values are {list(values)!r}, lists of strings cannot be")
    return {
        "name": name,
        "parameterType": "categorical" if kind == "categorical" else "discrete",
        "feasibleSpace": {"list": texts},
    }


def _is_number(value: Any, kind: str) -> TypeGuard[float]:
    return isinstance(value, int if kind == "int" else int | float) and not isinstance(value, bool)
