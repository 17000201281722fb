"""The verbs: help that teaches, output that machines read, wrong use with exit code 2."""

import json
import os

import pytest

from shipway import components

VERBS = ("run", "compile", "serve", "endpoints", "rollback", "route", "env", "components", "doctor")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(shipway, verb):
    done = shipway(verb, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5
    assert f"  {verb} " in shipway("--help").stdout


def test_components_lists_all_and_shows_one(shipway):
    listed = json.loads(shipway("components", "--json").stdout)
    assert [entry["name"] for entry in listed] == components.__all__
    split = next(entry for entry in listed if entry["name"] == "split_data")
    assert split["outputs"] == {"train": "Dataset", "validation": "Dataset", "test": "Dataset"}
    assert split["inputs"]["dataset"] == "Dataset"
    assert "Args:" in shipway("components", "split_data").stdout
    unknown = shipway("components", "split")
    assert unknown.returncode == 2
    assert "no component 'split'" in unknown.stderr


def test_env_lists_every_family(shipway, tmp_path):
    listed = json.loads(shipway("env", "list", "--json").stdout)
    names = ["data", "tensorflow", "pytorch", "lifecycle", "features", "serving", "routing", "torchserve"]
    assert [entry["name"] for entry in listed] == names
    nowhere = shipway("env", env={"SHIPWAY_CACHE_DIR": str(tmp_path), "PATH": ""})
    assert nowhere.stdout.count("not made") == len(names)


def test_env_python_runs_in_the_familys_environment(shipway):
    done = shipway(
        "env", "python", "lifecycle", "-c", "import sklearn, shipway.components.common; print(sklearn.__file__)"
    )
    assert done.returncode == 0, done.stderr
    assert "environments/lifecycle-" in done.stdout


def test_storage_runs_in_the_lifecycle_familys_environment(shipway, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").touch()
    assert shipway("storage", "ls", "some").stdout == "file\n"
    missing = shipway("storage", "ls", "other")
    assert missing.returncode == 6
    assert "ObjectNotFound" in missing.stderr


def test_doctor_tells_what_is_there(shipway):
    found = {finding["name"]: finding for finding in json.loads(shipway("doctor", "--json").stdout)}
    assert found["platform"]["level"] == "ok"
    assert found["environment lifecycle"]["level"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "train"), "no pipeline 'train'; there is train_and_deploy"),
        (("run", "missing.yaml"), "missing.yaml cannot be read"),
        (("run", "train_and_deploy", "--parameters", "missing.yaml"), "missing.yaml cannot be read"),
        (("run", "no-pipeline.yaml"), "is no compiled pipeline"),
        (("run", "empty.yaml"), "is no compiled pipeline"),
        (("run", "broken.yaml"), "is no YAML"),
        (("compile", "--all", "--digests", "list.yaml"), "must map family names"),
        (("compile",), "name one pipeline (train_and_deploy) or give --all"),
        (("compile", "--all", "train_and_deploy"), "name one pipeline"),
        (("endpoints", "stop"), "name one endpoint or give --all"),
        (("endpoints", "stop", "nobody"), "nobody"),
        (("rollback", "nobody"), "nobody"),
        (("walk",), "No such command 'walk'"),
    ],
)
def test_wrong_use_is_told_apart(shipway, tmp_path, arguments, words):
    for name, text in (("no-pipeline", "a: 1"), ("empty", ""), ("broken", "a: ["), ("list", "[1]")):
        (tmp_path / f"{name}.yaml").write_text(text)
    done = shipway(*arguments, env={**os.environ, "SHIPWAY_STATE_DIR": str(tmp_path / "state")})
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_parameters_come_from_a_file_and_p_goes_before_it(shipway, toy_yaml, tmp_path):
    (tmp_path / "given.yaml").write_text("text: 2013-10-01\ncount: 3\nnames: [a, b]\n")
    done = shipway("run", toy_yaml, "--parameters", "given.yaml", "-p", "count=4", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"] == {
        "text": "2013-10-01",
        "count": 4,
        "names": ["a", "b"],
        "fault": "",
        "share": 0.5,
    }
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert "must map parameter names" in shipway("run", toy_yaml, "--parameters", "list.yaml").stderr


def test_no_endpoints_is_said(shipway, tmp_path):
    done = shipway("endpoints", env={**os.environ, "SHIPWAY_STATE_DIR": str(tmp_path)})
    assert "no endpoints" in done.stdout


def test_numbers_are_read_as_json_has_them(shipway, toy_yaml, tmp_path):
    (tmp_path / "given.yaml").write_text("text: yes it is\nshare: 1e-3\n")
    named = shipway("run", toy_yaml, "--parameters", "given.yaml", "-p", "names=[1e-3, .5, 1e, 0x]", "--json")
    assert named.returncode == 0, named.stderr
    parameters = json.loads(named.stdout)["parameters"]
    assert (parameters["share"], parameters["names"]) == (0.001, [0.001, 0.5, "1e", "0x"])
    assert json.loads(shipway("run", toy_yaml, "-p", "text=a", "-p", "share=2E-1", "--json").stdout)["parameters"][
        "share"
    ] == pytest.approx(0.2)
