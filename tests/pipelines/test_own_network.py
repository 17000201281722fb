"""A network from a file through a whole run, on this machine: what its step is given, and when it runs again."""

import json
from importlib import resources
from pathlib import Path

import pytest
from kfp import dsl
from kfp.compiler import Compiler

from shipway.components import train_distributed
from shipway.examples.own_network import own_network


@pytest.fixture
def run(shipway, tables, tmp_path):
    """Runs the example on a small table; returns the tasks by name."""
    Compiler().compile(own_network, str(tmp_path / "own.yaml"))
    given = {"data_uri": tables / "cancer.csv", "label": "target", "network": "residual_network:build"}

    def asked(code, **more):
        parameters = {**given, "network_code_uri": code, **more}
        assignments = [argument for name, value in parameters.items() for argument in ("-p", f"{name}={value}")]
        done = shipway("run", "own.yaml", *assignments, "--json")
        assert done.returncode == 0, done.stderr
        return {task["name"]: task for task in json.loads(done.stdout)["tasks"]}

    return asked


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "# another line\n")


def test_an_edited_network_is_trained_again_and_nothing_else(run, tmp_path):
    code = tmp_path / "residual_network.py"
    code.write_text(resources.files("shipway.examples").joinpath("residual_network.py").read_text())
    settings = '{"width": 16, "epochs": 2, "learning_rate": 1e-3}'
    first = run(code, hyperparameters=settings)
    model = json.loads(Path(first["train-pytorch"]["outputs"]["model"]["uri"], "model.json").read_text())
    assert model["training"]["network"] == "residual_network:build"
    assert run(code, hyperparameters=settings)["train-pytorch"]["status"] == "CACHED"
    edit(code)
    again = run(code, hyperparameters=settings)
    assert (again["split-data"]["status"], again["train-pytorch"]["status"]) == ("CACHED", "SUCCEEDED")
    folder = tmp_path / "folder"
    folder.mkdir()
    code.rename(folder / code.name)
    assert run(folder, hyperparameters=settings)["train-pytorch"]["status"] == "SUCCEEDED"
    assert run(folder, hyperparameters=settings)["train-pytorch"]["status"] == "CACHED"
    edit(folder / code.name)
    assert run(folder, hyperparameters=settings)["train-pytorch"]["status"] == "SUCCEEDED"


def test_several_processes_of_this_machine_have_the_frameworks_environment(run, shipway, tmp_path):
    code = tmp_path / "residual_network.py"
    code.write_text(resources.files("shipway.examples").joinpath("residual_network.py").read_text())
    split = run(code, hyperparameters='{"epochs": 1}')["split-data"]["outputs"]

    @dsl.pipeline(name="train-distributed")  # as its only component is
    def distributed(train_uri: str, framework: str = "pytorch"):
        train = dsl.importer(artifact_uri=train_uri, artifact_class=dsl.Dataset)
        validation = dsl.importer(artifact_uri=split["validation"]["uri"], artifact_class=dsl.Dataset)
        train_distributed(
            train=train.output,
            validation=validation.output,
            label="target",
            framework=framework,
            target="local",
            hyperparameters={"epochs": 1},
        )

    Compiler().compile(distributed, str(tmp_path / "distributed.yaml"))
    done = shipway("run", "distributed.yaml", "-p", f"train_uri={split['train']['uri']}", "--json")
    assert done.returncode == 0, done.stderr
    (task,) = json.loads(done.stdout)["tasks"]
    assert task["outputs"]["model"]["metadata"]["framework"] == "pytorch"
