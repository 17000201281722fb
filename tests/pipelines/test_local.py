"""Whole runs of a small pipeline through the command line: states, records, caching, failures, ends from outside."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import SHIPWAY


def record_of(root: Path) -> dict:
    return json.loads((root / "latest" / "run.json").read_text())


def states_of(record: dict) -> dict[str, str]:
    return {task["name"]: task["status"] for task in record["tasks"]}


def test_a_run_keeps_every_tasks_own_outputs(shipway, toy_yaml, tmp_path):
    done = shipway("run", toy_yaml, "-p", "text=yes", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record == record_of(tmp_path / "runs")
    assert record["status"] == "SUCCEEDED"
    assert set(states_of(record).values()) == {"SUCCEEDED"}
    tasks = {task["name"]: task for task in record["tasks"]}
    assert tasks["join-texts"]["outputs"] == {"Output": "yes+second"}
    out = tasks["write-text"]["outputs"]["out"]
    assert out["metadata"] == {"length": 3}
    assert Path(out["uri"], "text").read_text() == "yes"
    assert Path(tasks["write-text-2"]["outputs"]["out"]["uri"], "text").read_text() == "second"
    assert "the step says yes" in Path(tasks["write-text"]["log"]).read_text()
    assert Path(record["report"]).is_file()
    assert 0 < sum(task["seconds"] for task in record["tasks"]) < record["seconds"]
    assert "[ 4/4]" in done.stderr


def test_a_false_condition_skips_its_task(shipway, toy_yaml, tmp_path):
    assert shipway("run", toy_yaml, "-p", "text=no").returncode == 0
    assert states_of(record_of(tmp_path / "runs"))["write-text-3"] == "SKIPPED"


def test_finished_steps_are_reused_unless_told_otherwise(shipway, toy_yaml, tmp_path):
    shipway("run", toy_yaml, "-p", "text=yes")
    first = {task["name"]: task for task in record_of(tmp_path / "runs")["tasks"]}
    again = shipway("run", toy_yaml, "-p", "text=yes")
    assert "3 of 4 tasks reused" in again.stdout
    second = {task["name"]: task for task in record_of(tmp_path / "runs")["tasks"]}
    assert second["write-text"]["status"] == "CACHED"
    assert second["write-text"]["outputs"] == first["write-text"]["outputs"]
    assert second["join-texts"]["outputs"] == {"Output": "yes+second"}
    assert second["write-text-3"]["status"] == "SUCCEEDED", "a task with caching off runs again"
    assert "0 of 4 tasks reused" in shipway("run", toy_yaml, "-p", "text=yes", "--no-cache").stdout


@pytest.mark.parametrize(
    ("fault", "exit_code", "words"),
    [
        ("rejected", 3, "DataRejected: task write-text-2: the text is not wanted; choose another"),
        ("bug", 1, "ZeroDivisionError: a bug in the step"),
        ("die", 1, "task write-text-2 ended with exit code 137"),
    ],
)
def test_a_failure_names_the_task_and_its_own_error(shipway, toy_yaml, tmp_path, fault, exit_code, words):
    done = shipway("run", toy_yaml, "-p", "text=yes", "-p", f"fault={fault}")
    assert done.returncode == exit_code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr or fault == "bug"
    record = record_of(tmp_path / "runs")
    assert record["status"] == "FAILED"
    assert states_of(record)["write-text-2"] == "FAILED"
    assert states_of(record)["join-texts"] == "SKIPPED"
    assert Path(record["report"]).is_file()
    mended = shipway("run", toy_yaml, "-p", "text=yes")
    assert mended.returncode == 0
    assert "1 of 4 tasks reused" in mended.stdout


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("txt=yes", "has no parameter 'txt'; did you mean 'text'?"),
        ("count=many", "the parameter count takes a NUMBER_INTEGER"),
        ("share=true", "the parameter share takes a NUMBER_DOUBLE"),
        ("names=a", "the parameter names takes a LIST"),
        ("text", "-p takes NAME=VALUE"),
        ("count=1", "needs a value for text"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(shipway, toy_yaml, tmp_path, assignment, words):
    done = shipway("run", toy_yaml, "-p", assignment)
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.glob("runs/toy-*"))


def test_a_root_that_kfp_would_rewrite_is_refused(shipway, toy_yaml):
    done = shipway("run", toy_yaml, "-p", "text=yes", "--root", "python3-runs")
    assert done.returncode == 2
    assert "python3" in done.stderr


def start_slow_run(toy_yaml: Path, directory: Path) -> tuple[subprocess.Popen, int]:
    pid_file = directory / "pid"
    run = subprocess.Popen(
        [SHIPWAY, "run", toy_yaml, "-p", "text=yes", "-p", "fault=slow"],
        cwd=directory,
        env={**os.environ, "TOY_PID_FILE": str(pid_file)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    return run, int(pid_file.read_text())


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_cancelled_run_ends_its_step_and_says_so(shipway, toy_yaml, tmp_path):
    run, step = start_slow_run(toy_yaml, tmp_path)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "cancelled" in errors
    wait_until(lambda: not is_alive(step))
    record = record_of(tmp_path / "runs")
    assert record["status"] == "CANCELLED"
    assert states_of(record) == {
        "write-text": "SUCCEEDED",
        "write-text-2": "CANCELLED",
        "join-texts": "CANCELLED",
        "write-text-3": "CANCELLED",
    }


def test_a_killed_run_leaves_no_process_and_the_next_one_goes_on(shipway, toy_yaml, tmp_path):
    run, step = start_slow_run(toy_yaml, tmp_path)
    run.kill()
    run.wait()
    wait_until(lambda: not is_alive(step))
    assert not (tmp_path / "runs" / "latest").exists(), "nothing claims to be a finished run"
    again = shipway("run", toy_yaml, "-p", "text=yes")
    assert again.returncode == 0
    assert "1 of 4 tasks reused" in again.stdout


def test_a_task_that_never_tells_of_its_end_has_failed(shipway, toy_yaml, tmp_path):
    run, step = start_slow_run(toy_yaml, tmp_path)
    (events,) = (tmp_path / "runs").glob("toy-*/events.jsonl")
    wrapper = next(
        event["pid"] for event in map(json.loads, events.read_text().splitlines()[::-1]) if event["event"] == "started"
    )
    os.kill(wrapper, signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    os.kill(step, signal.SIGKILL)
    assert run.returncode == 1
    assert "task write-text-2 was killed; its last lines:" in errors
    task = next(task for task in record_of(tmp_path / "runs")["tasks"] if task["name"] == "write-text-2")
    assert task["status"] == "FAILED"
    assert Path(task["log"]).is_file()


def test_what_may_be_a_secret_in_an_address_is_not_recorded(shipway, toy_yaml, tmp_path):
    text = "https://user:hidden@host.example/table.csv?token=hidden#hidden"
    assert shipway("run", toy_yaml, "-p", f"text={text}").returncode == 0
    record = record_of(tmp_path / "runs")
    assert record["parameters"]["text"] == "https://host.example/table.csv"
