"""One process of a training on several devices or nodes: ``python -m … REQUEST.json`` under torchrun.

``train``, ``validation`` and ``model`` of the request may be URIs: each process downloads the splits, and process 0
publishes the Model directory as a version.
"""

from __future__ import annotations

import os
import sys

from shipway.components.common.process import ERROR_FILE_VARIABLE, step
from shipway.components.common.training.placement import placed
from shipway.components.pytorch.training import choose_own, train_in
from shipway.components.pytorch.world import World


def main(request_file: str) -> None:
    """Trains as one of the processes that torchrun started."""
    with placed(request_file) as request:
        if request is None:
            return
        chosen = choose_own(request)
        world = World.joined(chosen.name == "gpu")
        try:
            train_in(world, chosen, request)
        finally:
            world.leave()


if __name__ == "__main__":
    if ERROR_FILE_VARIABLE in os.environ:  # of several that fail, the first one's word counts
        os.environ[ERROR_FILE_VARIABLE] += f".{os.environ['LOCAL_RANK']}"
    with step():
        main(sys.argv[1])
