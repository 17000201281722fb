"""Magnitude pruning of a trained model, with fine-tuning of the weights that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.optimization.pruning import check_classes, fine_tuning, kept_weights
from shipway.components.common.optimization.publishing import publish_optimized
from shipway.components.common.optimization.settings import OptimizationRequest, PruningSettings
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training import (
    NetworkSpec,
    TrainingData,
    TrainingRequest,
    find_builder,
    memory_for,
    open_training_data,
    users_code,
)
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.common.training.interruption import interruptions
from shipway.components.common.training.loop import Loop
from shipway.components.common.training.publishing import ENCODERS_FILE
from shipway.components.tensorflow.export import export
from shipway.components.tensorflow.fitting import fit
from shipway.components.tensorflow.network import NETWORKS, logits_of
from shipway.components.tensorflow.step import in_precision
from shipway.components.tensorflow.training import choose, configure
from shipway.components.tensorflow.world import World

__all__ = ["prune_tensorflow"]

_VARIABLES = "saved_model/variables/variables"
_VARIABLE = "variables_of_network/{}/.ATTRIBUTES/VARIABLE_VALUE"

Array = np.ndarray[Any, Any]


def prune_tensorflow(
    request: OptimizationRequest, settings: PruningSettings, train: str | Path = "", network_code: str = ""
) -> ModelDescription:
    """Sets the smallest weights of a model to 0, trains the others on, and exports it; returns ``model.json``.

    The kernels of all layers are ranked together; biases, embeddings and the preprocessing stay. The network is built
    again as its training built it and takes its weights from the SavedModel.

    Args:
        request: Which model, and what it may cost.
        settings: How to prune.
        train: Dataset directory to fine-tune on; not read where ``fine_tune_epochs`` is 0.
        network_code: A Python file or a directory of them with the network's module, where the model was trained with
            one.

    Raises:
        InputError: When the model has no network to train, the network's code builds another one, or the data does not
            fit it or cannot be learned from.
        DataRejected: When a metric gets worse than a bound allows.
        Preempted: When it was stopped; run again it starts again.
    """
    parent = verify_files(request.parent)
    encoders = Encoders.from_json(read_json(Path(request.parent) / ENCODERS_FILE))
    asked = TrainingRequest(
        train=str(train),
        validation=request.validation,
        model=request.model,
        curves=request.report,
        label=parent.label,
        model_name=parent.name,
        network=str(parent.training.get("network", "mlp")),
        network_code=network_code,
        hyperparameters=fine_tuning(parent, settings),
        devices=1,
    )
    chosen = choose(asked)
    configure(asked, chosen)  # before TensorFlow has run anything
    spec = NetworkSpec(encoders, parent.label_names, asked.hyperparameters)
    values = _values(Path(request.parent))
    network = _built(asked, spec, values)
    kept = kept_weights([kernel.numpy() for kernel in _kernels(network)], settings.sparsity)
    masked = _Masked(network, kept)
    digests = None
    if settings.fine_tune_epochs:
        digests = _fine_tuned(masked, asked, chosen, spec, values, kept, parent).digests
    masked.settle()
    return publish_optimized(
        request,
        "pruning",
        {**asdict(settings), "prunable_weights": sum(mask.size for mask in kept)},
        lambda directory: export(network, encoders, parent.label_names, directory),
        digests,
    )


class _Masked(keras.Model):
    """A network some of whose weights are 0 and stay so: they are, and learn, nothing.

    Args:
        network: The network, which gives logits.
        kept: By kernel: False where the weight is 0.
    """

    def __init__(self, network: keras.Model, kept: Sequence[Array]) -> None:
        super().__init__(name="masked")
        self.network = network
        self._factors = [tf.constant(mask, kernel.dtype) for kernel, mask in zip(_kernels(network), kept, strict=True)]

    def call(self, numeric: tf.Tensor, categorical: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits ``[rows, classes]``."""
        with keras.StatelessScope(state_mapping=self._weights()) as scope:
            logits = logits_of(self.network, numeric, categorical, training)
        for variable in self.network.non_trainable_variables:
            changed = scope.get_current_value(variable)
            if changed is not None:
                variable.assign(changed)
        return logits

    def settle(self) -> None:
        """Writes the zeros into the network itself."""
        for kernel, weights in self._weights():
            kernel.assign(weights)

    def _weights(self) -> list[tuple[keras.Variable, tf.Tensor]]:
        kernels = _kernels(self.network)
        return [(kernel, kernel.value * factor) for kernel, factor in zip(kernels, self._factors, strict=True)]


def _values(model: Path) -> list[Array]:
    """Returns the values of the network's variables, in the order of ``weights``."""
    if not (model / f"{_VARIABLES}.index").is_file():
        raise InputError(
            f"the model at {model} has no saved_model: only what train_tensorflow made can be pruned, before"
            " quantization"
        )
    reader = tf.train.load_checkpoint(str(model / _VARIABLES))
    count = sum(name.startswith("variables_of_network/") for name in reader.get_variable_to_shape_map())
    return [reader.get_tensor(_VARIABLE.format(position)) for position in range(count)]


def _built(asked: TrainingRequest, spec: NetworkSpec, values: Sequence[Array]) -> keras.Model:
    """Returns the network with these values."""
    keras.utils.set_random_seed(spec.hyperparameters.seed)
    keras.utils.clear_session(free_memory=False)  # so that layers are named alike in every run
    network = find_builder(asked.network, asked.network_code, NETWORKS)(spec)
    with users_code(f"{asked.network}, given 2 rows,"):
        logits_of(network, tf.zeros([2, spec.numeric_width]), tf.zeros([2, len(spec.cardinalities)], tf.int64))
    if [tuple(variable.shape) for variable in network.weights] != [value.shape for value in values]:
        raise InputError(
            f"{asked.network} builds a network with other weights than the model has; give it the old code"
        )
    for variable, value in zip(network.weights, values, strict=True):
        variable.assign(value)
    return network


def _kernels(network: keras.Model) -> list[keras.Variable]:
    return [v for v in network.trainable_variables if v.name.endswith("kernel") and len(v.shape) >= 2]


def _fine_tuned(
    network: _Masked,
    asked: TrainingRequest,
    chosen: Accelerator,
    spec: NetworkSpec,
    values: Sequence[Array],
    kept: Sequence[Array],
    parent: ModelDescription,
) -> TrainingData:
    data = open_training_data(asked.train, asked.validation, asked.label, asked.hyperparameters, spec.encoders)
    check_classes(parent, data.label_names)
    with in_precision(chosen.precision):
        trained = _Masked(_built(asked, spec, values), kept)
    with interruptions() as stop:
        loop = Loop(asked, data, World(), None, stop)
        with memory_for(loop.schedule.rows_per_step):
            fit(loop, chosen, World(), network, trained)
    return data
