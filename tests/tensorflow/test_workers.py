"""Several processes train together, as several nodes do: on loopback, started by the launcher."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.tensorflow.state import packed
from shipway.components.tensorflow.world import Cluster, World

TOGETHER = {"accelerator": "cpu", "devices": 2, "network": "linear", "epochs": 3}

AS_A_STEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
from shipway.components.common.process import step
with step():
    conftest.train(Path(sys.argv[2]), sys.argv[3], **eval(sys.argv[4]))
"""


def start(root, out, **changes):
    arguments = [str(Path(__file__).parent), str(root), out, repr({**TOGETHER, **changes})]
    command = [sys.executable, "-c", AS_A_STEP, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def weights(model):
    graph = onnx.load(model / "model.onnx").graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def assert_equal(model, expected):
    for epoch, other in zip(read_model(model).history, read_model(expected).history, strict=True):
        assert vars(epoch) == pytest.approx(vars(other), abs=1e-6)
    for name, values in weights(expected).items():
        np.testing.assert_allclose(weights(model)[name], values, atol=1e-5)


@pytest.fixture
def alone(trained, train):
    return train(trained, "alone", **{**TOGETHER, "devices": 1})


def test_two_processes_learn_what_one_learns(trained, train, alone):
    model = train(trained, "together", **TOGETHER)
    assert read_model(model).training["devices"] == 2
    assert_equal(model, alone)
    assert not list((trained / "checkpoints" / "together").rglob("MANIFEST.json"))


def test_both_stop_at_one_step_and_go_on_from_it(trained):
    slow = {"batch_size": 16, "checkpoint_interval_seconds": 0.1, "epochs": 2}
    whole = start(trained, "slow", **slow)
    said, _ = whole.communicate()
    assert whole.returncode == 0, said
    process = start(trained, "stopped", **slow)
    while process.poll() is None and not list((trained / "checkpoints" / "stopped").rglob("MANIFEST.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 143, said
    assert "Preempted: stopped by SIGTERM" in said
    assert not (trained / "stopped").exists()
    process = start(trained, "stopped", **slow)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert read_model(trained / "stopped").training["resumed_from_step"] > 0
    assert_equal(trained / "stopped", trained / "slow")


def test_an_error_of_all_is_told_once_as_what_it_is(trained, train, tmp_path):
    code = tmp_path / "own.py"
    code.write_text(
        textwrap.dedent("""
            import keras
            def build(spec):
                return spec.nothing_like_it
            """)
    )
    with pytest.raises(InputError, match=r"building the network failed with AttributeError.*own\.py:4"):
        train(trained, "wrong", **{**TOGETHER, "network": "own:build", "network_code": str(code)})


def test_memory_that_runs_out_in_any_process_is_told_with_what_to_try(trained, train, tmp_path):
    code = tmp_path / "greedy.py"
    code.write_text(
        textwrap.dedent("""
            import os
            import keras
            class Greedy(keras.Model):
                def __init__(self, spec):
                    super().__init__()
                    self.last = keras.layers.Dense(spec.classes)
                def call(self, numeric, categorical, training=False):
                    if training and os.environ["RANK"] == "1":
                        raise MemoryError("can't allocate memory")
                    return self.last(numeric)
            build = Greedy
            """)
    )
    with pytest.raises(InputError, match=r"out of memory with batches of \d+ rows: try batch_size="):
        train(trained, "greedy", **{**TOGETHER, "network": "greedy:build", "network_code": str(code)})


def test_a_process_that_is_killed_ends_the_training(trained):
    process = start(trained, "bereft", batch_size=16, checkpoint_interval_seconds=0.1, epochs=50)
    while process.poll() is None and not list((trained / "checkpoints" / "bereft").rglob("MANIFEST.json")):
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0]
    victim = next(pid for pid in descendants(process.pid) if rank_of(pid) == 1)
    os.kill(victim, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, 2), said
    assert not (trained / "bereft").exists()


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def rank_of(pid):
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    config = next((entry[10:] for entry in variables if entry.startswith(b"TF_CONFIG=")), b"")
    return json.loads(config)["task"]["index"] if config else None


def test_what_tf_config_says(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert Cluster.from_environment() == Cluster(0, 1, 1)
    monkeypatch.setenv("TF_CONFIG", "")
    assert Cluster.from_environment() == Cluster(0, 1, 1)
    workers = {"worker": ["10.0.0.1:5", "10.0.0.2:5", "10.0.0.2:6"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": workers, "task": {"type": "worker", "index": 2}}))
    assert Cluster.from_environment() == Cluster(2, 3, 2)


def test_one_process_agrees_with_itself():
    world = World()
    assert world.any_of((True, False)) == [True, False]
    assert world.told(None) is None
    assert world.told({"step": 3}) == {"step": 3}
    assert packed({"step": 3})
