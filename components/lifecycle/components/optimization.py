"""Models made smaller, whatever framework trained them."""

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["quantize_model"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def quantize_model(
    parent: dsl.Input[dsl.Model],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    max_loss_of_roc_auc: float = 0.005,
    max_rise_of_log_loss: float = 0.01,
) -> None:
    """Stores a network's matrices and embeddings in 8 bits and computes with them: dynamic quantization.

    The preprocessing stays exact. A row's scores then depend a little on the rows that are asked together with it.

    Args:
        parent: The Model to start from, of either framework, pruned or not.
        validation: Prepared Dataset that the metrics are measured on, with rows of two classes at least.
        model: ``model.json`` (with ``training.optimization``: sizes, latencies and metrics before and after),
            ``model.onnx``, ``encoders.json``, ``golden.json`` answered anew; no native exports;
            metadata: name, framework, digest, task, label, rows, accelerator.
        metrics: ``<what>_before`` and ``<what>_after``: ``bytes``, ``gzip_bytes``, ``weights``, ``nonzero_weights``,
            ``roc_auc``, ``log_loss`` (nats), and of 1 and of 64 rows ``latency_<rows>_median_us`` and
            ``latency_<rows>_p99_us`` (microseconds, ONNX Runtime on one thread of the CPU).
        report: The same as a page; written for a refused model too.
        max_loss_of_roc_auc: How far the ROC AUC may fall, 0 to 1.
        max_rise_of_log_loss: How far the log loss may rise, in nats, at least 0.

    Raises:
        DataRejected: When a metric gets worse than that; no model is published.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.optimization.publishing import metrics_of
        from shipway.components.common.optimization.quantization import quantize_model
        from shipway.components.common.optimization.settings import OptimizationRequest

        places = (parent.path, validation.path, model.path, report.path)
        description = quantize_model(OptimizationRequest(*places, max_loss_of_roc_auc, max_rise_of_log_loss))
        model.metadata.update(description.summary)
        for name, value in metrics_of(description).items():
            metrics.log_metric(name, value)
