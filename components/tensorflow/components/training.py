"""Training with TensorFlow."""

from typing import Any

from kfp import dsl

from shipway.components.tensorflow.components.image import IMAGE

__all__ = ["train_tensorflow"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_tensorflow(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.HTML],
    label: str,
    model_name: str = "model",
    network: str = "mlp",
    network_code: dsl.Input[dsl.Artifact] = None,
    epochs: int = 5,
    batch_size: int = 2048,
    learning_rate: float = 0.005,
    hidden_units: list[int] = [128, 64],  # noqa: B006 (kfp writes the default into the component)
    dropout: float = 0.2,
    weight_decay: float = 0.01,
    loss: str = "cross_entropy",
    class_weights: str = "none",
    sampling: str = "shuffle",
    best_metric: str = "roc_auc",
    early_stopping_epochs: int = 0,
    seed: int = 0,
    hyperparameters: dict[str, Any] = {},  # noqa: B006
    accelerator: str = "auto",
    devices: int = 0,
    precision: str = "auto",
    compiled: bool = False,
    checkpoint_uri: str = "",
    checkpoint_interval_seconds: float = 300.0,
    tracking_uri: str = "",
) -> None:
    """Trains a network with TensorFlow: a built-in one for tables or images, or your own.

    Every column but the label and ``sample_weight`` is a feature. Missing and never seen values are handled inside the
    exported model, which takes raw features. The weights that are kept are an average over the latest steps, at the
    best epoch on the validation split. Rows are read from Parquet as they are needed: memory does not grow with them.
    Stopped by SIGTERM, the step saves a checkpoint and ends with 143; run again with the same inputs it goes on.

    Args:
        train: Prepared Dataset to learn from; a column ``sample_weight`` (float, at least 0) weighs its rows.
        validation: Prepared Dataset with the same columns; chooses the epoch.
        model: ``model.json``, ``model.onnx`` (raw features in; ``scores`` and ``label`` out), ``saved_model/`` (raw
            features in),
            ``encoders.json`` (the learned preprocessing), ``golden.json``;
            metadata: name, framework, digest, task, label, rows, accelerator.
        metrics: ``validation_roc_auc`` (macro one-vs-rest for several classes), ``validation_log_loss`` (nats),
            ``rows_per_second``, and of GPUs ``gpu_utilization_percent`` and ``gpu_memory_peak_gib``; what cannot be
            told is left out.
        curves: Losses and ROC AUC by epoch, and whether bias or variance is what to work on.
        label: Name of the label's column: two classes or more; of two, the last in sorted order is the positive one.
        model_name: The name under which the model is released.
        network: ``mlp`` (embeddings of strings, numbers in pieces, a perceptron), ``linear``, ``cnn`` (of one feature
            of lists, an image) or your own, ``package.module:function`` (docs/training.md).
        network_code: A Python file or a directory of them with ``network``'s module, where it is not installed.
        epochs: Passes over the training split, at least 1.
        batch_size: Rows of a step at most; a small training split takes smaller batches, 48 an epoch.
        learning_rate: The highest of the training: it rises over the first tenth, then falls to 0.
        hidden_units: Width of each hidden layer; an empty list makes a linear model.
        dropout: Share of the hidden units left out in each step, from 0 to below 1.
        weight_decay: Of AdamW, at least 0.
        loss: ``cross_entropy`` or ``focal`` (exponent ``focal_gamma`` in ``hyperparameters``, 2).
        class_weights: ``none``, or ``balanced``: every class weighs the same in the loss.
        sampling: ``shuffle`` takes every row once an epoch, ``balanced`` draws every class as often.
        best_metric: ``roc_auc`` or ``log_loss`` (decides between equals too) of the validation split.
        early_stopping_epochs: Ends after so many epochs without a better one; 0 never does.
        seed: Of weights, order and dropout, 0 or more; the same seed, data and code give the same metrics.
        hyperparameters: Any of the above by name, as a tuning returns them, before what is given above; also
            ``focal_gamma``, ``image_shape`` ([height, width, channels]), and what only your network knows.
        accelerator: ``auto`` (every visible GPU, else the CPU), ``cpu`` or ``gpu``.
        devices: How many GPUs, 0 for all; on the CPU, processes.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: what the GPU is fast in; the CPU computes in fp32.
        compiled: Whether to compile the step (XLA); where that fails, training goes on without.
        checkpoint_uri: Directory in any store for checkpoints; empty takes this user's state directory, which a pod
            loses.
        checkpoint_interval_seconds: Time between checkpoints, besides those after each epoch; at least 0.
        tracking_uri: MLflow server; empty takes an SQLite file in the state directory, ``none`` tracks nothing.

    Raises:
        InputError: When the label is missing in a row or has one class, a split is empty, validation has a class that
            training has not, training diverges, memory runs out, the network's code fails, a parameter is out of
            range, a GPU is asked for and none visible, or ``checkpoint_uri`` holds another training.
        Preempted: When it was stopped; its work is saved.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.training import Hyperparameters, TrainingRequest
        from shipway.components.tensorflow.training import train_tensorflow

        settings = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "hidden_units": hidden_units,
            "dropout": dropout,
            "weight_decay": weight_decay,
            "loss": loss,
            "class_weights": class_weights,
            "sampling": sampling,
            "best_metric": best_metric,
            "early_stopping_epochs": early_stopping_epochs,
            "seed": seed,
        }
        description = train_tensorflow(
            TrainingRequest(
                train=train.path,
                validation=validation.path,
                model=model.path,
                curves=curves.path,
                label=label,
                model_name=model_name,
                network=network,
                network_code=network_code.path if network_code else "",
                hyperparameters=Hyperparameters.of({**settings, **hyperparameters}),
                accelerator=accelerator,
                devices=devices,
                precision=precision,
                compiled=compiled,
                checkpoint_uri=checkpoint_uri,
                checkpoint_interval_seconds=checkpoint_interval_seconds,
                tracking_uri=tracking_uri,
            )
        )
        model.metadata.update(description.summary)
        for name, value in description.logged_metrics.items():
            metrics.log_metric(name, value)
