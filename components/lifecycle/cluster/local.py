"""The same training on this machine: as many processes, without a cluster."""

from __future__ import annotations

import os

from shipway.components.common.errors import InputError
from shipway.components.common.training.launching import launch
from shipway.components.common.training.request import TrainingRequest
from shipway.components.lifecycle.cluster.settings import checked_framework

__all__ = ["interpreter", "train_locally"]


def train_locally(request: TrainingRequest, framework: str, processes: int) -> None:
    """Trains with several processes of this machine, in the framework's own environment.

    Raises:
        InputError: When that environment is not known, or a worker ended with one.
        Preempted, ShipwayError: As :func:`shipway.components.common.training.launching.launch`.
    """
    launch(framework, interpreter(framework), request, processes)


def interpreter(framework: str) -> str:
    """Returns the interpreter of a framework's environment, which ``shipway run`` names in a variable.

    Raises:
        InputError: When it does not.
    """
    variable = f"SHIPWAY_PYTHON_{checked_framework(framework).upper()}"
    if python := os.environ.get(variable):
        return python
    raise InputError(
        f"{variable} does not name an interpreter: this image has no {framework}; train with target=kubernetes, or"
        " start the pipeline with `shipway run`"
    )
