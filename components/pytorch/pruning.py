"""Magnitude pruning of a trained model, with fine-tuning of the weights that are left."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.optimization.pruning import check_classes, fine_tuning, kept_weights
from shipway.components.common.optimization.publishing import publish_optimized
from shipway.components.common.optimization.settings import OptimizationRequest, PruningSettings
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training import TrainingData, TrainingRequest, memory_for, open_training_data
from shipway.components.common.training.interruption import interruptions
from shipway.components.common.training.loop import Loop
from shipway.components.common.training.publishing import ENCODERS_FILE
from shipway.components.pytorch.export import export
from shipway.components.pytorch.fitting import fit
from shipway.components.pytorch.training import THREADS, choose
from shipway.components.pytorch.world import World

__all__ = ["prune_pytorch"]

_PROGRAM = "model.pt2"


def prune_pytorch(request: OptimizationRequest, settings: PruningSettings, train: str | Path = "") -> ModelDescription:
    """Sets the smallest weights of a model to 0, trains the others on, and exports it; returns ``model.json``.

    Matrices and kernels are ranked together; biases, embeddings and the preprocessing stay. The network comes out of
    ``model.pt2``, as it answers: dropout is off and statistics that it gathered while training are fixed.

    Args:
        request: Which model, and what it may cost.
        settings: How to prune.
        train: Dataset directory to fine-tune on; not read where ``fine_tune_epochs`` is 0.

    Raises:
        InputError: When the model has no network to train, or the data does not fit it or cannot be learned from.
        DataRejected: When a metric gets worse than a bound allows.
        Preempted: When it was stopped; run again it starts again.
    """
    parent = verify_files(request.parent)
    network = _network(Path(request.parent))
    weights = _prunable(network)
    kept = kept_weights([weight.detach().numpy() for weight in weights.values()], settings.sparsity)
    masked = _Masked(network, {name: torch.from_numpy(mask) for name, mask in zip(weights, kept, strict=True)})
    encoders = Encoders.from_json(read_json(Path(request.parent) / ENCODERS_FILE))
    digests = None
    if settings.fine_tune_epochs:
        digests = _fine_tuned(masked, request, settings, parent, encoders, train).digests
    masked.settle()
    return publish_optimized(
        request,
        "pruning",
        {**asdict(settings), "prunable_weights": sum(mask.size for mask in kept)},
        lambda directory: export(network, encoders, parent.label_names, directory),
        digests,
    )


class _Masked(nn.Module):
    """A network some of whose weights are 0 and stay so: they are, and learn, nothing.

    Args:
        network: The network, which gives logits.
        masks: By parameter: False where the weight is 0.
    """

    def __init__(self, network: nn.Module, masks: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(masks)
        for position, mask in enumerate(masks.values()):
            self.register_buffer(f"mask_{position}", mask)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Returns logits ``[rows, classes]``."""
        return functional_call(self.network, self._weights(), (numeric, categorical))

    @torch.no_grad()
    def settle(self) -> None:
        """Writes the zeros into the network itself."""
        for name, weight in self._weights().items():
            self.network.get_parameter(name).copy_(weight)

    def _weights(self) -> dict[str, Tensor]:
        return {
            name: self.network.get_parameter(name) * self.get_buffer(f"mask_{position}")
            for position, name in enumerate(self._names)
        }


def _network(model: Path) -> fx.GraphModule:
    """Returns what ``model.pt2`` holds without the softmax at its end: it gives logits and can be trained."""
    if not (model / _PROGRAM).is_file():
        raise InputError(
            f"the model at {model} has no {_PROGRAM}: only what train_pytorch made can be pruned, before quantization"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module = torch.export.load(model / _PROGRAM).module(check_guards=False)
    output = next(node for node in module.graph.nodes if node.op == "output")
    last: Any = output.args[0][0]
    if last.target is not torch.ops.aten.softmax.int:
        raise InputError(f"{model / _PROGRAM} ends with {last.target}, not a softmax; was it written by train_pytorch?")
    output.args = (last.args[0],)
    module.graph.erase_node(last)
    module.graph.set_codegen(fx.graph.CodeGen())
    return fx.GraphModule(module, module.graph)  # what was exported refuses to be trained; this does not


def _prunable(network: fx.GraphModule) -> dict[str, nn.Parameter]:
    """Returns the matrices and kernels by name."""
    embeddings = {
        node.args[0].target for node in network.graph.nodes if node.target is torch.ops.aten.embedding.default
    }
    return {name: p for name, p in network.named_parameters() if p.ndim >= 2 and name not in embeddings}


def _fine_tuned(
    network: nn.Module,
    request: OptimizationRequest,
    settings: PruningSettings,
    parent: ModelDescription,
    encoders: Encoders,
    train: str | Path,
) -> TrainingData:
    hyperparameters = fine_tuning(parent, settings)
    asked = TrainingRequest(
        train=str(train),
        validation=request.validation,
        model=request.model,
        curves=request.report,
        label=parent.label,
        model_name=parent.name,
        hyperparameters=hyperparameters,
        devices=1,
    )
    data = open_training_data(asked.train, asked.validation, asked.label, hyperparameters, encoders)
    check_classes(parent, data.label_names)
    chosen = choose(asked)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True, warn_only=chosen.name == "gpu")
    torch.manual_seed(settings.seed)
    with interruptions() as stop:
        loop = Loop(asked, data, World(), None, stop)
        with memory_for(loop.schedule.rows_per_step):
            fit(loop, chosen, World(), network)
    return data
