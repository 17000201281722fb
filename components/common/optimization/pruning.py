"""Which weights magnitude pruning keeps, and the hyperparameters that those are trained with afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription
from shipway.components.common.optimization.settings import PruningSettings
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["check_classes", "fine_tuning", "kept_weights"]

Array = np.ndarray[Any, Any]


def kept_weights(weights: Sequence[Array], sparsity: float) -> list[Array]:
    """Returns which weights stay: bool arrays, False for the smallest magnitudes of all arrays together.

    The method is that of Han et al., *Learning both Weights and Connections for Efficient Neural Networks* (2015), with
    one ranking for the whole network. Of equal magnitudes the first ones go, so that exactly the share asked for does.

    Args:
        weights: One array per matrix or kernel.
        sparsity: Share to remove, from 0 to below 1.

    Raises:
        InputError: When there are no weights.
    """
    if not weights:
        raise InputError("the network has no matrix and no kernel: there is nothing to prune")
    magnitudes = np.concatenate([np.abs(array).ravel() for array in weights])
    kept = np.ones(len(magnitudes), bool)
    kept[np.argsort(magnitudes, kind="stable")[: round(sparsity * len(magnitudes))]] = False
    parts = np.split(kept, np.cumsum([array.size for array in weights])[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, weights, strict=True)]


def fine_tuning(parent: ModelDescription, settings: PruningSettings) -> Hyperparameters:
    """Returns the hyperparameters of the parent's training but for what the pruning sets itself.

    Raises:
        InputError: When ``model.json`` tells hyperparameters that are none.
    """
    names = {field.name for field in fields(Hyperparameters)}
    told = {name: value for name, value in parent.training.items() if name in names}
    return replace(
        Hyperparameters.of(told),
        epochs=max(1, settings.fine_tune_epochs),
        learning_rate=settings.learning_rate,
        early_stopping_epochs=0,
        seed=settings.seed,
    )


def check_classes(parent: ModelDescription, names: Sequence[str]) -> None:
    """Checks that the classes of the training split are the model's.

    Raises:
        InputError: When they are not.
    """
    if tuple(names) != parent.label_names:
        raise InputError(
            f"the training split has the classes {', '.join(names)}, the model {parent.name} has"
            f" {', '.join(parent.label_names)}: fine-tune on rows of all its classes and no others"
        )
