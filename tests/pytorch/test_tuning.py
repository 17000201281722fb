"""Studies of real trainings: what they try, that they end, that nothing finished is lost or done again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shipway.components.common import storage
from shipway.components.common.errors import ConflictError, InputError
from shipway.components.common.model import verify_files
from shipway.components.common.training import Hyperparameters, TrainingRequest, roc_auc
from shipway.components.common.tuning.comparison import Scored, compare
from shipway.components.common.tuning.journal import locked
from shipway.components.common.tuning.places import JOURNAL_FILE
from shipway.components.common.tuning.search_space import DEFAULT_SPACE, SearchSpace
from shipway.components.common.tuning.settings import TuningSettings
from shipway.components.common.tuning.study import tune, write_trials

HERE = Path(__file__).parent
RATES = {"learning_rate": {"type": "float", "low": 0.001, "high": 3, "log": True}}
SPACE = {**RATES, "weight_decay": {"type": "float", "low": 0.0, "high": 1.0}}
GRID = {
    "learning_rate": {"type": "categorical", "values": [0.01, 0.1, 1]},
    "weight_decay": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.25},
}
GIVEN = {"learning_rate": 0.01, "weight_decay": 0.5, "epochs": 4}

AS_A_STEP = """
import json, sys
from pathlib import Path
from shipway.components.common.process import step
from shipway.components.common.training import TrainingRequest
from shipway.components.common.tuning.search_space import SearchSpace
from shipway.components.common.tuning.settings import TuningSettings
from shipway.components.common.tuning.study import tune, write_trials
from tuning_trainer import train
options = json.loads(sys.argv[2])
with step():
    settings = TuningSettings(space=SearchSpace.of(options.pop("space")), **options)
    write_trials(sys.argv[3], tune(TrainingRequest.from_json(sys.argv[1]), train, settings))
