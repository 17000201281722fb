"""Pruning of TensorFlow models."""

from kfp import dsl

from shipway.components.tensorflow.components.image import IMAGE

__all__ = ["prune_tensorflow"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prune_tensorflow(
    parent: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    network_code: dsl.Input[dsl.Artifact] = None,
    sparsity: float = 0.5,
    fine_tune_epochs: int = 3,
    learning_rate: float = 0.001,
    seed: int = 0,
    max_loss_of_roc_auc: float = 0.005,
    max_rise_of_log_loss: float = 0.01,
) -> None:
    """Sets the smallest weights of a model of train_tensorflow to 0 and trains the others on.

    The kernels of all layers are ranked together; biases, embeddings and the preprocessing stay. The network is built
    again as in its training and takes its weights from the SavedModel; a training step of its own is not used.

    Args:
        parent: The Model to start from; not a quantized one.
        train: Prepared Dataset to fine-tune on, as the Model was trained with.
        validation: Prepared Dataset that chooses the epoch and that the metrics are measured on.
        model: As train_tensorflow makes it; ``model.json`` has ``training.optimization`` with sizes, latencies and
            metrics before and after.
        metrics: ``<what>_before`` and ``<what>_after``: ``bytes``, ``gzip_bytes``, ``weights``, ``nonzero_weights``,
            ``roc_auc``, ``log_loss`` (nats), and of 1 and of 64 rows ``latency_<rows>_median_us`` and
            ``latency_<rows>_p99_us`` (microseconds, ONNX Runtime on one thread of the CPU).
        report: The same as a page; written for a refused model too.
        network_code: The code that the Model's network was trained with, where it is your own and not installed.
        sparsity: Share of the weights in kernels to set to 0, above 0 and below 1.
        fine_tune_epochs: Passes over the training split afterwards; 0 prunes and no more.
        learning_rate: The highest of the fine-tuning, above 0.
        seed: Of the order of the rows and dropout.
        max_loss_of_roc_auc: How far the ROC AUC may fall, 0 to 1.
        max_rise_of_log_loss: How far the log loss may rise, in nats, at least 0.

    Raises:
        DataRejected: When a metric gets worse than that; no model is published.
        Preempted: When it was stopped; run again it starts again.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.optimization.publishing import metrics_of
        from shipway.components.common.optimization.settings import OptimizationRequest, PruningSettings
        from shipway.components.tensorflow.pruning import prune_tensorflow

        places = (parent.path, validation.path, model.path, report.path)
        description = prune_tensorflow(
            OptimizationRequest(*places, max_loss_of_roc_auc, max_rise_of_log_loss),
            PruningSettings(sparsity, fine_tune_epochs, learning_rate, seed),
            train.path,
            network_code.path if network_code else "",
        )
        model.metadata.update(description.summary)
        for name, value in metrics_of(description).items():
            metrics.log_metric(name, value)
