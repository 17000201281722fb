from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_manifests import REQUEST

from shipway.components.common.errors import InputError, Preempted, ShipwayError
from shipway.components.common.process import ERROR_FILE_VARIABLE
from shipway.components.common.training import launching
from shipway.components.common.training.launching import REQUEST_VARIABLE, TIMES_VARIABLE, launch
from shipway.components.common.training.tf_config import tf_config_from_environment

WORKERS = Path(__file__).parent / "workers"
FRAMEWORKS = ["pytorch", "tensorflow"]

Train = Callable[..., None]


def python_for(framework: str) -> str:
    """Returns an interpreter that can start a framework's workers: torchrun needs torch, TF_CONFIG nothing."""
    return os.environ["SHIPWAY_PYTHON_PYTORCH"] if framework == "pytorch" else sys.executable


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(WORKERS), *sys.path]))
    monkeypatch.setenv("WORKER_PLACES", str(tmp_path))
    monkeypatch.setattr(launching, "WORKERS", dict.fromkeys(FRAMEWORKS, "launched_worker"))
    monkeypatch.setattr(launching, "FAILURE_SECONDS", 2)
    return tmp_path


@pytest.fixture
def train(places: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    def run(framework: str, *does: str) -> None:
        monkeypatch.setenv("WORKER_DOES", " ".join(does))
        launch(framework, python_for(framework), REQUEST, len(does))

    return run


def wait_for(*files: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline, files
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(places: Path) -> list[int]:
    return [json.loads(file.read_text())["pid"] for file in places.glob("started-*")]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_workers_train_and_are_heard(framework: str, places: Path, train: Train, capfd: pytest.CaptureFixture[str]):
    train(framework, "trains", "trains")
    assert {file.name for file in places.glob("done-*")} == {"done-0", "done-1"}
    heard = capfd.readouterr().err
    assert "[rank 0] training Late flights" in heard
    assert "[rank 1] training Late flights" in heard


def test_torchrun_and_tf_config_say_the_same(places: Path, train: Train):
    train("pytorch", "trains", "trains")
    torchrun = json.loads((places / "started-1").read_text())
    assert (torchrun["WORLD_SIZE"], torchrun["MASTER_ADDR"]) == ("2", "127.0.0.1")
    train("tensorflow", "trains", "trains")
    first, second = (json.loads(json.loads((places / f"started-{i}").read_text())["TF_CONFIG"]) for i in range(2))
    assert first["cluster"] == second["cluster"]
    assert len(set(first["cluster"]["worker"])) == 2
    assert [config["task"] for config in (first, second)] == [{"type": "worker", "index": index} for index in (0, 1)]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_workers_error_ends_all_and_is_raised(framework: str, places: Path, train: Train):
    with pytest.raises(InputError, match="label has one class"):
        train(framework, "waits", "refuses")
    assert not any(runs(pid) for pid in pids(places))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("other", ["trains", "waits"])
def test_one_workers_death_ends_all_and_is_told(framework: str, other: str, places: Path, train: Train):
    with pytest.raises(ShipwayError) as caught:
        train(framework, other, "dies")
    assert type(caught.value) is ShipwayError, "the others were stopped, and that is no reason"
    assert "SIGKILL" in str(caught.value)
    assert not any(runs(pid) for pid in pids(places))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_workers_that_stop_together_were_preempted_elsewhere(framework: str, train: Train):
    with pytest.raises(Preempted, match="step 7 is saved"):
        train(framework, "yields", "yields")


def test_a_bug_shows_its_last_lines(train: Train):
    with pytest.raises(ShipwayError, match=r"exit code 1; its last lines:(\n|.)*ZeroDivisionError: a bug"):
        train("tensorflow", "breaks")


def test_a_worker_that_does_not_end_is_ended(places: Path, train: Train):
    with pytest.raises(InputError):
        train("tensorflow", "hangs", "refuses")
    assert not any(runs(pid) for pid in pids(places))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_stop_reaches_every_worker_which_saves(framework: str, places: Path, train: Train):
    def stop() -> None:
        wait_for(places / "started-0", places / "started-1")
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Preempted, match="step 12 is saved"):
        train(framework, "waits", "waits")
    stopping.join()
    assert {file.name for file in places.glob("saved-*")} == {"saved-0", "saved-1"}
    assert not any(runs(pid) for pid in pids(places))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_killed_launcher_leaves_no_worker(framework: str, places: Path):
    code = (
        "import sys; from shipway.components.common.training import launching, TrainingRequest\n"
        "launching.WORKERS = dict.fromkeys(launching.WORKERS, 'launched_worker')\n"
        "launching.launch(sys.argv[1], sys.argv[2], TrainingRequest.from_json(sys.argv[3]), 2)"
    )
    command = [sys.executable, "-c", code, framework, python_for(framework), REQUEST.to_json()]
    launcher = subprocess.Popen(command, env={**os.environ, "WORKER_DOES": "waits"})
    wait_for(places / "started-0", places / "started-1")
    time.sleep(0.2)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 20
    while any(runs(pid) for pid in pids(places)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {file.name for file in places.glob("saved-*")} == {"saved-0", "saved-1"}


def node(places: Path, framework: str, does: str, **variables: str) -> subprocess.Popen[str]:
    """Starts what a pod starts."""
    code = (
        "import sys; from shipway.components.common.training import launching\n"
        "launching.WORKERS = dict.fromkeys(launching.WORKERS, 'launched_worker')\n"
        "launching.main(sys.argv[1:])"
    )
    own = {REQUEST_VARIABLE: REQUEST.to_json(), "WORKER_DOES": does, ERROR_FILE_VARIABLE: str(places / "word")}
    return subprocess.Popen(
        [python_for(framework), "-c", code, framework],
        env={**os.environ, **own, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_pod_is_a_node_of_torchruns_by_trainers_variables(places: Path):
    (port,) = launching._free_ports(1)
    told = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    nodes = [node(places, "pytorch", "trains", **told, PET_NODE_RANK=str(index)) for index in range(2)]
    for each in nodes:
        assert each.wait(timeout=60) == 0, each.communicate()
    assert {file.name for file in places.glob("done-*")} == {"done-0", "done-1"}


def test_a_pods_last_word_and_exit_code_are_its_workers(places: Path):
    pod = {"SHIPWAY_NODES": "2", "SHIPWAY_JOB_NAME": "late-1", "SHIPWAY_WORKER_PORT": "29500"}
    failed = node(places, "tensorflow", "refuses", **pod, JOB_COMPLETION_INDEX="1")
    assert failed.wait(timeout=30) == InputError.exit_code
    assert json.loads((places / "word").read_text()) == {"type": "InputError", "message": "label has one class"}
    config = json.loads((places / "started-1").read_text())["TF_CONFIG"]
    assert json.loads(config)["cluster"] == {"worker": ["late-1-node-0-0.late-1:29500", "late-1-node-0-1.late-1:29500"]}


def test_a_pod_that_is_stopped_ends_as_preempted(places: Path):
    pod = node(places, "tensorflow", "waits")
    wait_for(places / "started-0")
    time.sleep(0.2)
    pod.terminate()
    assert pod.wait(timeout=30) == Preempted.exit_code
    assert json.loads((places / "word").read_text())["type"] == "Preempted"


def test_lines_have_their_time_for_katib(places: Path):
    pod = node(places, "tensorflow", "trains", **{TIMES_VARIABLE: "1"})
    _, heard = pod.communicate(timeout=30)
    (line,) = [line for line in heard.splitlines() if "training Late flights" in line]
    assert line.partition(" ")[0].endswith("Z")


def test_a_pod_without_a_request_says_so(places: Path):
    pod = subprocess.run([sys.executable, "-m", launching.__name__], capture_output=True, text=True, check=False)
    assert pod.returncode == InputError.exit_code
    assert REQUEST_VARIABLE in pod.stderr


def test_what_cannot_be_launched_is_refused():
    with pytest.raises(InputError, match="framework is 'jax'"):
        launch("jax", sys.executable, REQUEST, 2)
    with pytest.raises(InputError, match="at least 1 process, not 0"):
        launch("pytorch", sys.executable, REQUEST, 0)


def test_tf_config_is_left_as_it_is_or_not_needed():
    assert tf_config_from_environment({"TF_CONFIG": "{}", "SHIPWAY_JOB_NAME": "x"}) == "{}"
    assert tf_config_from_environment({}) == ""
    alone = {"SHIPWAY_JOB_NAME": "x", "SHIPWAY_NODES": "1", "JOB_COMPLETION_INDEX": "0", "SHIPWAY_WORKER_PORT": "1"}
    assert tf_config_from_environment(alone) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SHIPWAY_NODES": "1"}, "node 1 of 1; give the TrainJob's trainer .* SHIPWAY_NODES"),
        ({"SHIPWAY_NODES": ""}, "SHIPWAY_NODES is ''"),
        ({"JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX is '-1'"),
        ({"SHIPWAY_WORKER_PORT": "http"}, "SHIPWAY_WORKER_PORT is 'http'"),
    ],
)
def test_a_pod_that_does_not_know_its_place_says_so(changed: dict[str, str], message: str):
    pod = {"SHIPWAY_NODES": "2", "SHIPWAY_JOB_NAME": "x", "SHIPWAY_WORKER_PORT": "1", "JOB_COMPLETION_INDEX": "1"}
    with pytest.raises(InputError, match=message):
        tf_config_from_environment({**pod, **changed})
