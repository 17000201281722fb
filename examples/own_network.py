"""A pipeline that trains a network of your own, kept in a file: ``examples/residual_network.py``.

``python -m shipway.examples.own_network`` writes ``own-network.yaml``, for a cluster or ``shipway run``.
"""

from typing import Any

from kfp import dsl
from kfp.compiler import Compiler

from shipway.components import ingest_data, resolve_data, split_data, train_pytorch, transform_data


@dsl.pipeline(name="own-network")
def own_network(
    data_uri: str,
    label: str,
    network: str,
    network_code_uri: str,
    hyperparameters: dict[str, Any] = {},  # noqa: B006 - kfp reads it as a JSON default
) -> None:
    """Splits a table and trains your network on it.

    Args:
        data_uri: Tables, as for train_and_deploy.
        label: The column to predict.
        network: The module and its function: ``residual_network:build``.
        network_code_uri: The module's file, or a directory of modules: on a cluster in a store, here a path too.
        hyperparameters: Of the training; what it does not know is for the network.
    """
    code = dsl.importer(artifact_uri=network_code_uri, artifact_class=dsl.Artifact, reimport=True)
    digest = resolve_data(data_uri=data_uri).set_caching_options(False)
    table = transform_data(tables=ingest_data(data_uri=data_uri, data_digest=digest.output).outputs["tables"])
    split = split_data(dataset=table.outputs["dataset"], label=label)
    train_pytorch(
        train=split.outputs["train"],
        validation=split.outputs["validation"],
        label=label,
        network=network,
        network_code=code.output,
        hyperparameters=hyperparameters,
    )


if __name__ == "__main__":
    Compiler().compile(own_network, "own-network.yaml")
