"""Several processes learn what one learns."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.training import TrainingRequest
from shipway.components.pytorch.training import THREADS, _configure, choose
from shipway.components.pytorch.world import World

AS_A_STEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
from shipway.components.common.process import step
with step():
    conftest.train(Path(sys.argv[2]), sys.argv[3], **eval(sys.argv[4]))
"""


def constants(model):
    graph = onnx.load(model / "model.onnx").graph
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return [array for array in arrays if array.dtype.kind == "f"]


@pytest.mark.parametrize(("network", "tolerance"), [("linear", 1e-5), ("mlp", 0.02)])
def test_two_processes_end_where_one_does(trained, train, network, tolerance):
    """Exactly without dropout; with it, each process draws numbers of its own."""
    settings = {"network": network, "epochs": 2, "accelerator": "cpu"}
    one, two = train(trained, f"one-{network}", **settings), train(trained, f"two-{network}", devices=2, **settings)
    alone, together = read_model(one), read_model(two)
    assert together.training["devices"] == 2
    for mine, theirs in zip(together.history, alone.history, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, abs=tolerance)
        assert mine.validation_roc_auc == pytest.approx(theirs.validation_roc_auc, abs=tolerance)
    if network == "linear":
        for mine, theirs in zip(constants(two), constants(one), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


SLOW = {"epochs": 4, "batch_size": 16, "network": "linear", "checkpoint_interval_seconds": 0.05}


def as_a_step(root, devices):
    settings = repr({**SLOW, "devices": devices})
    return [sys.executable, "-c", AS_A_STEP, str(Path(__file__).parent), str(root), "workers", settings]


@pytest.mark.parametrize("devices", [2, 1])
def test_two_processes_are_stopped_and_as_many_or_fewer_go_on(long_root, train, devices):
    shutil.rmtree(long_root / "workers", ignore_errors=True)
    command = as_a_step(long_root, devices=2)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not list((long_root / "checkpoints" / "workers").glob("*/step-*/MANIFEST.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "run again to resume" in said
    command = as_a_step(long_root, devices=devices)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    description = read_model(long_root / "workers")
    assert description.training["resumed_from_step"] > 0
    assert [epoch.epoch for epoch in description.history] == [1, 2, 3, 4]
    alone = read_model(train(long_root, "alone", **SLOW))
    for mine, expected in zip(description.history, alone.history, strict=True):
        assert mine.loss == pytest.approx(expected.loss, rel=1e-4)


def test_processes_share_the_processors_of_their_own_node_only(monkeypatch):
    processors, chosen = len(os.sched_getaffinity(0)), choose(TrainingRequest(*"abcde", accelerator="cpu"))
    for here in (1, processors):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
        _configure(World(rank=0, size=64, local_rank=0), chosen)
        assert torch.get_num_threads() == min(THREADS, processors // here)
    _configure(World(), chosen)


def test_a_workers_error_is_the_steps_error(trained, train):
    with pytest.raises(InputError, match="learning_rate"):
        train(trained, "workers-diverged", devices=2, learning_rate=1e30, accelerator="cpu")
    assert not (trained / "workers-diverged").exists()
