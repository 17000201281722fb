from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from test_manifests import REQUEST, variables

from shipway.components.common.errors import InputError
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.settings import Hyperparameters
from shipway.components.lifecycle.cluster.katib import METRIC, METRICS_FORMAT, katib_experiment
from shipway.components.lifecycle.cluster.settings import Cluster

SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "epochs": {"type": "int", "low": 3, "high": 9, "step": 2},
    "dropout": {"type": "float", "values": [0.1, 0.2]},
    "loss": {"type": "categorical", "values": ["cross_entropy", "focal"]},
    "hidden_units": {"type": "categorical", "values": [[128, 64], [256]]},
    "depth": {"type": "int", "low": 1, "high": 4},
}
CHOSEN = {
    "learning_rate": "0.0031",
    "epochs": "5",
    "dropout": "0.2",
    "loss": "focal",
    "hidden_units": "[256]",
    "depth": "3",
}


ASKED = replace(REQUEST, hyperparameters=Hyperparameters.of({"depth": 2, "x": 0}))


def experiment(space: dict[str, dict[str, Any]] = SPACE, **settings: Any) -> dict[str, Any]:
    return katib_experiment("tune-late", ASKED, "pytorch", "shipway/pytorch:1", space, Cluster("team"), **settings)


def started(spec: dict[str, Any], chosen: dict[str, str]) -> dict[str, Any]:
    """Returns the Job of a trial, made as Katib's generator makes it: by replacing text in the template's JSON."""
    template = json.dumps(spec["trialTemplate"]["trialSpec"])
    for parameter in spec["trialTemplate"]["trialParameters"]:
        placeholder = f"${{trialParameters.{parameter['name']}}}"
        assert placeholder in template
        template = template.replace(placeholder, chosen[parameter["reference"]])
    assert "${trial" not in template
    return json.loads(template)


def faults(document: dict[str, Any]) -> list[str]:
    """Returns what Katib's webhook would refuse, by the rules of its documentation and validator."""
    spec, found = document["spec"], []
    if document["apiVersion"] != "kubeflow.org/v1beta1" or not re.fullmatch(
        "[a-z][-a-z0-9]*", document["metadata"]["name"]
    ):
        found.append("no Experiment")
    if not 0 < spec["parallelTrialCount"] <= spec["maxTrialCount"] >= spec["maxFailedTrialCount"] >= 0:
        found.append("counts")
    if spec["objective"]["type"] not in ("maximize", "minimize"):
        found.append("objective")
    for parameter in spec["parameters"]:
        space = parameter["feasibleSpace"]
        ends, steps = {"min", "max"} <= space.keys(), space.keys() - {"min", "max", "list"}
        ranged = parameter["parameterType"] in ("double", "int")
        if (
            ranged != ends
            or ranged == ("list" in space)
            or not steps <= ({"step", "distribution"} if ranged else set())
        ):
            found.append(parameter["name"])
        texts = space.get("list", [value for value in space.values() if value])
        if not all(isinstance(text, str) for text in texts):
            found.append(f"{parameter['name']} is no text")
        if space.get("distribution", "uniform") not in ("uniform", "logUniform", "normal", "logNormal"):
            found.append(f"{parameter['name']}'s distribution")
    template = spec["trialTemplate"]
    if not all(template.get(name) for name in ("primaryContainerName", "successCondition", "failureCondition")):
        found.append("trialTemplate")
    trial = template["trialSpec"]
    if (trial["apiVersion"], trial["kind"]) != ("batch/v1", "Job") or "metadata" in trial:
        found.append("trialSpec")
    containers = trial["spec"]["template"]["spec"]["containers"]
    if [c["name"] for c in containers if c.get("command")] != [template["primaryContainerName"]]:
        found.append("the collector needs the primary container's command")
    names = {parameter["name"] for parameter in spec["parameters"]}
    if {parameter["reference"] for parameter in template["trialParameters"]} != names:
        found.append("trialParameters")
    collector = spec["metricsCollectorSpec"]
    (pattern,) = collector["source"]["filter"]["metricsFormat"]
    if collector["collector"]["kind"] != "StdOut" or re.compile(pattern).groups != 2:
        found.append("metricsFormat")
    return found


@pytest.mark.parametrize("algorithm", ["random", "grid", "tpe", "bayesianoptimization"])
def test_an_experiment_is_what_katib_takes(algorithm: str):
    space = {name: dimension for name, dimension in SPACE.items() if algorithm != "grid" or name != "learning_rate"}
    assert faults(experiment(space, algorithm=algorithm, early_stopping=algorithm == "tpe")) == []


