"""From a Dataset to rows that a model can learn from."""

from kfp import dsl

from shipway.components.data.components.image import IMAGE

__all__ = ["prepare_data", "split_data"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def split_data(
    dataset: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    label: str = "",
    time_column: str = "",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    validation_from: str = "",
    test_from: str = "",
    seed: int = 0,
    group_column: str = "",
    key_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    on_leak: str = "warn",
) -> None:
    """Splits rows for training, validation and test: by time, by group, or at random with the classes' shares kept.

    By time, training rows come before validation rows and those before test rows; a boundary belongs to the later
    split, so rows of one moment are never on both sides. By group, no group is on both sides. Rows keep their order.

    Args:
        dataset: The rows.
        train: The training rows; metadata of each: ``rows``, ``columns``, ``digest``, ``split``, by time ``from``, by
            group ``groups`` (how many).
        validation: The validation rows; metadata of these and of the test rows also ``leaked_rows`` (exact copies of
            rows of an earlier split) and with ``key_columns`` ``leaked_keys``.
        test: The test rows.
        label: The label's column; a random split is stratified by it, one by group nearly, and the training rows must
            have two classes.
        time_column: A timestamp, date or number; empty splits by group or at random. Rows without a time are left out.
        validation_fraction: Share of the rows, between 0 and 1.
        test_fraction: Share of the rows, between 0 and 1; with ``validation_fraction`` below 1.
        validation_from: Start of the validation rows (inclusive) instead of a fraction: an ISO date or time, UTC where
            it names no zone, or a number where ``time_column`` holds numbers.
        test_from: Start of the test rows (inclusive), likewise.
        seed: Of the random split, and of the order in which groups are dealt.
        group_column: Rows of one value (a patient, a household) stay in one split; rows without a value are one group.
            Shares are as near to the fractions as whole groups allow. Not together with ``time_column``.
        key_columns: Together the key of a thing; keys that are in several splits are counted.
        on_leak: ``warn``, or ``fail`` when a split holds rows or keys of an earlier one.

    Raises:
        InputError: When a column is missing, a split would be empty, the training rows have one class only, or
            parameters exclude each other.
        DataRejected: When ``on_leak`` is ``fail`` and there is a leak.
    """
    from shipway.components.common.process import step
    from shipway.components.data.preparation import splitting

    outputs = {"train": train, "validation": validation, "test": test}
    with step():
        written = splitting.split_data(
            dataset.path,
            {name: output.path for name, output in outputs.items()},
            label=label,
            time_column=time_column,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            validation_from=validation_from,
            test_from=test_from,
            seed=seed,
            group_column=group_column,
            key_columns=key_columns,
            on_leak=on_leak,
        )
        for name, metadata in written.items():
            outputs[name].metadata.update(metadata)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_data(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    prepared_train: dsl.Output[dsl.Dataset],
    prepared_validation: dsl.Output[dsl.Dataset],
    prepared_test: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
    encoders: dsl.Output[dsl.Artifact],
    label: str,
    time_column: str = "",
    exclude_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    imbalance: str = "none",
    missing_values: str = "model",
    seed: int = 0,
    imputation: dict[str, str] = {},  # noqa: B006
    missing_indicators: bool = False,
    outliers: str = "keep",
    outlier_bounds: str = "iqr:3",
    encoding: str = "none",
    key_columns: list[str] = [],  # noqa: B006
    on_leak: str = "warn",
) -> None:
    """Makes rows that a model can learn from; whatever is learned comes from the training rows alone.

    Rows without a label are dropped, and validation and test rows of classes that the training rows do not have.
    Excluded columns, times, and columns that are constant or empty in the training rows are left out of every split.
    Infinite numbers become missing values; boolean and integral labels become integers. Then, in this order, outliers
    are treated, missing values, the classes' sizes, and strings are encoded.

    Args:
        train: The training rows.
        validation: The validation rows.
        test: The test rows.
        prepared_train: Features in their order, the label, and ``sample_weight`` with ``imbalance=weights``;
            metadata of each: ``rows``, ``columns``, ``digest``, ``split``, ``label``, ``features`` (how many).
        prepared_validation: The same columns; weights are 1. Metadata of these and of the test rows also
            ``leaked_rows``, with ``key_columns`` ``leaked_keys``, with ``time_column`` ``leaked_moments`` (rows not
            later than all earlier splits).
        prepared_test: The same columns; weights are 1.
        summary: What was done, with numbers.
        encoders: ``preparation.json``: classes, features, bounds, fills, categories, seed and versions, with which
            ``components.data.preparation.artifact.apply_preparation`` prepares new rows alike.
        label: The label's column.
        time_column: Left out of the features.
        exclude_columns: Further columns to leave out, such as those that are known only after the fact.
        imbalance: For the training rows: ``none``, ``weights`` (balanced, mean 1), ``smote`` (synthetic rows for the
            smaller classes; needs complete rows; its time grows with the square of their rows, at most 100,000 a
            class and about 4 GB) or ``undersample``.
        missing_values: ``model`` (left to the model), ``impute`` (median, or most frequent string) or ``drop_rows``.
        seed: Of sampling and folds.
        imputation: By feature ``median``, ``mean``, ``most_frequent`` or ``constant:<value>``; the other features
            follow ``missing_values``.
        missing_indicators: Adds ``<feature>_missing`` for each feature that is filled in and lacks training values.
        outliers: Of numeric features: ``keep``, ``clip`` (to the bounds), ``drop`` (training rows only) or
            ``missing`` (they count as missing values).
        outlier_bounds: ``iqr:<k>`` (quartiles -/+ k times their distance; 3 leaves 2 in a million normal values
            outside), ``quantile:<q>`` (q to 1 - q) or ``robust_z:<z>`` (median -/+ z * 1.4826 * median distance).
        encoding: Of strings, for models that take numbers only (Shipway's encode inside themselves): ``none``,
            ``onehot`` (at most 1,000 columns a feature), ``ordinal`` or ``target`` (not with ``smote``).
        key_columns: Together the key of a thing; left out of the features; keys in several splits are counted.
        on_leak: ``warn``, or ``fail`` when a split holds rows, keys or moments of an earlier one.

    Raises:
        InputError: When a column is missing, the label is excluded or has one class, a choice does not exist or does
            not fit the column, or nothing is left.
        DataRejected: When ``on_leak`` is ``fail`` and there is a leak.
    """
    from shipway.components.common.process import step
    from shipway.components.data.preparation import preparation

    outputs = {"train": prepared_train, "validation": prepared_validation, "test": prepared_test}
    with step():
        written = preparation.prepare_data(
            {"train": train.path, "validation": validation.path, "test": test.path},
            {name: output.path for name, output in outputs.items()},
            summary.path,
            encoders=encoders.path,
            label=label,
            time_column=time_column,
            exclude_columns=exclude_columns,
            imbalance=imbalance,
            missing_values=missing_values,
            seed=seed,
            imputation=imputation,
            missing_indicators=missing_indicators,
            outliers=outliers,
            outlier_bounds=outlier_bounds,
            encoding=encoding,
            key_columns=key_columns,
            on_leak=on_leak,
        )
        for name, metadata in written.items():
            outputs[name].metadata.update(metadata)
