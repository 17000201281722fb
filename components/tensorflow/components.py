"""The TensorFlow family's components."""

from kfp import dsl

__all__ = ["train_tensorflow"]

IMAGE = "shipway/tensorflow:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_tensorflow(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.HTML],
    label: str,
    model_name: str = "model",
    epochs: int = 5,
    batch_size: int = 2048,
    learning_rate: float = 0.005,
    hidden_units: list[int] = [128, 64],  # noqa: B006 (kfp writes the default into the component)
    dropout: float = 0.2,
    seed: int = 0,
    accelerator: str = "auto",
) -> None:
    """Trains the built-in network for tables with TensorFlow: embeddings of strings, numbers in pieces, a perceptron.

    Every column but the label and ``sample_weight`` is a feature. Missing and never seen values are handled inside the
    exported model, which takes raw features. The weights that are kept are an average over the latest steps, at the
    epoch with the highest ROC AUC on the validation split (log loss decides between equals).

    Args:
        train: Prepared Dataset to learn from; a column ``sample_weight`` (float, at least 0) weighs its rows.
        validation: Prepared Dataset with the same columns; chooses the epoch.
        model: ``model.json``, ``model.onnx`` (raw features in; ``scores`` and ``label`` out), ``saved_model/`` (raw
            features in),
            ``encoders.json`` (the learned preprocessing), ``golden.json``;
            metadata: name, framework, digest, task, label, rows, accelerator.
        metrics: ``validation_roc_auc`` (macro one-vs-rest for several classes), ``validation_log_loss`` (nats);
            what the split cannot define is left out.
        curves: Losses and ROC AUC by epoch.
        label: Name of the label's column: two classes or more; of two, the last in sorted order is the positive one.
        model_name: The name under which the model is released.
        epochs: Passes over the training split, at least 1.
        batch_size: Rows of a step at most; a small training split takes smaller batches, 48 an epoch.
        learning_rate: The highest of the training: it rises over the first tenth, then falls to 0.
        hidden_units: Width of each hidden layer; an empty list makes a linear model.
        dropout: Share of the hidden units left out in each step, from 0 to below 1.
        seed: Of weights, order and dropout, 0 or more; the same seed, data and code give the same metrics.
        accelerator: ``auto`` (every visible GPU, else the CPU), ``cpu`` or ``gpu``.

    Raises:
        InputError: When the label is missing in a row or has one class, a split is empty, validation has a class that
            training has not, training diverges, a parameter is out of range, or a GPU is asked for and none visible.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.training import Hyperparameters
        from shipway.components.tensorflow.training import train_tensorflow

        description = train_tensorflow(
            train.path,
            validation.path,
            model.path,
            curves.path,
            label,
            model_name,
            Hyperparameters(
                epochs, batch_size, learning_rate, tuple(int(units) for units in hidden_units), dropout, seed
            ),
            accelerator,
        )
        model.metadata.update(description.summary)
        for name, value in description.metrics.items():
            if value is not None:
                metrics.log_metric(name, value)