def test_a_trial_trains_with_the_values_that_it_is_given():
    job = started(experiment()["spec"], CHOSEN)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    text = variables(container)["SHIPWAY_TRAINING_REQUEST"].replace("$$", "$")
    settings = TrainingRequest.from_json(text).hyperparameters
    assert (settings.learning_rate, settings.epochs, settings.dropout, settings.loss) == (0.0031, 5, 0.2, "focal")
    assert settings.hidden_units == (256,)
    assert settings.parameters["depth"] == 3
    assert container["command"][-1] == "pytorch"
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_what_looks_like_a_variable_in_a_request_stays():
    request = replace(REQUEST, label="in $(HOME)")
    document = katib_experiment("tune", request, "pytorch", "x", {"epochs": SPACE["epochs"]}, Cluster())
    job = started(document["spec"], CHOSEN)
    text = variables(job["spec"]["template"]["spec"]["containers"][0])["SHIPWAY_TRAINING_REQUEST"]
    assert "$$(HOME)" in text
    assert TrainingRequest.from_json(text.replace("$$", "$")).label == "in $(HOME)"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("2026-01-01T00:00:00Z [rank 0] INFO x: epoch 1/5: validation_loss=0.4 validation_roc_auc=0.71 (best)", "0.71"),
        ("validation_roc_auc=1e-3", "1e-3"),
        ("validation_roc_auc=1", "1"),
        ("train_roc_auc=0.9", None),
        ("validation_roc_auc=None", None),
    ],
)
def test_the_metric_is_found_in_what_a_worker_prints(line: str, value: str | None):
    found = re.search(METRICS_FORMAT, line)
    assert (found.groups() if found else None) == ((METRIC, value) if value else None)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "the search space is empty"),
        ({"x": {"type": "double", "low": 0, "high": 1}}, "x: type is 'double'"),
        ({"x": {"type": "float", "low": 1.0, "high": 0.0}}, "x: a float needs low below high"),
        ({"x": {"type": "float", "low": 0.0, "high": True}}, "x: a float needs low below high"),
        ({"x": {"type": "int", "low": 1.5, "high": 3}}, "x: a int needs low below high"),
        ({"x": {"type": "float", "low": 0.0, "high": 1.0, "log": True}}, "must be above 0"),
        ({"x": {"type": "int", "low": 1, "high": 3, "step": 0}}, "step is 0"),
        ({"x": {"type": "categorical", "low": 1, "high": 3}}, "x: a categorical needs values"),
        ({"x": {"type": "categorical", "values": []}}, "one or more"),
        ({"x": {"type": "categorical", "values": ["a", 1]}}, "all strings or none"),
        ({"x": {"type": "categorical", "values": ['a"b']}}, "cannot be a value"),
        ({"x": {"type": "categorical", "values": [["a"]]}}, "lists of strings cannot be"),
        ({"x": {"type": "float", "values": ["a"]}}, "must all be of type float"),
        ({"learning_rat": {"type": "float", "low": 0.1, "high": 1.0}}, "learning_rat is no hyperparameter"),
        ({"dropout": {"type": "float", "low": 0.5, "high": 1.0}}, "dropout must be at least 0 and below 1"),
        ({"loss": {"type": "categorical", "values": ["hinge"]}}, "loss must be one of"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space: dict[str, dict[str, Any]], message: str):
    with pytest.raises(InputError, match=message):
        experiment(space)


def test_a_trial_uses_all_devices_that_its_pod_has():
    cluster = Cluster(devices_per_node=2)
    document = katib_experiment("tune", REQUEST, "pytorch", "x", {"epochs": SPACE["epochs"]}, cluster)
    (container,) = document["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    assert variables(container)["PET_NPROC_PER_NODE"] == "2"
    with pytest.raises(InputError, match="devices_per_node is 2; with TensorFlow"):
        katib_experiment("tune", REQUEST, "tensorflow", "x", {"epochs": SPACE["epochs"]}, cluster)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "hyperband"}, "algorithm is 'hyperband'"),
        ({"parallel": 30}, r"parallel \(30\) must be"),
        ({"parallel": 0}, r"parallel \(0\) must be"),
        ({"failed": -1}, r"failed \(-1\) from 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        experiment(**settings)


def test_a_grid_over_a_float_needs_steps():
    with pytest.raises(InputError, match="learning_rate: a grid over a float needs a step"):
        experiment(algorithm="grid")
