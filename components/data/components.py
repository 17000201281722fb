"""The data family's components: raw files in, prepared Datasets out."""

from kfp import dsl

__all__ = [
    "generate_statistics", "infer_schema", "ingest_data", "prepare_data", "resolve_data", "resolve_schema",
    "split_data", "transform_data", "validate_data",
]  # fmt: skip

IMAGE = "shipway/data:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve_data(data_uri: str) -> str:
    """Says what a data source holds now, as a digest.

    The digest of a file or a directory of files is taken over the bytes; that of a web address over its strong ETag
    and length, or over the bytes where there is no strong ETag. Never cache this step: its answer depends on the
    outside world, and the steps behind it are cached by its answer.

    Args:
        data_uri: A path, a ``file://`` or an ``http(s)://`` URI of a CSV, TSV or Parquet file (``.csv``, ``.csv.gz``,
            ``.tsv``, ``.tsv.gz``, ``.parquet``); a path may also name a directory of such files.

    Returns:
        ``sha256:<hex>``.

    Raises:
        InputError: When nothing readable is there, or a server cannot be reached.
        TransientError: When a server asks to come later, after several tries.
    """
    from shipway.components.common.process import step
    from shipway.components.data import sources

    with step():
        digest = sources.resolve_data(data_uri)
    return digest  # noqa: RET504  a return inside the block would leave mypy a path without one


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest_data(data_uri: str, data_digest: str, tables: dsl.Output[dsl.Dataset]) -> None:
    """Reads raw files into typed tables, one per file.

    The first line of a text table names the columns; its delimiter is a comma, semicolon, tab or bar; the text is
    UTF-8. A column's type is inferred over all of its rows: boolean, integer, float, ISO date, ISO timestamp (times
    with a zone are kept in UTC), else string. The fields ``""``, ``NA``, ``N/A``, ``NaN``, ``nan``, ``NULL`` and
    ``null`` are missing values, quoted or not.

    Args:
        data_uri: As for ``resolve_data``.
        data_digest: What ``resolve_data`` returned; the source must still hold the same.
        tables: ``<name>/part-00000.parquet`` (zstd), one folder per file, named by the file without its ending;
            metadata: ``tables`` (rows by name), ``rows``, ``digest``, ``source_digest``.

    Raises:
        InputError: When a file is missing, empty, cut off or broken; the file and the line are named.
        ConflictError: When the source changed since ``data_digest`` was resolved.
        TransientError: When a server asks to come later, after several tries.
    """
    from shipway.components.common.process import step
    from shipway.components.data import ingestion

    with step():
        tables.metadata.update(ingestion.ingest_data(data_uri, data_digest, tables.path))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def transform_data(tables: dsl.Input[dsl.Dataset], dataset: dsl.Output[dsl.Dataset], sql: str = "") -> None:
    """Makes one Dataset of the tables by one SQL query: joins, cleaning, derived columns.

    DuckDB runs the query in one thread and in UTC. It sees each table as a view named by its file, and nothing else:
    no files, no network. The rows come in the order of the query's ``ORDER BY``. Decimals become doubles, NaN becomes a
    missing value.

    Args:
        tables: What ``ingest_data`` wrote.
        dataset: ``part-00000.parquet`` (zstd); metadata: ``rows``, ``columns`` (how many), ``digest``.
        sql: One SELECT; empty takes the only table as it is.

    Raises:
        InputError: When the query fails (with DuckDB's message, the tables and their columns), gives no rows, or
            gives repeated columns or columns of nested types.
    """
    from shipway.components.common.process import step
    from shipway.components.data import transformation

    with step():
        dataset.metadata.update(transformation.transform_data(tables.path, dataset.path, sql))


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
    from shipway.components.data import splitting

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
def generate_statistics(dataset: dsl.Input[dsl.Dataset], statistics: dsl.Output[dsl.Artifact]) -> None:
    """Describes every column of a Dataset with TFDV.

    Booleans are counted as 0 and 1, timestamps and dates as seconds since 1970-01-01 UTC.

    Args:
        dataset: The rows.
        statistics: ``statistics.pb`` (``DatasetFeatureStatisticsList``) and ``summary.json`` (counts, missing values,
            means, histograms, top values); metadata: ``rows``, ``columns`` (how many).

    Raises:
        InputError: When the Dataset cannot be read.
    """
    from shipway.components.common.process import step
    from shipway.components.data import statistics as logic

    with step():
        statistics.metadata.update(logic.generate_statistics(dataset.path, statistics.path))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve_schema(schema_uri: str = "") -> str:
    """Says what a schema that people wrote holds now, as a digest. Never cache this step, as with ``resolve_data``.

    Args:
        schema_uri: As for ``infer_schema``.

    Returns:
        ``sha256:<hex>`` of the file; the empty string for an empty ``schema_uri``.

    Raises:
        InputError: When the file cannot be read.
    """
    from shipway.components.common.process import step
    from shipway.components.data import curated

    with step():
        digest = curated.resolve_schema(schema_uri)
    return digest  # noqa: RET504  a return inside the block would leave mypy a path without one


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def infer_schema(
    statistics: dsl.Input[dsl.Artifact],
    schema: dsl.Output[dsl.Artifact],
    schema_uri: str = "",
    schema_digest: str = "",
    label: str = "",
    max_unseen_fraction: float = 0.01,
) -> None:
    """Infers what data must look like, or takes a schema that people wrote.

    An inferred schema asks for every column with its type, for a value in every row where no row lacks one, and for
    known values in columns of few distinct strings.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: ``schema.pbtxt``; metadata: ``features`` (how many), ``curated``, ``digest``.
        schema_uri: Path or ``file://`` URI of a schema in protobuf text, taken as it is; empty infers one.
        schema_digest: What ``resolve_schema`` returned for it; the file must still hold the same. Empty does not ask.
        label: A column that the schema must have.
        max_unseen_fraction: Share of a string column's values, from 0 to below 1, that may lie beyond the known ones.

    Raises:
        InputError: When the given schema is missing or broken (the line is named), or the label is not in the schema.
        ConflictError: When the given schema changed since ``schema_digest`` was resolved.
    """
    from shipway.components.common.process import step
    from shipway.components.data import schema as logic

    with step():
        curated = {"schema_uri": schema_uri, "schema_digest": schema_digest}
        written = logic.infer_schema(
            statistics.path, schema.path, **curated, label=label, max_unseen_fraction=max_unseen_fraction
        )
        schema.metadata.update(written)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_data(
    statistics: dsl.Input[dsl.Artifact],
    schema: dsl.Input[dsl.Artifact],
    anomalies: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    on_anomaly: str = "fail",
) -> int:
    """Compares data with its schema and stops the run on anomalies, or warns of them.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: What ``infer_schema`` wrote.
        anomalies: ``anomalies.pbtxt``, ``anomalies.json`` and ``report.html``; written even when the data is rejected;
            metadata: ``rows``, ``anomalies`` (how many).
        report: The same page for the pipeline's UI.
        on_anomaly: ``fail`` or ``warn``.

    Returns:
        The number of anomalies; data without rows is one.

    Raises:
        DataRejected: When there are anomalies and ``on_anomaly`` is ``fail``; every one is named.
        InputError: When an input cannot be read.
    """
    from shipway.components.common.process import step
    from shipway.components.data import validation

    with step():
        found = validation.validate_data(statistics.path, schema.path, anomalies.path, report.path, on_anomaly)
        anomalies.metadata.update(found)
    return int(found["anomalies"])


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
    from shipway.components.data import preparation

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
