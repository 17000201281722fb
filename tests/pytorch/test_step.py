"""The step that is learned from, as it is and compiled."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from shipway.components.common.preprocessing import feature_kinds, feature_tensors, learn_encoders
from shipway.components.common.training import Hyperparameters
from shipway.components.pytorch.encoding import Encoding
from shipway.components.pytorch.step import Step, compiled


class Normed(nn.Module):
    """Gathers statistics and draws random numbers."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 2))

    def forward(self, numeric, categorical):
        return self.layers(numeric)


class Failing(Normed):
    """Fails after it has gathered and drawn."""

    def forward(self, numeric, categorical):
        raise ValueError(f"no idea of {super().forward(numeric, categorical).shape}")


def step_and_batch(network):
    table = pa.table({"a": np.random.default_rng(0).normal(size=64), "late": ["x", "y"] * 32})
    kinds = feature_kinds(table.schema, "late")
    tensors = feature_tensors(table, kinds)
    encoders = learn_encoders(tensors, kinds)
    batch = encoders.raw(tensors), np.zeros((64, 0), np.int64), np.arange(64) % 2, np.ones(64, np.float32)
    step = Step(network(encoders.numeric_width), Encoding(encoders), Hyperparameters()).train()
    return step, tuple(map(torch.from_numpy, batch))


def state_of(step):
    """All that a training goes on from."""
    assert all(weight.grad is None for weight in step.parameters())
    return [torch.get_rng_state(), *(value.clone() for value in step.state_dict().values())]


def learned(step, batch):
    """What a step leaves: its loss, the gradients, and what was gathered."""
    torch.manual_seed(0)
    loss = step(*batch)
    loss.backward()
    found = [loss.detach(), *(weight.grad.clone() for weight in step.parameters())]
    step.zero_grad()
    return found + [buffer.clone() for buffer in step.buffers()]


@pytest.mark.parametrize("network", [Normed, Failing])
def test_trying_to_compile_a_step_changes_nothing_in_it(network):
    step, batch = step_and_batch(network)
    before = state_of(step)
    made, what = compiled(step, batch)
    for value, expected in zip(state_of(step), before, strict=True):
        assert torch.equal(value, expected)
    if network is Failing:
        assert made is step
        assert what.startswith("not compiled: ValueError: no idea")
        return
    assert what == "compiled"
    step.network.layers[1].p = 0.0  # the compiler draws other random numbers
    gathered = [(buffer, buffer.clone()) for buffer in step.buffers()]
    plain = learned(step, batch)
    for buffer, value in gathered:
        buffer.copy_(value)
    for mine, theirs in zip(learned(made, batch), plain, strict=True):
        torch.testing.assert_close(mine, theirs)
