"""The demo as a newcomer runs it: 336,776 real flights, both frameworks, a released model that is worth it."""

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import SHIPWAY


@pytest.fixture(scope="module")
def demo(tmp_path_factory, endpoints_of_the_tests) -> dict:
    """The record of `shipway run train_and_deploy` without parameters, in an empty directory."""
    home = tmp_path_factory.mktemp("demo")
    command = [SHIPWAY, "run", "train_and_deploy", "--json"]
    done = subprocess.run(
        command, cwd=home, env=endpoints_of_the_tests, stdout=subprocess.PIPE, stderr=None, text=True, check=False
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


def output(demo: dict, task: str, name: str) -> Path:
    return Path(next(entry for entry in demo["tasks"] if entry["name"] == task)["outputs"][name]["uri"])


def auc(metrics: dict) -> float:
    return metrics["overall"]["roc_auc"]["value"]


def test_it_succeeds_and_the_endpoint_serves_the_release(demo):
    assert {task["status"] for task in demo["tasks"]} == {"SUCCEEDED"}
    record = json.loads((output(demo, "deploy-model", "endpoint") / "endpoint.json").read_text())
    assert record["release"]["uri"] == demo["release"]["uri"]


def test_all_rows_are_used_and_the_split_is_by_time(demo):
    metadata = {task["name"]: task["outputs"] for task in demo["tasks"]}
    assert metadata["ingest-data"]["tables"]["metadata"]["tables"] == {"flights": 336776, "weather": 26115}
    rows = {name: metadata["split-data"][name]["metadata"]["rows"] for name in ("train", "validation", "test")}
    assert rows == {"train": 244646, "validation": 28635, "test": 54065}


def test_nothing_from_after_departure_is_a_feature(demo):
    model = json.loads((output(demo, "train-pytorch", "model") / "model.json").read_text())
    features = {tensor["name"] for tensor in model["inputs"]}
    assert not features & {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late", "scheduled_departure"}
    assert {"carrier", "origin", "dest", "temp", "hour"} <= features


def test_the_released_model_is_as_good_as_boosted_trees(demo):
    baselines = json.loads((output(demo, "train-baselines", "baselines") / "metrics.json").read_text())["baselines"]
    reference = {baseline["name"]: auc(baseline) for baseline in baselines}
    released = json.loads((Path(demo["release"]["uri"]) / "evaluation" / "metrics.json").read_text())
    assert reference["hist_gradient_boosting"] > 0.68
    assert auc(released) > reference["hist_gradient_boosting"] - 0.01
    assert auc(released) > reference["logistic_regression"]
    assert released["overall"]["log_loss"]["value"] < released["baseline"]["log_loss"]
