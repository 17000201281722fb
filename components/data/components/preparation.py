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
) -> None:
    """Splits rows for training, validation and test: by time, or at random with the classes' shares kept.

    By time, training rows come before validation rows and those before test rows; a boundary belongs to the later
    split, so rows of one moment are never on both sides. Rows keep their order.

    Args:
        dataset: The rows.
        train: The training rows; metadata of each: ``rows``, ``columns``, ``digest``, ``split``, and by time ``from``.
        validation: The validation rows.
        test: The test rows.
        label: The label's column; a random split is stratified by it, and the training rows must have two classes.
        time_column: A timestamp, date or number; empty splits at random. Rows without a time are left out.
        validation_fraction: Share of the rows, between 0 and 1.
        test_fraction: Share of the rows, between 0 and 1; with ``validation_fraction`` below 1.
        validation_from: Start of the validation rows (inclusive) instead of a fraction: an ISO date or time, UTC where
            it names no zone, or a number where ``time_column`` holds numbers.
        test_from: Start of the test rows (inclusive), likewise.
        seed: Of the random split.

    Raises:
        InputError: When a column is missing, a split would be empty, or the training rows have one class only.
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
    label: str,
    time_column: str = "",
    exclude_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    imbalance: str = "none",
    missing_values: str = "model",
    seed: int = 0,
) -> None:
    """Makes rows that a model can learn from; whatever is learned comes from the training rows alone.

    Rows without a label are dropped, and validation and test rows of classes that the training rows do not have.
    Excluded columns, times, and columns that are constant or empty in the training rows are left out of every split.
    Infinite numbers become missing values; boolean and integral labels become integers.

    Args:
        train: The training rows.
        validation: The validation rows.
        test: The test rows.
        prepared_train: Features in their order, the label, and ``sample_weight`` with ``imbalance=weights``;
            metadata of each: ``rows``, ``columns``, ``digest``, ``split``, ``label``, ``features`` (how many).
        prepared_validation: The same columns; weights are 1.
        prepared_test: The same columns; weights are 1.
        summary: What was done, with numbers.
        label: The label's column.
        time_column: Left out of the features.
        exclude_columns: Further columns to leave out, such as those that are known only after the fact.
        imbalance: For the training rows: ``none``, ``weights`` (balanced, mean 1), ``smote`` (synthetic rows for the
            smaller classes; needs complete rows; its time grows with the square of their rows) or ``undersample``.
        missing_values: ``model`` (left to the model), ``impute`` (median, or most frequent string) or ``drop_rows``.
        seed: Of sampling.

    Raises:
        InputError: When a column is missing, the label is excluded or has one class, or nothing is left.
    """
    from shipway.components.common.process import step
    from shipway.components.data.preparation import preparation

    outputs = {"train": prepared_train, "validation": prepared_validation, "test": prepared_test}
    with step():
        written = preparation.prepare_data(
            {"train": train.path, "validation": validation.path, "test": test.path},
            {name: output.path for name, output in outputs.items()},
            summary.path,
            label=label,
            time_column=time_column,
            exclude_columns=exclude_columns,
            imbalance=imbalance,
            missing_values=missing_values,
            seed=seed,
        )
        for name, metadata in written.items():
            outputs[name].metadata.update(metadata)
