"""Models judged: on the same rows, beside baselines and the champion."""

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["evaluate_model", "predict", "predict_champion", "select_model", "train_baselines"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_baselines(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    baselines: dsl.Output[dsl.Artifact],
    label: str,
    seed: int = 0,
) -> None:
    """Train scikit-learn's gradient boosting and a logistic regression to judge the candidates by.

    Both learn from the candidates' features, rows and weights; boosting stops when validation gets no better.

    Args:
        train: Prepared Dataset (``part-*.parquet``): features, label, optionally ``sample_weight``.
        validation: Prepared Dataset.
        test: Prepared Dataset.
        baselines: ``metrics.json``: ``name``, ``title``, ``overall`` and ``roc_curves`` per baseline.
        label: The label's column; two or more classes.
        seed: Of both models.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import baselines as logic

    with step():
        result = logic.train_baselines(train.path, validation.path, test.path, baselines.path, label, seed)
        for entry in result["baselines"]:
            baselines.metadata[f"{entry['name']}_roc_auc"] = entry["overall"]["roc_auc"]["value"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def predict(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    predictions: dsl.Output[dsl.Dataset],
    label: str,
    slice_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
) -> None:
    """Score a Dataset with a model's ONNX graph, the one that is served.

    Args:
        dataset: Prepared Dataset with every feature of the model; null, NaN and the empty string are missing values.
        model: Model directory; its files are checked against ``model.json``.
        predictions: ``predictions.parquet``: ``key`` (int64, row number from 0), ``label`` (string), ``score_<class>``
            (float32, 0 to 1), the slice columns; ``predictions.json`` names the model.
        label: The label's column.
        slice_columns: Columns to carry along for evaluate_model.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import prediction

    with step():
        metadata = prediction.predict(dataset.path, model.path, predictions.path, label, slice_columns)
        predictions.metadata.update(metadata)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def predict_champion(
    dataset: dsl.Input[dsl.Dataset],
    champion: str,
    predictions: dsl.Output[dsl.Dataset],
    label: str,
    slice_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
) -> None:
    """Score a Dataset with the champion, for comparison on the same rows; it is an error when it cannot.

    Args:
        dataset: As for predict.
        champion: A release's URI, from resolve_champion; empty for none. One in a store is fetched, and checked.
        predictions: As for predict; without a champion ``predictions.json`` alone.
        label: The label's column.
        slice_columns: Columns to carry along.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import prediction

    with step():
        metadata = prediction.predict_champion(dataset.path, champion, predictions.path, label, slice_columns)
        predictions.metadata.update(metadata)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_model(
    model: dsl.Input[dsl.Model],
    predictions: dsl.Input[dsl.Dataset],
    champion_predictions: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification_metrics: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    slice_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    min_auc: float = 0.0,
    min_auc_gain_over_baseline: float = -1.0,
    max_loss_vs_champion: float = 1.0,
    seed: int = 0,
) -> None:
    """Measure a model with 95 % intervals, by slices and against the champion, and bless it or not.

    Without a threshold that can be checked nothing is blessed. With several classes ROC AUC is one-vs-rest, averaged.

    Args:
        model: The Model that the predictions were made with.
        predictions: From predict.
        champion_predictions: From predict_champion, same rows.
        evaluation: ``metrics.json`` (overall, chance as baseline, champion, slices, ROC curves, confusion matrix) and
            ``blessing.json`` (blessed or not, every reason, the model's digest).
        metrics: The main numbers for the KFP UI.
        classification_metrics: Confusion matrix and, with two classes, the ROC curve for the KFP UI.
        report: The same as a page.
        slice_columns: Columns of the predictions; the 20 most frequent values with 50 rows and two classes are slices.
        min_auc: ROC AUC must be at least this; 0 is no threshold.
        min_auc_gain_over_baseline: ROC AUC must exceed that of chance (0.5) by more than this; -1 is no threshold.
        max_loss_vs_champion: ROC AUC may lie at most this far below the champion's; 1, or no champion, is no threshold.
        seed: Of the bootstrap behind PR AUC's interval.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import evaluation as logic
    from shipway.components.lifecycle.gate import Thresholds

    with step():
        thresholds = Thresholds.of_bounds(min_auc, min_auc_gain_over_baseline, max_loss_vs_champion)
        inputs = (model.path, predictions.path, champion_predictions.path)
        summary = logic.evaluate_model(*inputs, evaluation.path, report.path, slice_columns, thresholds, seed)
        evaluation.metadata.update(summary.headline)
        for name, value in summary.headline.items():
            metrics.log_metric(name, value)
        classification_metrics.log_confusion_matrix(*summary.confusion_matrix)
        if summary.roc_curve:
            classification_metrics.log_roc_curve(*summary.roc_curve)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select_model(
    tensorflow_model: dsl.Input[dsl.Model],
    tensorflow_evaluation: dsl.Input[dsl.Artifact],
    pytorch_model: dsl.Input[dsl.Model],
    pytorch_evaluation: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    require_blessing: bool = False,
) -> str:
    """Pick the blessed candidate with the higher validation ROC AUC; of equals the one with the lower log loss there.

    Args:
        tensorflow_model: The TensorFlow candidate.
        tensorflow_evaluation: Its Evaluation.
        pytorch_model: The PyTorch candidate.
        pytorch_evaluation: Its Evaluation.
        model: A copy of the chosen one; empty when none is blessed.
        evaluation: A copy of its Evaluation, likewise.
        require_blessing: Whether it is an error (DataRejected, with every reason) that none is blessed.

    Returns:
        ``tensorflow``, ``pytorch``, or the empty string when none is blessed.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import selection

    with step():
        candidates = {
            "tensorflow": (tensorflow_model.path, tensorflow_evaluation.path),
            "pytorch": (pytorch_model.path, pytorch_evaluation.path),
        }
        selected = selection.select_model(candidates, model.path, evaluation.path, require_blessing)
        model.metadata["selected"] = selected
    return selected
