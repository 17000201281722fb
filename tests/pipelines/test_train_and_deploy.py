"""The main job on small real tables: what a run leaves, both sides of the gate, and every kind of bad input."""

import json
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SHIPWAY
from .test_local import is_alive, wait_until

Shipway = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this module go; later runs find the champion and the cache of earlier ones."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def train(home, endpoints_of_the_tests) -> Shipway:
    """Runs ``train_and_deploy`` with parameters."""

    def run(**parameters: object) -> subprocess.CompletedProcess[str]:
        command = [str(SHIPWAY), "run", "train_and_deploy", "--json"]
        for name, value in parameters.items():
            command += ["-p", f"{name}={json.dumps(value) if isinstance(value, list | bool) else value}"]
        return subprocess.run(
            command, cwd=home, env=endpoints_of_the_tests, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="module")
def cancer(tables) -> dict[str, object]:
    """The parameters for breast_cancer; its first column is a row number."""
    return {
        "data_uri": tables / "cancer.csv",
        "label": "target",
        "model_name": "cancer",
        "exclude_columns": ["column00"],
    }


@pytest.fixture(scope="module")
def first(train, cancer) -> dict:
    """The record of the first run."""
    done = train(**cancer)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def outputs_of(record: dict, task: str) -> dict:
    return next(entry for entry in record["tasks"] if entry["name"] == task)["outputs"]


def content(record: dict, task: str, output: str, file: str) -> dict:
    return json.loads(Path(outputs_of(record, task)[output]["uri"], file).read_text())


def answer(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_run_ends_with_a_released_model_that_answers(first):
    assert first["status"] == "SUCCEEDED"
    assert {task["status"] for task in first["tasks"]} == {"SUCCEEDED"}
    release = Path(first["release"]["uri"].removeprefix("file://"))
    assert (release / "MANIFEST.json").is_file()
    golden = json.loads((release / "model" / "golden.json").read_text())
    answered = answer(first["endpoint"]["predict_url"], {"instances": golden["instances"]})["predictions"]
    assert [prediction["label"] for prediction in answered] == golden["labels"]


def test_the_release_is_served_in_the_foreground_too(first, home):
    command = [SHIPWAY, "serve", first["release"]["uri"], "--port", "0", "--name", "shown"]
    with subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True) as server:
        line = server.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url, line
        with urllib.request.urlopen(f"{url[0]}/v2/models/shown", timeout=10) as response:
            assert json.load(response)["outputs"][0]["name"] == "scores"
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0


def test_both_candidates_are_useful_and_judged(first):
    for task in ("evaluate-model", "evaluate-model-2"):
        metrics = content(first, task, "evaluation", "metrics.json")
        assert metrics["overall"]["roc_auc"]["value"] > 0.97
        assert metrics["champion"] is None
        assert content(first, task, "evaluation", "blessing.json")["blessed"] is True
    assert outputs_of(first, "select-model")["Output"] in ("pytorch", "tensorflow")


def test_the_report_shows_the_run(first):
    text = Path(first["report"]).read_text()
    for words in ("train-pytorch", "HistGradientBoosting", "ROC", "curl", first["release"]["digest"], "mean radius"):
        assert words in text


def test_the_ui_gets_metrics_and_pages(first):
    assert outputs_of(first, "evaluate-model")["metrics"]["metadata"]["roc_auc"] > 0.97
    assert "confusionMatrix" in outputs_of(first, "evaluate-model")["classification_metrics"]["metadata"]
    assert "<svg" in Path(outputs_of(first, "train-pytorch")["curves"]["uri"]).read_text()


def test_a_second_run_compares_with_the_champion_and_the_third_reuses_that(train, cancer, first):
    second = json.loads(train(**cancer).stdout)
    assert second["status"] == "SUCCEEDED"
    metrics = content(second, "evaluate-model", "evaluation", "metrics.json")
    assert metrics["champion"]["digest"] == content(first, "create-release", "release", "release.json")["model_digest"]
    assert second["release"] == first["release"]
    assert second["endpoint"]["url"] == first["endpoint"]["url"]
    states = {task["name"]: task["status"] for task in second["tasks"]}
    assert states["train-pytorch"] == states["train-tensorflow"] == "CACHED"
    third = json.loads(train(**cancer).stdout)
    fresh = {task["name"] for task in third["tasks"] if task["status"] != "CACHED"}
    assert fresh == {
        "resolve-data",
        "resolve-schema",
        "resolve-champion",
        "create-release",
        "deploy-model",
        "smoke-test",
        "promote-model",
    }


def test_nothing_blessed_ends_well_without_a_release_and_the_champion_still_serves(train, cancer, first):
    done = train(**cancer, min_auc=0.99999)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "SUCCEEDED"
    assert record["release"] is None
    assert next(task for task in record["tasks"] if task["name"] == "deploy-model")["status"] == "SKIPPED"
    with urllib.request.urlopen(f"{first['endpoint']['url']}/v2/models/cancer/ready", timeout=10) as response:
        assert response.status == 200


def test_no_thresholds_bless_nothing(train, cancer, first):
    record = json.loads(train(**cancer, min_auc_gain_over_baseline=-1, max_loss_vs_champion=1).stdout)
    assert record["release"] is None
    blessing = content(record, "evaluate-model", "evaluation", "blessing.json")
    assert blessing["blessed"] is False
    assert "threshold" in blessing["reasons"][0]["message"]


