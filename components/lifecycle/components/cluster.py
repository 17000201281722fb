"""Training on more than one machine."""

from typing import Any

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["train_distributed"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_distributed(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.HTML],
    label: str,
    framework: str = "pytorch",
    model_name: str = "model",
    network: str = "mlp",
    network_code: dsl.Input[dsl.Artifact] = None,
    hyperparameters: dict[str, Any] = {},  # noqa: B006 (kfp writes the default into the component)
    target: str = "kubernetes",
    nodes: int = 2,
    devices_per_node: int = 1,
    accelerator: str = "cpu",
    precision: str = "auto",
    compiled: bool = False,
    namespace: str = "",
    cluster: dict[str, str] = {},  # noqa: B006
    output_uri: str = "",
    checkpoint_uri: str = "",
    checkpoint_interval_seconds: float = 300.0,
    tracking_uri: str = "",
    timeout_seconds: int = 86400,
    delete_on_stop: bool = False,
) -> None:
    """Train one model on several nodes by a TrainJob of Kubeflow Trainer v2, or in several processes of this machine.

    The step repeats what node 0 prints and collects the model that it publishes. A retry finds its TrainJob, or its
    model, by what it asks for; a failed TrainJob goes on from its checkpoints. See docs/distributed-training.md.

    Args:
        train: Prepared Dataset; for a cluster in ``s3://``, ``minio://`` or ``gs://``.
        validation: Likewise, with the same columns; chooses the epoch.
        model: As train_pytorch or train_tensorflow makes it.
        metrics: As theirs.
        curves: As theirs.
        label: Name of the label's column.
        framework: ``pytorch`` (torchrun) or ``tensorflow`` (``TF_CONFIG``).
        model_name: The name under which the model is released.
        network: As for train_pytorch.
        network_code: As for train_pytorch.
        hyperparameters: Any of train_pytorch's by name, from ``epochs`` on.
        target: ``kubernetes``, or ``local``: ``nodes x devices_per_node`` processes here.
        nodes: Pods that train together.
        devices_per_node: GPUs of a node; with PyTorch, processes on its CPUs.
        accelerator: ``cpu`` or ``gpu``; with target ``local`` also ``auto``.
        precision: As for train_pytorch.
        compiled: Whether to compile the step.
        namespace: Of the TrainJob; empty takes the step's.
        cluster: Any of ``cpu`` ("4") and ``memory`` ("16Gi") of a node, ``gpu_resource`` ("nvidia.com/gpu"),
            ``runtime`` ("shipway-<framework>"), ``image`` (the runtime's), ``storage_secret`` ("shipway-storage").
        output_uri: Directory in a store for model and checkpoints; empty takes one beside the step's outputs.
        checkpoint_uri: Directory in a store; empty takes ``checkpoints`` below output_uri.
        checkpoint_interval_seconds: Time between checkpoints, besides those after each epoch; at least 0.
        tracking_uri: MLflow server, without a password; empty tracks nothing on a cluster.
        timeout_seconds: How long the TrainJob may run, and is waited for.
        delete_on_stop: Whether stopping the step ends the TrainJob too.

    Raises:
        InputError: When the cluster refuses it, a Dataset is not in a store, an image or Secret is missing, or training
            ends with one.
        Preempted: When it was stopped or time is up; run again to go on.
        TransientError: When there was no room for a node, or the cluster cannot be reached.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.training import Hyperparameters, TrainingRequest
        from shipway.components.lifecycle.cluster import train_distributed as logic
        from shipway.components.lifecycle.cluster.settings import Cluster

        request = TrainingRequest(
            train=train.path,
            validation=validation.path,
            model=model.path,
            curves=curves.path,
            label=label,
            model_name=model_name,
            network=network,
            network_code=network_code.path if network_code else "",
            hyperparameters=Hyperparameters.of(hyperparameters),
            accelerator=accelerator,
            precision=precision,
            compiled=compiled,
            checkpoint_uri=checkpoint_uri,
            checkpoint_interval_seconds=checkpoint_interval_seconds,
            tracking_uri=tracking_uri,
        )
        place = Cluster.of(cluster, namespace, nodes, devices_per_node, timeout_seconds)
        uris = {"train": train.uri, "validation": validation.uri}
        if network_code:
            uris["network_code"] = network_code.uri
        output = output_uri or model.uri.rpartition("/")[0] + "/distributed"
        description = logic.train_distributed(request, framework, target, place, uris, output, delete_on_stop)
        model.metadata.update(description.summary)
        for name, value in description.logged_metrics.items():
            metrics.log_metric(name, value)
