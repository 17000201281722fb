"""From raw tables to a served model: the pipeline that the demo runs."""

from typing import Any

from kfp import dsl

from shipway.components import (
    create_release,
    deploy_model,
    evaluate_model,
    generate_statistics,
    infer_schema,
    ingest_data,
    predict,
    predict_champion,
    prepare_data,
    promote_model,
    resolve_champion,
    resolve_data,
    resolve_schema,
    select_model,
    smoke_test,
    split_data,
    train_baselines,
    train_pytorch,
    train_tensorflow,
    transform_data,
    validate_data,
)

__all__ = ["train_and_deploy"]


@dsl.pipeline(
    name="train-and-deploy",
    description="Validates tabular data, trains with TensorFlow and PyTorch, releases and serves the better one",
)
def train_and_deploy(
    data_uri: str,
    label: str,
    sql: str = "",
    time_column: str = "",
    validation_from: str = "",
    test_from: str = "",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    group_column: str = "",
    key_columns: list[str] = [],  # noqa: B006 - kfp reads it as a JSON default
    schema_uri: str = "",
    on_anomaly: str = "fail",
    checks: dict[str, Any] = {},  # noqa: B006
    rules: list[dict[str, str]] = [],  # noqa: B006
    exclude_columns: list[str] = [],  # noqa: B006
    imbalance: str = "none",
    missing_values: str = "model",
    slice_columns: list[str] = [],  # noqa: B006
    network: str = "mlp",
    hyperparameters: dict[str, Any] = {},  # noqa: B006
    accelerator: str = "auto",
    checkpoint_uri: str = "",
    tracking_uri: str = "",
    seed: int = 0,
    min_auc: float = 0.0,
    min_auc_gain_over_baseline: float = 0.0,
    max_loss_vs_champion: float = 0.005,
    require_blessing: bool = False,
    model_name: str = "model",
    release_repository: str = "",
    endpoint_name: str = "",
    endpoint_port: int = 0,
    target: str = "local",
) -> None:
    """Trains two candidates on one table and serves the better one that passes the gate.

    Args:
        data_uri: A CSV or Parquet file, or a directory of them: a path, ``gs://``, ``s3://``, ``pvc://`` or ``file://``;
            or the ``https://`` address of a file.
        label: The column to predict, of two or more classes.
        sql: One DuckDB query over the tables, each named by its file's stem; empty takes the only table as it is.
        time_column: Splits by time along this column; empty splits at random, stratified by the label.
        validation_from: With ``time_column``: where the validation split begins (ISO 8601); empty goes by fraction.
        test_from: With ``time_column``: where the test split begins (ISO 8601); empty goes by fraction.
        validation_fraction: Share of rows for validation, between 0 and 1.
        test_fraction: Share of rows for the test, between 0 and 1.
        group_column: Rows of one value (a patient, a household) stay in one split; not with ``time_column``.
        key_columns: The columns that together name a row; left out of the features.
        schema_uri: A curated TFDV schema (``.pbtxt``), wherever ``data_uri`` may lie; empty infers one from the
            training split.
        on_anomaly: ``fail`` stops the run at an anomaly of the training or test split, ``warn`` goes on,
            ``quarantine`` sets the offending rows aside and goes on with the others.
        checks: Severities and settings by the name of a check (``shipway data checks`` lists them).
        rules: What must hold in every row: ``{"name", "expression"}`` each, in DuckDB's SQL.
        exclude_columns: Columns that must not become features: keys, and what is known only after the fact.
        imbalance: ``none``, ``weights``, ``smote`` or ``undersample``; touches the training split only. Balancing
            makes scores too high for a rare class, so it is not the default.
        missing_values: ``model`` (handled inside the model), ``impute`` or ``drop_rows``.
        slice_columns: Columns by whose values the metrics are broken down.
        network: ``mlp``, ``linear``, ``cnn`` (of one column of lists, an image), or ``package.module:function``.
        hyperparameters: Of both trainings by name, such as ``{"epochs": 10}``; see ``train_pytorch``.
        accelerator: ``auto`` takes the GPUs that are there, ``cpu`` or ``gpu`` insist.
        checkpoint_uri: Directory in any store for the trainings' checkpoints; empty takes this user's state directory.
        tracking_uri: MLflow server; empty takes an SQLite file in the state directory, ``none`` tracks nothing.
        seed: Seed of everything random.
        min_auc: The gate's lower bound for the ROC AUC on the test split; 0 is no threshold.
        min_auc_gain_over_baseline: The gate's lower bound for the ROC AUC above that of predicting class shares (0.5);
            -1 is no threshold.
        max_loss_vs_champion: How much ROC AUC a candidate may lose against the champion on the same rows; 1 is no
            threshold. With no threshold at all nothing is blessed.
        require_blessing: Ends the run as rejected when neither candidate passes; else it ends well without a release.
        model_name: Name of the model and its releases.
        release_repository: Directory or URI of releases; empty takes the run's root on one machine.
        endpoint_name: Name of the endpoint; empty takes ``model_name``.
        endpoint_port: Port of a local endpoint; 0 chooses a free one once and keeps it.
        target: Where to deploy: ``local``.
    """
    digest = resolve_data(data_uri=data_uri).set_caching_options(False)
    tables = ingest_data(data_uri=data_uri, data_digest=digest.output)
    table = transform_data(tables=tables.outputs["tables"], sql=sql)
    split = split_data(
        dataset=table.outputs["dataset"],
        label=label,
        time_column=time_column,
        validation_from=validation_from,
        test_from=test_from,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        group_column=group_column,
        key_columns=key_columns,
    )

    train_statistics = generate_statistics(dataset=split.outputs["train"]).set_display_name("statistics of train")
    test_statistics = generate_statistics(dataset=split.outputs["test"]).set_display_name("statistics of test")
    curated = resolve_schema(schema_uri=schema_uri).set_caching_options(False)
    schema = infer_schema(
        statistics=train_statistics.outputs["statistics"],
        schema_uri=schema_uri,
        schema_digest=curated.output,
        label=label,
    )
    gate = {
        "schema": schema.outputs["schema"],
        "label": label,
        "key_columns": key_columns,
        "time_column": time_column,
        "checks": checks,
        "rules": rules,
        "on_anomaly": on_anomaly,
    }
    train_gate = validate_data(
        dataset=split.outputs["train"], statistics=train_statistics.outputs["statistics"], **gate
    ).set_display_name("validate train")
    test_gate = validate_data(
        dataset=split.outputs["test"],
        statistics=test_statistics.outputs["statistics"],
        previous_statistics=train_statistics.outputs["statistics"],
        **gate,
    ).set_display_name("validate test")
    prepared = prepare_data(
        train=train_gate.outputs["clean"],
        validation=split.outputs["validation"],
        test=test_gate.outputs["clean"],
        label=label,
        time_column=time_column,
        exclude_columns=exclude_columns,
        imbalance=imbalance,
        missing_values=missing_values,
        seed=seed,
        key_columns=key_columns,
    )
    test = prepared.outputs["prepared_test"]

    train_baselines(
        train=prepared.outputs["prepared_train"],
        validation=prepared.outputs["prepared_validation"],
        test=test,
        label=label,
        seed=seed,
    )
    champion = resolve_champion(
        schema=schema.outputs["schema"], model_name=model_name, release_repository=release_repository
    ).set_caching_options(False)
    champion_predictions = predict_champion(
        dataset=test, champion=champion.output, label=label, slice_columns=slice_columns
    )

    candidates = {}
    for framework, train_component in (("pytorch", train_pytorch), ("tensorflow", train_tensorflow)):
        trained = train_component(
            train=prepared.outputs["prepared_train"],
            validation=prepared.outputs["prepared_validation"],
            label=label,
            model_name=model_name,
            network=network,
            hyperparameters=hyperparameters,
            seed=seed,
            accelerator=accelerator,
            checkpoint_uri=checkpoint_uri,
            tracking_uri=tracking_uri,
        )
        predictions = predict(
            dataset=test, model=trained.outputs["model"], label=label, slice_columns=slice_columns
        ).set_display_name(f"predict with {framework}")
        evaluation = evaluate_model(
            model=trained.outputs["model"],
            predictions=predictions.outputs["predictions"],
            champion_predictions=champion_predictions.outputs["predictions"],
            slice_columns=slice_columns,
            min_auc=min_auc,
            min_auc_gain_over_baseline=min_auc_gain_over_baseline,
            max_loss_vs_champion=max_loss_vs_champion,
            seed=seed,
        ).set_display_name(f"evaluate {framework}")
        candidates[f"{framework}_model"] = trained.outputs["model"]
        candidates[f"{framework}_evaluation"] = evaluation.outputs["evaluation"]
    selected = select_model(**candidates, require_blessing=require_blessing)

    with dsl.If(selected.outputs["Output"] != "", name="blessed"):
        release = create_release(
            model=selected.outputs["model"],
            evaluation=selected.outputs["evaluation"],
            schema=schema.outputs["schema"],
            model_name=model_name,
            release_repository=release_repository,
        ).set_caching_options(False)
        endpoint = deploy_model(
            release=release.outputs["release"],
            endpoint_name=endpoint_name,
            target=target,
            port=endpoint_port,
        ).set_caching_options(False)
        tested = smoke_test(
            endpoint=endpoint.outputs["endpoint"], release=release.outputs["release"]
        ).set_caching_options(False)
        promote_model(
            release=release.outputs["release"],
            endpoint=endpoint.outputs["endpoint"],
            expected_champion=champion.output,
            release_repository=release_repository,
        ).set_caching_options(False).after(tested)
