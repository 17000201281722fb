"""One process of a training on several devices or nodes: ``python -m … REQUEST.json`` with ``TF_CONFIG``.

``train``, ``validation`` and ``model`` of the request may be URIs: each process downloads the splits, and process 0
publishes the Model directory as a version.
"""

from __future__ import annotations

import sys

from shipway.components.common.process import step
from shipway.components.common.training.placement import placed
from shipway.components.tensorflow.training import choose_own, configure, train_in
from shipway.components.tensorflow.world import Cluster, World


def main(request_file: str) -> None:
    """Trains as one of the processes that ``TF_CONFIG`` names."""
    with placed(request_file) as request:
        if request is None:
            return
        cluster = Cluster.from_environment()
        chosen = choose_own(request, cluster.size)
        configure(request, chosen, cluster.here)
        train_in(World.joined(cluster), chosen, request)


if __name__ == "__main__":
    with step():
        main(sys.argv[1])
