"""What goes wrong in a training: before it learns, while it learns, and when it goes on elsewhere."""

import textwrap
import threading

import pytest
import torch
from torch import nn

from shipway.components.common.errors import InputError
from shipway.components.pytorch.state import TrainingState
from shipway.components.pytorch.world import World

OWN = """
    import os
    import torch
    from torch import nn
    class Own(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.last = nn.Linear(spec.numeric_width, spec.classes)
        def forward(self, numeric, categorical):
            return self.last(numeric)
    class Branching(Own):
        def forward(self, numeric, categorical):
            return self.last(numeric) if numeric.sum() > 0 else -self.last(numeric)
    class Hungry(Own):
        def forward(self, numeric, categorical):
            if self.training and os.environ.get("RANK") == "1":
                torch.empty(1 << 50)
            return self.last(numeric)
    class Weightless(nn.Module):
        def __init__(self, spec):
            super().__init__()
        def forward(self, numeric, categorical):
            return numeric[:, :2]
    """


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "odd_networks.py"
    path.write_text(textwrap.dedent(OWN))
    return str(path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("Branching", r"exporting odd_networks:Branching, .* failed with (.|\n)*odd_networks.py:\d+, in forward"),
        ("Weightless", "odd_networks:Weightless has no weights that learn"),
    ],
)
def test_a_network_that_cannot_become_a_model_is_refused_before_it_learns(trained, train, code, network, message):
    learned = []
    with pytest.raises(InputError, match=message):
        train(trained, "odd", on_epoch=learned.append, network=f"odd_networks:{network}", network_code=code)
    assert not learned
    assert not (trained / "checkpoints" / "odd").exists()


def test_memory_that_runs_out_in_one_of_several_processes_names_a_batch_size(trained, train, code):
    with pytest.raises(InputError, match=r"out of memory with batches of 83 rows: try batch_size=41"):
        train(trained, "hungry", network="odd_networks:Hungry", network_code=code, devices=2, accelerator="cpu")


def test_nothing_reads_on_after_an_error_between_two_epochs(trained, train):
    def failing(_epoch):
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        train(trained, "failing", on_epoch=failing)
    assert "input" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("scaled", [(False, True), (True, False)])
def test_a_state_is_taken_up_in_another_precision(tmp_path, scaled):
    """As where a training that computed in bf16 goes on on a GPU that only takes fp16."""

    def state(scaler):
        network = nn.Linear(2, 2)
        optimizer = torch.optim.AdamW(network.parameters())
        scaling = torch.amp.GradScaler("cpu", enabled=scaler)
        return TrainingState(network, nn.Linear(2, 2), optimizer, scaling, World(), torch.zeros(()))

    before, after = map(state, scaled)
    before.writer([])(tmp_path)
    after.restore(after.read(tmp_path))
    assert torch.equal(after.trained.weight, before.trained.weight)
    assert after.scaler.is_enabled() == scaled[1]
