"""A training that is stopped, killed or damaged goes on where it was; the other family's folder links here."""

import contextlib
import json
import os
import random
import re
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

EPOCHS = 6
# Slow enough to be stopped in the middle: many steps of few rows.
SLOW = {"epochs": EPOCHS, "batch_size": 16, "checkpoint_interval_seconds": 0.05}

AS_A_STEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
from shipway.components.common.process import step
with step():
    conftest.train(Path(sys.argv[2]), sys.argv[3], **eval(sys.argv[4]))
"""


@pytest.fixture(scope="module")
def root(long_root):
    return long_root


@pytest.fixture(scope="module")
def uninterrupted(root):
    run(root, "whole").check_returncode()
    return root / "whole"


def start(root, out, **changes):
    command = [sys.executable, "-c", AS_A_STEP, str(Path(__file__).parent), str(root), out, repr({**SLOW, **changes})]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(root, out, **changes):
    process = start(root, out, **changes)
    said, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def saved_steps(root, out):
    """The steps of the complete checkpoints, rising."""
    found = []
    for directory in (root / "checkpoints" / out).glob("*/step-*"):
        with contextlib.suppress(FileNotFoundError):  # deleted at this moment
            found.append(json.loads((directory / "MANIFEST.json").read_text())["step"])
    return sorted(found)


def wait_for_a_checkpoint(root, out, process, after=0):
    while process.poll() is None and not any(step > after for step in saved_steps(root, out)):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[0]


def weights(model):
    graph = onnx.load(model / "model.onnx").graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def assert_same(model, whole, framework):
    mine, theirs = read_model(model), read_model(whole)
    if framework == "pytorch":
        assert mine.digest == theirs.digest
    for name, values in weights(whole).items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(weights(model)[name], values, atol=0 if framework == "pytorch" else 1e-6)
    for epoch, expected in zip(mine.history, theirs.history, strict=True):
        assert epoch.validation_roc_auc == pytest.approx(expected.validation_roc_auc, abs=1e-6)
        assert epoch.validation_loss == pytest.approx(expected.validation_loss, abs=1e-6)
        assert epoch.loss == pytest.approx(expected.loss, abs=1e-5)


def test_stopped_and_run_again_it_ends_as_if_nothing_had_happened(root, uninterrupted, framework):
    process = start(root, "stopped")
    for _ in range(3):
        before = saved_steps(root, "stopped")[-1:] or [0]
        wait_for_a_checkpoint(root, "stopped", process, before[0])
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 143, said
        assert "Preempted: stopped by SIGTERM" in said
        assert "run again to resume" in said
        assert not (root / "stopped").exists()
        process = start(root, "stopped")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert read_model(root / "stopped").training["resumed_from_step"] > 0
    assert_same(root / "stopped", uninterrupted, framework)
    assert saved_steps(root, "stopped") == []


def test_killed_at_random_moments_it_loses_at_most_one_interval(root, uninterrupted, framework):
    moments = random.Random(5)
    kills = 0
    while kills < 10:
        process = start(root, "killed")
        wait_for_a_checkpoint(root, "killed", process, (saved_steps(root, "killed")[-1:] or [0])[0])
        time.sleep(moments.uniform(0, 0.3))
        before = saved_steps(root, "killed")
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        after = saved_steps(root, "killed")
        assert after
        assert after[-1] >= before[-1]
    said = run(root, "killed")
    assert said.returncode == 0, said.stdout
    assert kills >= 5
    assert_same(root / "killed", uninterrupted, framework)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(root, uninterrupted, framework):
    process = start(root, "damaged")
    wait_for_a_checkpoint(root, "damaged", process, 300)
    process.kill()
    process.communicate()
    steps = saved_steps(root, "damaged")
    newest = max(
        (root / "checkpoints" / "damaged").rglob("MANIFEST.json"), key=lambda f: json.loads(f.read_text())["step"]
    )
    state = max((file for file in newest.parent.iterdir() if file != newest), key=lambda file: file.stat().st_size)
    os.truncate(state, state.stat().st_size // 2)
    said = run(root, "damaged")
    assert said.returncode == 0, said.stdout
    assert "is damaged" in said.stdout
    if len(steps) > 1:
        assert read_model(root / "damaged").training["resumed_from_step"] == steps[-2]
    assert_same(root / "damaged", uninterrupted, framework)


def test_checkpoints_of_another_training_are_refused_with_what_differs(root):
    process = start(root, "other")
    wait_for_a_checkpoint(root, "other", process)
    process.kill()
    process.communicate()
    said = run(root, "other", learning_rate=0.001)
    assert said.returncode == InputError.exit_code
    assert "learning_rate is 0.005 there and 0.001 here" in said.stdout
    assert saved_steps(root, "other")
    assert run(root, "other").returncode == 0


BREAKING = {
    "pytorch": """
        import torch
        from torch import nn
        class Breaking(nn.Module):
            def __init__(self, spec):
                super().__init__()
                self.last = nn.Linear(spec.numeric_width, spec.classes)
                self.register_buffer("steps", torch.zeros(()))
            def forward(self, numeric, categorical):
                if self.training:
                    self.steps += 1
                return self.last(numeric) * torch.where(self.steps > 200, torch.nan, 1.0)
        build = Breaking
        """,
    "tensorflow": """
        import keras
        import tensorflow as tf
        class Breaking(keras.Model):
            def __init__(self, spec):
                super().__init__()
                self.last = keras.layers.Dense(spec.classes)
                self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")
            def call(self, numeric, categorical, training=False):
                if training:
                    self.steps.assign_add(1.0)
                return self.last(numeric) * tf.where(self.steps > 200, float("nan"), 1.0)
        build = Breaking
        """,
}


def test_a_training_that_diverges_says_where_and_keeps_its_last_good_checkpoint(root, tmp_path, framework):
    code = tmp_path / "breaking.py"
    code.write_text(textwrap.dedent(BREAKING[framework]))
    network = {"network": "breaking:build", "network_code": str(code), "checkpoint_interval_seconds": 0.01}
    said = run(root, "diverged", **network)
    assert said.returncode == InputError.exit_code, said.stdout
    assert re.search(
        r"diverged in epoch 1 by step 2\d\d; the last checkpoint is .*lower learning_rate .* another checkpoint_uri",
        said.stdout,
    )
    steps = saved_steps(root, "diverged")
    assert steps
    assert steps[-1] <= 201
    assert "training diverged in epoch 1" in run(root, "diverged", **network).stdout
