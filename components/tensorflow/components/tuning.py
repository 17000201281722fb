"""Tuning of TensorFlow networks."""

from typing import Any

from kfp import dsl

from shipway.components.tensorflow.components.image import IMAGE

__all__ = ["tune_tensorflow"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tune_tensorflow(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    trials_found: dsl.Output[dsl.Artifact],
    label: str,
    model_name: str = "model",
    network: str = "mlp",
    network_code: dsl.Input[dsl.Artifact] = None,
    test: dsl.Input[dsl.Dataset] = None,
    hyperparameters: dict[str, Any] = {},  # noqa: B006
    space: dict[str, Any] = {},  # noqa: B006
    sampler: str = "tpe",
    pruning: str = "median",
    trials: int = 20,
    timeout_seconds: float = 0.0,
    parallel_trials: int = 1,
    tuning_seed: int = 0,
    learning_curve_fractions: list[float] = [],  # noqa: B006
    study_uri: str = "",
    accelerator: str = "auto",
    devices: int = 0,
    precision: str = "auto",
    compiled: bool = False,
) -> dict[str, Any]:
    """Tries hyperparameters of Keras networks; returns the best, with their model and what trying brought.

    The first trial has the given ones; the report compares the best with them on ``test``. Trials that diverge or lack
    memory are recorded, and the study goes on; stopped or killed and run again too. See docs/tuning.md.

    Args:
        train: Prepared Dataset that every trial learns from.
        validation: Prepared Dataset that judges the trials.
        model: The best trial's, as train_tensorflow makes it.
        metrics: The best trial's; how many trials there were, pruned and failed; with ``test``, ``test_roc_auc_gain``
            over the given hyperparameters, with its 95 % interval.
        report: Best against given, the trials, importances, bias or variance, more rows.
        trials_found: ``trials.json``, what the report shows.
        label: Name of the label's column.
        model_name: The name under which the model is released.
        network: As for train_tensorflow.
        network_code: As for train_tensorflow.
        test: Prepared Dataset that no trial sees.
        hyperparameters: The given ones by name, as train_tensorflow takes them.
        space: What to choose from, by name: ``{"type": "float"|"int", "low", "high", "log", "step"}`` or
            ``{"type": "categorical", "values"}``, with the given values among them; empty takes one for tables.
        sampler: ``tpe`` (Bayesian), ``random`` or ``grid``.
        pruning: Which trials end early: ``none``, ``median`` or ``hyperband``.
        trials: How many at most; raised later, the study goes on.
        timeout_seconds: No trial begins after that; 0 for no limit.
        parallel_trials: How many train at once, in processes that share the GPUs out.
        tuning_seed: Of what is tried.
        learning_curve_fractions: Parts of the training rows, such as [0.1, 0.3], to train on too.
        study_uri: Directory in any store; empty takes the state directory, which a pod loses.
        accelerator: As for train_tensorflow.
        devices: Of each trial; 0 for one. On several, none is pruned.
        precision: As for train_tensorflow.
        compiled: As for train_tensorflow.

    Returns:
        The best hyperparameters, all of them, as train_tensorflow takes them.

    Raises:
        InputError: When the space is wrong, ``study_uri`` holds another study, or every trial failed.
        ConflictError: When another process is tuning there.
        Preempted: When it was stopped; the study is saved.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.components.common.training import Hyperparameters, TrainingRequest
        from shipway.components.common.tuning.search_space import DEFAULT_SPACE, SearchSpace
        from shipway.components.common.tuning.settings import TuningSettings
        from shipway.components.common.tuning.study import tune, write_trials
        from shipway.components.tensorflow.training import train_tensorflow

        request = TrainingRequest(
            train=train.path,
            validation=validation.path,
            model=model.path,
            curves=report.path,
            label=label,
            model_name=model_name,
            network=network,
            network_code=network_code.path if network_code else "",
            hyperparameters=Hyperparameters.of(hyperparameters),
            accelerator=accelerator,
            devices=devices,
            precision=precision,
            compiled=compiled,
        )
        settings = TuningSettings(
            space=SearchSpace.of(space or DEFAULT_SPACE),
            sampler=sampler,
            pruning=pruning,
            trials=trials,
            timeout_seconds=timeout_seconds,
            parallel_trials=parallel_trials,
            seed=tuning_seed,
            study_uri=study_uri,
            test=test.path if test else "",
            learning_curve_fractions=tuple(learning_curve_fractions),
        )
        result = tune(request, train_tensorflow, settings)
        model.metadata.update(result.description.summary)
        for name, value in result.metrics.items():
            metrics.log_metric(name, value)
        write_trials(trials_found.path, result)
    return result.best_json
