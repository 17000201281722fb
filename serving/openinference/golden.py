"""Whether a model answers its golden requests as it did after training."""

from __future__ import annotations

import numpy as np

from shipway.components.common.errors import DeploymentError
from shipway.components.common.model import Golden
from shipway.serving.engines.engine import Engine
from shipway.serving.openinference.door import tensors_of_instances

__all__ = ["golden_check"]


def golden_check(engine: Engine, golden: Golden) -> None:
    """Has an engine answer its model's golden requests.

    Raises:
        DeploymentError: When an answer is not the recorded one within the tolerance.
    """
    description = engine.description
    scores, labels = engine.run(tensors_of_instances(description.inputs, {"instances": list(golden.instances)}))
    distance = float(np.abs(scores - np.array(golden.scores)).max())
    # The comparison is this way round so that NaN fails.
    if not distance <= golden.tolerance or list(labels) != list(golden.labels):
        raise DeploymentError(
            f"the model {description.name} does not answer its golden requests as it did after training:"
            f" the scores differ by up to {distance:.2g}, {golden.tolerance:g} is allowed"
        )