def test_a_required_blessing_that_is_missing_rejects_the_run(train, cancer, first):
    done = train(**cancer, min_auc=0.99999, require_blessing=True)
    assert done.returncode == 3
    assert "DataRejected: task select-model" in done.stderr
    assert "is below 0.99999" in done.stderr


def test_several_classes_strings_and_missing_values(train, tables):
    done = train(
        data_uri=tables / "penguins.csv",
        label="species",
        model_name="Penguins_of_Palmer",
        imbalance="smote",
        missing_values="impute",
        slice_columns=["island", "sex"],
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["endpoint"]["name"] == "penguins-of-palmer"
    instance = {"island": "Torgersen", "bill_length_mm": 39.1, "bill_depth_mm": 18.7, "sex": None, "year": 2007}
    instance |= {"flipper_length_mm": 181, "body_mass_g": 3750}
    (prediction,) = answer(record["endpoint"]["predict_url"], {"instances": [instance]})["predictions"]
    assert prediction["label"] == "Adelie"
    assert set(prediction["scores"]) == {"Adelie", "Chinstrap", "Gentoo"}
    slices = content(record, "evaluate-model", "evaluation", "metrics.json")["slices"]
    assert {entry["column"] for entry in slices} <= {"island", "sex"}


def test_a_column_that_changed_type_is_rejected_by_the_curated_schema(train, cancer, tables, first):
    schema = Path(outputs_of(first, "infer-schema")["schema"]["uri"]) / "schema.pbtxt"
    lines = (tables / "cancer.csv").read_text().splitlines()
    changed = [lines[0], *(line.replace(",", ",about ", 1) for line in lines[1:])]
    (tables / "changed.csv").write_text("\n".join(changed) + "\n")
    done = train(**{**cancer, "data_uri": tables / "changed.csv"}, schema_uri=schema)
    assert done.returncode == 3
    assert "DataRejected: task validate-data" in done.stderr
    assert "mean radius" in done.stderr


def one_class(lines: list[str]) -> str:
    return "\n".join([lines[0], *(line for line in lines[1:] if line.endswith(",1"))])


@pytest.mark.parametrize(
    ("spoil", "exit_code", "words"),
    [
        (lambda lines: "", 2, "empty"),
        (lambda lines: lines[0] + "\n", 2, "no rows"),
        (lambda lines: "\n".join(lines)[:-40], 2, "line"),
        (one_class, 2, "the one value 1"),
    ],
    ids=["an empty file", "a header alone", "a truncated file", "a label of one class"],
)
def test_a_spoilt_table_is_named(train, cancer, tables, home, first, spoil, exit_code, words):
    spoilt = tables / "spoilt.csv"
    spoilt.write_text(spoil((tables / "cancer.csv").read_text().splitlines()))
    releases = sorted((home / "runs" / "releases").rglob("*"))
    done = train(**{**cancer, "data_uri": spoilt})
    assert done.returncode == exit_code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted((home / "runs" / "releases").rglob("*")) == releases


def test_a_missing_file_is_named(train, cancer):
    done = train(**{**cancer, "data_uri": "nowhere.csv"})
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr


def test_a_misspelt_parameter_is_named(train, cancer):
    done = train(**cancer, lable="target")
    assert done.returncode == 2
    assert "did you mean 'label'?" in done.stderr


def test_a_busy_port_is_a_conflict_and_the_next_run_works(train, cancer, first):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = train(**cancer, endpoint_name="busy", endpoint_port=port)
        assert done.returncode == 4, done.stderr
        assert str(port) in done.stderr
    done = train(**cancer, endpoint_name="busy", endpoint_port=port)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["endpoint"]["url"].endswith(f":{port}")


def test_a_run_killed_in_training_leaves_nothing_and_the_next_one_finishes(train, cancer, home, endpoints_of_the_tests):
    parameters = {**cancer, "model_name": "killed"}
    command = [str(SHIPWAY), "run", "train_and_deploy"]
    for name, value in parameters.items():
        command += ["-p", f"{name}={json.dumps(value) if isinstance(value, list) else value}"]
    before = set((home / "runs").iterdir())
    killed = subprocess.Popen(command, cwd=home, env=endpoints_of_the_tests, stderr=subprocess.DEVNULL)
    trainer = wait_for_training(home, before)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not is_alive(trainer))
    assert not (home / "runs" / "releases" / "killed").exists()
    done = train(**parameters)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["release"]["name"] == "killed"
    states = {task["name"]: task["status"] for task in record["tasks"]}
    assert states["prepare-data"] == "CACHED", "finished steps are reused"
    assert "SUCCEEDED" in (states["train-pytorch"], states["train-tensorflow"])


def wait_for_training(home: Path, before: set[Path]) -> int:
    """Returns the process that trains in a run that is none of ``before``, as soon as one does."""
    found: list[int] = []

    def training() -> bool:
        for run in set((home / "runs").glob("train-and-deploy-*")) - before:
            lines = (run / "events.jsonl").read_text().splitlines() if (run / "events.jsonl").exists() else []
            newest = json.loads(lines[-1]) if lines else {}
            if newest.get("event") == "started" and newest["task"] in ("train-pytorch", "train-tensorflow"):
                found.append(newest["pid"])
        return bool(found)

    wait_until(training, seconds=120)
    return found[0]