"""


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def splits(tmp_path, flowers):
    for seed, (name, rows) in enumerate({"train": 600, "validation": 400, "test": 400}.items()):
        (tmp_path / name).mkdir()
        pq.write_table(flowers(rows, seed), tmp_path / name / "part-00000.parquet")
    return tmp_path


@pytest.fixture
def small(splits, tmp_path):
    """The request of a small training."""

    def request(**values):
        return TrainingRequest(
            train=str(splits / "train"),
            validation=str(splits / "validation"),
            model=str(tmp_path / "model"),
            curves=str(tmp_path / "report.html"),
            label="kind",
            hyperparameters=Hyperparameters.of({**GIVEN, **values}),
        )

    return request


@pytest.fixture
def train():
    import tuning_trainer

    return tuning_trainer.train


def settings(space=SPACE, **options):
    return TuningSettings(space=SearchSpace.of(space), **options)


def told(result):
    """What must be the same of two studies that are the same."""
    trials = json.loads(json.dumps(result.to_json()["trials"]))
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in trials]


def witnessed(tmp_path):
    """What the trainer said: process, trial, what."""
    return [line.split(" ", 2) for line in (tmp_path / "witness").read_text().splitlines()]


def started(tmp_path, request, out="trials", **options):
    command = [sys.executable, "-c", AS_A_STEP, request.to_json(), json.dumps(options), str(tmp_path / out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


# What is tried


def test_the_first_trial_has_the_given_hyperparameters_and_the_best_is_left_as_the_model(small, train, tmp_path):
    result = tune(small(), train, settings(trials=6))
    assert result.trials[0].values == {"learning_rate": 0.01, "weight_decay": 0.5}
    assert [trial.number for trial in result.trials] == list(range(6))
    best = max((trial for trial in result.trials if trial.value is not None), key=lambda trial: trial.value)
    assert result.best_trial == best.number
    description = verify_files(tmp_path / "model")
    assert description.metrics["validation_roc_auc"] == best.value
    assert Hyperparameters.of(result.best_json).learning_rate == best.values["learning_rate"]
    assert Hyperparameters.of(json.loads(json.dumps(result.best_json))) == result.best


def test_only_the_models_of_the_first_and_the_best_trial_are_kept(small, train, tmp_path):
    result = tune(small(), train, settings(trials=6, study_uri=str(tmp_path / "study")))
    kept = {int(path.name) for path in (tmp_path / "study" / "trials").iterdir()}
    assert kept == {0, result.best_trial}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "grid"])
def test_the_same_seed_tries_the_same_and_another_one_does_not(small, train, tmp_path, framework, sampler):
    space, trials = (GRID, 5) if sampler == "grid" else (SPACE, 11)
    if sampler == "gp" and framework == "tensorflow":
        with pytest.raises(InputError, match=r"gp needs torch and scipy.*tpe"):
            settings(sampler=sampler)
        return
    studies = [
        tune(small(), train, settings(space, sampler=sampler, trials=trials, seed=seed, study_uri=str(tmp_path / name)))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert told(studies[0]) == told(studies[1])
    assert told(studies[0])[0] == told(studies[2])[0]
    assert told(studies[0]) != told(studies[2])


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_bayesian_samplers_come_closer_than_chance(small, train, tmp_path, framework, sampler):
    """The rate that is best of all lies in a corner; what was learned from 20 trials must point there."""
    if sampler == "gp" and framework == "tensorflow":
        pytest.skip("TensorFlow's environment has no torch")
    options = {"trials": 24, "pruning": "none", "seed": 3}
    result = tune(small(), train, settings(sampler=sampler, study_uri=str(tmp_path / sampler), **options))
    values = [trial.value for trial in result.trials]
    assert np.mean(values[-8:]) > np.mean(values[1:9])


def test_a_grid_ends_when_every_point_was_tried_once(small, train, tmp_path):
    result = tune(small(), train, settings(GRID, sampler="grid", trials=100))
    points = {(trial.values["learning_rate"], trial.values["weight_decay"]) for trial in result.trials}
    assert points == {(rate, decay) for rate in (0.01, 0.1, 1) for decay in (0.0, 0.25, 0.5)}
    assert len(result.trials) == 9


def test_the_networks_own_parameters_and_lists_reach_the_trainer(small, train):
    space = {
        "hidden_units": {"type": "categorical", "values": [[128.0, 64.0], [32.0], []]},
        "seconds": {"type": "categorical", "values": [0.0, 0.001]},
    }
    seen = []

    def watching(request, on_epoch=None):
        seen.append(request.hyperparameters)
        return train(request, on_epoch)

    result = tune(small(seconds=0), watching, settings(space, sampler="grid", trials=6))
    assert {(used.hidden_units, used.parameters["seconds"]) for used in seen} == {
        (units, seconds) for units in ((128, 64), (32,), ()) for seconds in (0, 0.001)
    }
    assert result.trials[0].values == {"hidden_units": [128, 64], "seconds": 0}


def test_log_loss_is_minimised_when_it_is_the_best_metric(small, train):
    result = tune(small(best_metric="log_loss"), train, settings(trials=6))
    values = [trial.value for trial in result.trials if trial.value is not None]
    assert result.trials[result.best_trial].value == min(values)
    assert result.to_json()["direction"] == "minimize"


# Pruning


@pytest.mark.parametrize("pruning", ["median", "hyperband"])
def test_pruned_trials_really_train_no_further(small, train, tmp_path, pruning):
    result = tune(small(epochs=9), train, settings(trials=16, pruning=pruning, sampler="random", seed=4))
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    epochs = Counter(trial for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert pruned
    assert all(epochs[str(trial.number)] == len(trial.curve) < 9 for trial in pruned)
    assert all(epochs[str(trial.number)] == 9 for trial in result.trials if trial.state == "complete")
    assert result.trials[0].state == "complete"
    assert result.best_trial not in {trial.number for trial in pruned}
    exported = {int(trial) for _, trial, what in witnessed(tmp_path) if what == "done"}
    assert exported == {trial.number for trial in result.trials if trial.state == "complete"}


def test_median_pruning_ends_no_trial_that_is_better_than_half_of_the_others(small, train):
    result = tune(small(epochs=8), train, settings(trials=16, pruning="median", sampler="random", seed=4))
    for trial in result.trials:
        if trial.state == "pruned":
            epoch = trial.curve[-1][0]
            before = [other for other in result.trials[: trial.number] if other.state == "complete"]
            reached = [dict(other.curve)[epoch] for other in before]
            assert len(before) >= 5
            assert epoch >= 4
            assert max(value for _, value in trial.curve) < np.median(reached)


def test_without_pruning_every_trial_is_complete(small, train):
    result = tune(small(), train, settings(trials=8, pruning="none", sampler="random"))
    assert {trial.state for trial in result.trials} == {"complete"}


# Trials that fail


def test_a_trial_that_fails_is_recorded_and_the_study_goes_on(small, train):
    space = {
        "learning_rate": {"type": "categorical", "values": [0.01, 1e6]},
        "gib": {"type": "categorical", "values": [0, 1 << 14]},
    }
    result = tune(small(gib=0, weight_decay=1.0), train, settings(space, sampler="grid", trials=4))
    errors = {(trial.values["learning_rate"], trial.values["gib"]): trial.error for trial in result.trials}
    assert errors[0.01, 0] == ""
    assert "diverged in epoch" in errors[1e6, 0]
    assert "out of memory" in errors[0.01, 1 << 14]
    assert result.metrics["trials_failed"] == 3
    assert result.best_trial == 0


def test_the_given_hyperparameters_may_fail(small, train, splits):
    space = {"learning_rate": {"type": "categorical", "values": [0.1, 1e6]}}
    asked = small(learning_rate=1e6, weight_decay=1.0)
    result = tune(asked, train, settings(space, sampler="grid", trials=2, test=str(splits / "test")))
    assert result.best_trial == 1
    assert result.comparison is None
    assert "diverged" in Path(asked.curves).read_text()


def test_when_all_trials_fail_the_first_error_is_raised(small, train, tmp_path):
    space = {"learning_rate": {"type": "float", "low": 1e6, "high": 1e7}}
    asked = small(learning_rate=2e6, weight_decay=1.0)
    with pytest.raises(InputError, match=r"none of 4 trials came to an end, 4 of them failed; the first: .*2000000"):
        tune(asked, train, settings(space, trials=4))


def test_what_is_wrong_with_the_request_ends_the_study_early(small, train, tmp_path, flowers):
    asked = small()
    table = flowers(100, 1)
    (tmp_path / "one").mkdir()
    pq.write_table(table.filter(pc.equal(table["kind"], "kind 0")), tmp_path / "one" / "part-00000.parquet")
    with pytest.raises(InputError, match=r"first 3 trials failed alike.*does not define the ROC AUC.*log_loss"):
        tune(replace(asked, validation=str(tmp_path / "one")), train, settings(trials=50))


def test_a_fault_of_the_trainer_is_no_trials_fault(small, train):
    space = {"fault": {"type": "categorical", "values": [False, True]}}
    with pytest.raises(KeyError, match="of the trainer's own"):
        tune(small(fault=False), train, settings(space, sampler="grid", trials=2))


# Going on


def test_a_finished_study_trains_nothing_again_and_more_trials_continue_it(small, train, tmp_path):
    first = tune(small(), train, settings(trials=5))
    before = len(witnessed(tmp_path))
    again = tune(small(), train, settings(trials=5))
    assert len(witnessed(tmp_path)) == before
    assert told(again) == told(first)
    more = tune(small(), train, settings(trials=8))
    assert told(more)[:5] == told(first)
    assert [what for _, _, what in witnessed(tmp_path)].count("start") == 8


def test_killed_at_random_moments_a_study_ends_as_one_that_was_not(small, train, tmp_path):
    asked = small(seconds=0.05, epochs=4)
    options = {"space": SPACE, "trials": 12, "seed": 7, "pruning": "none"}
    whole = tune(asked, train, TuningSettings(**{**options, "space": SearchSpace.of(SPACE)}))
    (tmp_path / "witness").unlink()
    rng, kills = random.Random(11), 0
    while True:
        process = started(tmp_path, asked, study_uri=str(tmp_path / "study"), **options)
        wait_for(lambda: process.poll() is not None or says(tmp_path, process.pid))  # noqa: B023
        try:
            process.wait(rng.uniform(0, 0.6))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0, process.stderr.read()
            break
    assert kills >= 5
    found = json.loads((tmp_path / "trials" / "trials.json").read_text())["trials"]
    assert [{name: value for name, value in trial.items() if name != "seconds"} for trial in found] == told(whole)
    done = Counter(trial for _, trial, what in witnessed(tmp_path) if what == "done")
    epochs = Counter((trial, what) for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert set(done) == {str(number) for number in range(12)}
    # A kill between an epoch and its checkpoint, or a model and its line in the journal, costs that much and no more.
    assert sum(done.values()) <= 12 + kills
    assert sum(epochs.values()) <= 12 * 4 + kills


def says(tmp_path, process):
    path = tmp_path / "witness"
    return path.exists() and any(int(number) == process for number, _, _ in witnessed(tmp_path))


def test_stopped_by_sigterm_it_says_how_to_go_on_and_does(small, tmp_path):
    asked = small(seconds=0.1, epochs=4)
    options = {"space": SPACE, "trials": 4, "study_uri": str(tmp_path / "study")}
    process = started(tmp_path, asked, **options)
    wait_for(lambda: says(tmp_path, process.pid) and ["1", "epoch 2"] in [w[1:] for w in witnessed(tmp_path)])
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "run again to resume" in errors
    process = started(tmp_path, asked, **options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    epochs = Counter((trial, what) for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert set(epochs.values()) == {1}
    assert len(epochs) == 16


def test_half_a_line_at_the_end_of_the_journal_is_cut_off(small, train, tmp_path):
    study = tmp_path / "study"
    first = tune(small(), train, settings(trials=4, study_uri=str(study)))
    with (study / JOURNAL_FILE).open("a") as file:
        file.write('{"op_code": 4, "stud')
    again = tune(small(), train, settings(trials=5, study_uri=str(study)))
    assert told(again)[:4] == told(first)
    assert len(again.trials) == 5


def test_a_damaged_journal_is_told(small, train, tmp_path):
    study = tmp_path / "study"
    tune(small(), train, settings(trials=2, study_uri=str(study)))
    text = (study / JOURNAL_FILE).read_text()
    (study / JOURNAL_FILE).write_text(text.replace('"op_code":4', '"op_code', 1))
    with pytest.raises(InputError, match=r"journal\.log is damaged.*delete .* to begin anew"):
        tune(small(), train, settings(trials=2, study_uri=str(study)))


def test_a_kept_model_that_is_lost_is_trained_again(small, train, tmp_path):
    study = tmp_path / "study"
    first = tune(small(), train, settings(trials=4, study_uri=str(study)))
    (study / "trials" / str(first.best_trial) / "model" / "weights.json").unlink()
    again = tune(small(), train, settings(trials=4, study_uri=str(study)))
    assert again.description.digest == first.description.digest
    verify_files(tmp_path / "model")


def test_a_trial_whose_process_always_dies_before_an_epoch_is_given_up(small, tmp_path):
    space = {"died": {"type": "categorical", "values": [False, True]}}
    options = {"space": space, "trials": 2, "sampler": "grid", "study_uri": str(tmp_path / "study")}
    codes = []
    for _ in range(4):
        process = started(tmp_path, small(died=False), **options)
        process.communicate()
        codes.append(process.returncode)
    assert codes == [-9, -9, -9, 0]
    trials = json.loads((tmp_path / "trials" / "trials.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "failed"]
    assert "ended 3 times before the first epoch" in trials[1]["error"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"settings": {"seed": 5}}, "tuning_seed"),
        ({"settings": {"sampler": "random"}}, "sampler"),
        ({"settings": {"space": RATES}}, "space"),
        ({"hyperparameters": {"epochs": 5}}, "epochs"),
        ({"split": "test"}, "data"),
    ],
)
def test_another_study_in_the_directory_is_refused(small, train, tmp_path, splits, change, name):
    study = str(tmp_path / "study")
    tune(small(), train, settings(trials=2, study_uri=study))
    asked = small(**change.get("hyperparameters", {}))
    if split := change.get("split"):
        asked = replace(asked, train=str(splits / split))
    options = {"trials": 2, "study_uri": study, **change.get("settings", {})}
    with pytest.raises(InputError, match=rf"holds another study: .*{name} is .* there and .* here.*another study_uri"):
        tune(asked, train, settings(**options))


def test_a_directory_where_somebody_else_tunes_is_refused(tmp_path):
    study = tmp_path / "study"
    with (
        locked(study),
        pytest.raises(ConflictError, match="another process is tuning"),
        locked(study, 0.2),
    ):
        pass


# Side by side


def test_parallel_trials_run_at_the_same_time_and_no_more_than_asked_for(small, train, tmp_path):
    result = tune(small(seconds=0.1), train, settings(trials=7, parallel_trials=2, pruning="none"))
    assert [trial.state for trial in result.trials] == ["complete"] * 7
    lines = witnessed(tmp_path)
    assert len({process for process, _, _ in lines}) == 2
    running, most = set(), 0
    for _, trial, what in lines:
        running = running | {trial} if what == "start" else running - {trial} if what == "done" else running
        most = max(most, len(running))
    assert most == 2
    assert str(os.getpid()) not in {process for process, _, _ in lines}


def test_parallel_trials_are_pruned_and_fail_as_others_do(small, train, tmp_path):
    space = {"learning_rate": {"type": "float", "low": 0.001, "high": 1e6, "log": True}}
    options = {"sampler": "random", "pruning": "median", "seed": 2, "parallel_trials": 2, "trials": 16}
    result = tune(small(epochs=9, weight_decay=1.0), train, settings(space, **options))
    states = Counter(trial.state for trial in result.trials)
    assert sum(states.values()) == 16
    assert states["failed"]
    assert states["complete"]
    epochs = Counter(trial for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert all(epochs[str(t.number)] < 9 for t in result.trials if t.state == "pruned")


def test_a_worker_that_dies_costs_its_trial_and_nothing_more(small, train, tmp_path):
    space = {death: {"type": "categorical", "values": [False, True]} for death in ("died", "cut")} | RATES
    options = {"sampler": "random", "trials": 8, "parallel_trials": 2, "pruning": "none"}
    result = tune(small(died=False, cut=False), train, settings(space, **options))
    for trial in result.trials:
        dead = trial.values["died"] or trial.values["cut"]
        assert trial.state == ("failed" if dead else "complete")
        assert ("ended by SIGKILL: is memory too small?" in trial.error) == dead
    assert any(trial.values["cut"] and not trial.values["died"] for trial in result.trials)
    assert {trial.state for trial in result.trials} == {"failed", "complete"}


def test_killed_with_its_workers_at_work_the_study_goes_on_and_repeats_nothing(small, tmp_path):
    asked = small(seconds=0.1, epochs=6)
    options = {
        "space": SPACE,
        "trials": 8,
        "parallel_trials": 2,
        "pruning": "none",
        "study_uri": str(tmp_path / "study"),
    }
    process = started(tmp_path, asked, **options)
    wait_for(lambda: (tmp_path / "witness").exists() and len([w for w in witnessed(tmp_path) if w[2] == "epoch 3"]) > 2)
    process.kill()
    process.communicate()
    workers = {int(number) for number, _, _ in witnessed(tmp_path)}
    process = started(tmp_path, asked, **options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert not [number for number in workers if Path(f"/proc/{number}").exists()]
    trials = json.loads((tmp_path / "trials" / "trials.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 8
    epochs = Counter((trial, what) for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert len(epochs) == 48
    assert sum(epochs.values()) <= 48 + 2


def test_stopped_by_sigterm_its_workers_save_and_stop(small, tmp_path):
    asked = small(seconds=0.1, epochs=6)
    options = {
        "space": SPACE,
        "trials": 6,
        "parallel_trials": 2,
        "pruning": "none",
        "study_uri": str(tmp_path / "study"),
    }
    process = started(tmp_path, asked, **options)
    wait_for(lambda: (tmp_path / "witness").exists() and len([w for w in witnessed(tmp_path) if w[2] == "epoch 3"]) > 1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    process = started(tmp_path, asked, **options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    epochs = Counter((trial, what) for _, trial, what in witnessed(tmp_path) if what.startswith("epoch"))
    assert len(epochs) == 36
    assert sum(epochs.values()) <= 36 + 2  # what a worker was telling when the tuning stopped listening


def test_stopped_while_all_workers_are_busy_it_does_not_wait_for_a_trial_to_end(small, tmp_path):
    asked = small(seconds=0.5, epochs=40)
    process = started(tmp_path, asked, space=SPACE, trials=4, parallel_trials=2, pruning="none")
    wait_for(lambda: (tmp_path / "witness").exists() and len([w for w in witnessed(tmp_path) if w[2] == "epoch 1"]) > 1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 143, errors
    assert "done" not in {what for _, _, what in witnessed(tmp_path)}


def test_a_fault_of_the_trainer_in_a_worker_is_raised(small, train):
    space = {"fault": {"type": "categorical", "values": [False, True]}}
    with pytest.raises(RuntimeError, match="exit code 1; its traceback is above"):
        tune(small(fault=False), train, settings(space, sampler="grid", trials=2, parallel_trials=2))


def test_a_function_that_no_other_process_finds_is_refused(small, train):
    with pytest.raises(InputError, match=r"must be a function of a module.*parallel_trials to 1"):
        tune(small(), lambda request, on_epoch: train(request, on_epoch), settings(parallel_trials=2))


def test_no_trial_begins_after_the_time_is_up(small, train):
    result = tune(small(seconds=0.1), train, settings(trials=50, timeout_seconds=1.0, pruning="none"))
    assert 1 <= len(result.trials) < 6
    assert {trial.state for trial in result.trials} == {"complete"}


def test_a_study_whose_time_is_up_before_its_first_trial_ends_says_so(small, train, tmp_path):
    asked, study = small(seconds=0.3, epochs=9), str(tmp_path / "study")
    process = started(tmp_path, asked, space=SPACE, study_uri=study)
    wait_for(lambda: says(tmp_path, process.pid))
    process.terminate()
    process.communicate()
    with pytest.raises(InputError, match="no trial came to an end within timeout_seconds: allow more"):
        tune(asked, train, settings(study_uri=study, timeout_seconds=1e-9))


# Spaces and settings


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "must be an object with a hyperparameter or more"),
        ([], "must be an object"),
        ({"dropout": 0.5}, r"'dropout' must have a type: float, int, categorical"),
        ({"dropout": {"type": "real"}}, "must have a type"),
        ({"dropout": {"type": "float", "low": 0.1}}, "high must be a number, it is None"),
        ({"dropout": {"type": "float", "low": "a", "high": 1}}, "low must be a number, it is 'a'"),
        ({"dropout": {"type": "float", "low": float("nan"), "high": 1}}, "low must be a number"),
        ({"dropout": {"type": "float", "low": 0.5, "high": 0.1}}, r"low \(0.5\) is above high \(0.1\)"),
        ({"dropout": {"type": "float", "low": 0.5, "high": 1.0}}, "dropout must be at least 0 and below 1"),
        ({"dropout": {"type": "float", "low": 0, "high": 0.5, "log": True}}, "must be above 0 for log"),
        ({"dropout": {"type": "float", "low": 0, "high": 0.5, "log": 1}}, "log must be true or false"),
        ({"dropout": {"type": "float", "low": 0, "high": 0.5, "step": 0.2}}, "no whole steps of 0.2"),
        ({"dropout": {"type": "float", "low": 0, "high": 0.5, "step": 0}}, "step .* must be above 0"),
        ({"dropout": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1, "log": True}}, "exclude each other"),
        ({"dropout": {"type": "float", "low": 0, "high": 0.5, "max": 1}}, "a float has no max"),
        ({"batch_size": {"type": "float", "low": 16, "high": 64}}, "its type must be int"),
        ({"batch_size": {"type": "int", "low": 16.5, "high": 64}}, "low must be a whole number"),
        (
            {"hidden_units": {"type": "int", "low": 16, "high": 64}},
            "hidden_units takes a list of whole numbers, not 16",
        ),
        ({"hidden_units": {"type": "categorical", "values": []}}, "a list of at least one"),
        ({"hidden_units": {"type": "categorical", "values": [[8], [8.0]]}}, "twice"),
        ({"hidden_units": {"type": "categorical", "values": [[0]]}}, "must all be at least 1"),
        ({"loss": {"type": "categorical", "values": ["hinge"]}}, "loss must be one of"),
        ({"seed": {"type": "int", "low": 0, "high": 9}}, "cannot be tuned: the luckiest seed"),
        ({"best_metric": {"type": "categorical", "values": ["roc_auc"]}}, "trials are judged by it"),
    ],
)
def test_a_wrong_space_is_refused_with_its_name_and_an_example(space, message):
    with pytest.raises(InputError, match=message) as raised:
        SearchSpace.of(space)
    assert '"type"' in str(raised.value) or "cannot be tuned" in str(raised.value) or "must have" in str(raised.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": {"type": "float", "low": 0.1, "high": 1}}, r"no hyperparameter \(is learning_rate meant\?\)"),
        ({"width": {"type": "int", "low": 1, "high": 9}}, "give a value of it among the hyperparameters"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 1}}, "does not contain 0.01, the given value"),
        ({"batch_size": {"type": "categorical", "values": [64]}}, "does not contain 2048.*widen the space"),
    ],
)
def test_the_given_values_must_be_in_the_space(small, train, space, message):
    with pytest.raises(InputError, match=message):
        tune(small(), train, settings(space, trials=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "annealing"}, "sampler is 'annealing', it must be one of tpe, gp, random, grid"),
        ({"pruning": "yes"}, "pruning is 'yes'"),
        ({"trials": 0}, "trials is 0"),
        ({"parallel_trials": 0}, "parallel_trials is 0"),
        ({"timeout_seconds": -1}, "timeout_seconds is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_curve_fractions": (0.5, 1.0)}, "must be above 0 and below 1"),
        (
            {"sampler": "grid", "space": {"dropout": {"type": "float", "low": 0, "high": 0.5, "step": 1e-6}}},
            "the grid has 500,001 points",
        ),
        ({"sampler": "grid"}, "'learning_rate' is wrong: a grid needs a step, or a list of values"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        settings(**options)


def test_pruning_needs_epochs_which_several_devices_do_not_tell(small, train):
    with pytest.raises(InputError, match="set pruning to none, or devices to 1"):
        tune(replace(small(), devices=2), train, settings())


def test_the_default_space_contains_the_defaults():
    space = SearchSpace.of(DEFAULT_SPACE)
    assert SearchSpace.of(json.loads(json.dumps(space.to_json()))) == space
    assert space.changed(Hyperparameters(), space.given(Hyperparameters())) == Hyperparameters()


# Whether it was worth it


def test_a_model_that_is_always_wrong_is_compared_too():
    labels = np.asarray([0, 0, 0, 1, 1, 1])
    positive = np.asarray([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    wrong, right = np.stack([1 - positive, positive], axis=1), np.stack([positive, 1 - positive], axis=1)
    found = compare(Scored(labels, wrong), Scored(labels, right))
    assert (found.roc_auc, found.other_roc_auc, found.verdict) == (0.0, 1.0, "worse")
    three = np.stack([positive, positive, 1 - positive], axis=1)
    found = compare(Scored(labels, three), Scored(labels, three))
    assert found.roc_auc == pytest.approx(roc_auc(labels, three))


def test_the_paired_interval_is_that_of_resampled_rows():
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(np.int64)
    good = np.round(1 / (1 + np.exp(-(labels * 1.5 + rng.normal(size=400)))), 2)
    bad = np.round(1 / (1 + np.exp(-(labels * 0.5 + rng.normal(size=400)))), 2)
    one, other = (Scored(labels, np.stack([1 - s, s], axis=1)) for s in (good, bad))
    found = compare(one, other, seed=5)
    draw, differences = np.random.default_rng(5), []
    for _ in range(1000):
        rows = draw.integers(0, 400, 400)
        differences.append(roc_auc(labels[rows], one.scores[rows]) - roc_auc(labels[rows], other.scores[rows]))
    assert found.roc_auc == pytest.approx(roc_auc(labels, one.scores))
    assert found.other_roc_auc == pytest.approx(roc_auc(labels, other.scores))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert found.verdict == "better"
    assert compare(other, one, seed=5).verdict == "worse"
    same = compare(one, one)
    assert (same.difference, same.low, same.high, same.verdict) == (0, 0, 0, "no difference")


def test_several_classes_are_compared_by_the_mean_of_one_against_the_rest():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    scores = rng.dirichlet([1, 1, 1], 300)
    found = compare(Scored(labels, scores), Scored(labels, scores[:, [1, 2, 0]]))
    assert found.roc_auc == pytest.approx(roc_auc(labels, scores))
    assert compare(Scored(labels * 0, scores), Scored(labels * 0, scores)) is None


def test_the_real_trainer_is_tuned_and_judged_on_rows_that_no_trial_saw(trained, asked, framework, tmp_path):
    import importlib

    train = getattr(importlib.import_module(f"shipway.components.{framework}.training"), f"train_{framework}")
    space = {
        "learning_rate": {"type": "float", "low": 0.0005, "high": 0.03, "log": True},
        "hidden_units": {"type": "categorical", "values": [[], [32]]},
    }
    request = asked(trained, epochs=3, hidden_units=[], learning_rate=0.0005)
    request = replace(request, model=str(tmp_path / "model"), curves=str(tmp_path / "report.html"))
    options = {"trials": 4, "test": str(trained / "test"), "learning_curve_fractions": (0.1, 0.3)}
    result = tune(request, train, settings(space, **options))
    assert result.best_trial > 0
    assert result.comparison.rows == 500
    assert result.comparison.verdict == "better"
    assert [point.fraction for point in result.learning_curve.points] == [0.1, 0.3, 1.0]
    rows = [point.rows for point in result.learning_curve.points]
    assert rows == sorted(rows)
    assert rows[2] == 4000
    assert verify_files(tmp_path / "model").digest == result.description.digest
    again = replace(
        request,
        hyperparameters=Hyperparameters.of(result.best_json),
        model=str(tmp_path / "again"),
        curves=str(tmp_path / "again.html"),
    )
    assert train(again).files["model.onnx"] == result.description.files["model.onnx"]
    page = (tmp_path / "report.html").read_text()
    for words in ("Best against given hyperparameters", "Every trial", "More rows", "95 % interval", "Learning curve"):
        assert words in page
    write_trials(tmp_path / "trials", result)
    assert json.loads((tmp_path / "trials" / "trials.json").read_text())["test_comparison"]["verdict"] == "better"


def test_without_a_test_split_the_page_says_what_is_not_known(small, train):
    asked = small()
    tune(asked, train, settings(trials=3))
    assert "There was no test split" in Path(asked.curves).read_text()


def test_importances_tell_what_mattered_when_there_are_trials_enough(small, train):
    space = {**RATES, "seconds": {"type": "float", "low": 0.0, "high": 0.0001}}
    few = tune(small(seconds=0), train, settings(space, trials=8, sampler="random"))
    assert few.importances == {}
    result = tune(small(seconds=0), train, settings(space, trials=40, sampler="random", pruning="none"))
    assert sum(result.importances.values()) == pytest.approx(1)
    assert next(iter(result.importances)) == "learning_rate"


def objects_below(uri):
    store, key = storage.open_store(uri)
    return list(store.list(key))


@pytest.fixture
def s3(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE.parent / "storage"))
    import servers
    from witness import use_profiles

    with servers.seaweedfs() as server:
        use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(server, "s3://", server.url)], stall_seconds=10)
        yield f"s3://{server.new_bucket()}/flowers/study"


def test_a_study_in_a_store_goes_on_where_nothing_is_left_of_the_machine(small, train, tmp_path, s3, monkeypatch):
    (tmp_path / "left").write_text("a checkpoint of a trial that failed")
    storage.upload(tmp_path / "left", f"{s3}/trial-2/left")
    first = tune(small(), train, settings(trials=4, study_uri=s3))
    assert not any("trial-" in info.key for info in objects_below(s3))
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "elsewhere"))
    before = len(witnessed(tmp_path))
    again = tune(small(), train, settings(trials=4, study_uri=s3))
    assert told(again) == told(first)
    assert len(witnessed(tmp_path)) == before
    more = tune(small(), train, settings(trials=6, study_uri=s3))
    assert told(more)[:4] == told(first)
    assert [what for _, _, what in witnessed(tmp_path)].count("start") == 6
    with pytest.raises(
        InputError, match=r"another training's: tuning_seed is 0 there and 1 here; name another study_uri"
    ):
        tune(small(), train, settings(trials=4, study_uri=s3, seed=1))
