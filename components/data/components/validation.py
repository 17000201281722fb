"""Statistics, schemas, and the gate that data must pass."""

from typing import Any

from kfp import dsl

from shipway.components.data.components.image import IMAGE

__all__ = ["generate_statistics", "infer_schema", "propose_schema", "resolve_schema", "validate_data"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def generate_statistics(
    statistics: dsl.Output[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset] = None,
    data_uri: str = "",
    slice_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    weight_column: str = "",
    sample_fraction: float = 1.0,
    seed: int = 0,
    beam_options: list[str] = [],  # noqa: B006
) -> None:
    """Computes TFDV's statistics of a Dataset, or of files in Parquet, CSV or TFRecords.

    The files are read once, batch by batch, in a process per core; memory does not grow with the rows. Booleans are
    counted as 0 and 1, timestamps and dates as seconds since 1970-01-01 UTC.

    Args:
        statistics: ``statistics.pb`` (``DatasetFeatureStatisticsList``), ``summary.json`` (counts, missing values,
            means, histograms, top values) and ``distributions.json`` (quantiles and counts, with which later data is
            compared); metadata: ``rows``, ``columns`` (how many).
        dataset: The rows; give this or ``data_uri``.
        data_uri: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI, of a file (``.parquet``, ``.csv``,
            ``.csv.gz``, ``.tfrecord``) or of a directory of files of one kind, partitioned (``month=1/``) or not; or
            the ``http(s)://`` address of a file. What lies in a store is downloaded first. Never cache the step with
            it: the cache does not see the files change.
        slice_columns: Adds statistics for each value of each of these columns, at most 1,000 slices.
        weight_column: A column of numbers, without missing values, to weigh the rows by; empty for none.
        sample_fraction: Share of the rows that is taken, above 0, at most 1; each row is drawn by itself.
        seed: Says which rows are drawn; the same ones on every machine.
        beam_options: Not empty computes on Apache Beam with these options, for data too large for one machine, such as
            ``["--runner=DataflowRunner", "--temp_location=gs://bucket/tmp"]``. Every worker must see the files.

    Raises:
        InputError: When nothing readable is there, a file is broken (it and the place are named), or a parameter is
            wrong.
        StorageError: When a store does not give what ``data_uri`` names.
    """
    from shipway.components.common.process import step
    from shipway.components.data.local_data import local_source
    from shipway.components.data.statistics import generation

    with step(), local_source(dataset.path if dataset else data_uri) as source:
        written = generation.generate_statistics(
            source,
            statistics.path,
            slice_columns=slice_columns,
            weight_column=weight_column,
            sample_fraction=sample_fraction,
            seed=seed,
            beam_options=beam_options,
        )
        statistics.metadata.update(written)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve_schema(schema_uri: str = "") -> str:
    """Says what a schema that people wrote holds now, as a digest. Never cache this step, as with ``resolve_data``.

    Args:
        schema_uri: As for ``infer_schema``.

    Returns:
        ``sha256:<hex>`` of the file; the empty string for an empty ``schema_uri``.

    Raises:
        InputError: When the file cannot be read.
        StorageError: When a store does not give it.
    """
    from shipway.components.common.process import step
    from shipway.components.data.schema import curated

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
    range_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    range_margin: float = 0.5,
) -> None:
    """Infers what data must look like, or takes a schema that people wrote.

    An inferred schema asks for every column with its type, for a value in every row where no row lacks one, and for
    known values in columns of few distinct strings. It knows the environments TRAINING and SERVING; data of SERVING
    has no label.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: ``schema.pbtxt``; metadata: ``features`` (how many), ``curated``, ``digest``.
        schema_uri: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI, of a schema in protobuf text or
            of a directory with a ``schema.pbtxt``, taken as it is; or a schema's ``http(s)://`` address; empty infers
            one.
        schema_digest: What ``resolve_schema`` returned for it; the file must still hold the same. Empty does not ask.
        label: A column that the schema must have.
        max_unseen_fraction: Share of a string column's values, from 0 to below 1, that may lie beyond the known ones.
        range_columns: Columns of numbers that an inferred schema keeps in their range; ``*_usd`` means all names of
            that form, ``*`` all. None by default: times and counters grow beyond any range seen so far.
        range_margin: How far beyond the least and largest number, as a share of their difference, later ones may lie.

    Raises:
        InputError: When the given schema is missing or broken (the line is named), is of a newer TFDV or asks for
            what no data is held against; when the label is not in the schema, the statistics are of no rows, or
            ``range_columns`` name no column of numbers.
        ConflictError: When the given schema changed since ``schema_digest`` was resolved.
        StorageError: When a store does not give it.
    """
    from shipway.components.common.process import step
    from shipway.components.data.schema import inference as logic

    with step():
        written = logic.infer_schema(
            statistics.path,
            schema.path,
            schema_uri=schema_uri,
            schema_digest=schema_digest,
            label=label,
            max_unseen_fraction=max_unseen_fraction,
            range_columns=range_columns,
            range_margin=range_margin,
        )
        schema.metadata.update(written)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def propose_schema(
    statistics: dsl.Input[dsl.Artifact],
    schema: dsl.Input[dsl.Artifact],
    proposal: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.Markdown],
    tighten: bool = False,
    max_unseen_fraction: float = 0.01,
) -> int:
    """Proposes what a schema would have to say for new data to have no anomalies; the schema stays as it is.

    Args:
        statistics: What ``generate_statistics`` wrote of the new data; training data, with its label.
        schema: The current schema.
        proposal: ``schema.pbtxt`` (the proposed schema), ``changes.json``, ``changes.diff`` and ``changes.md``;
            metadata: ``changes``, ``unresolved`` (how many), ``digest``.
        report: ``changes.md`` for the pipeline's UI.
        tighten: Also propose to drop known values that no row has any more, and to ask for a value in every row
            where no row lacks one. Not for a sample or a quiet month.
        max_unseen_fraction: As for ``infer_schema``; for columns that are added or replaced.

    Returns:
        The number of changes.

    Raises:
        InputError: When an input cannot be read, or the statistics are of no rows.
    """
    from shipway.components.common.process import step
    from shipway.components.data.schema import evolution as logic

    with step():
        written = logic.propose_schema(
            statistics.path,
            schema.path,
            proposal.path,
            report.path,
            tighten=tighten,
            max_unseen_fraction=max_unseen_fraction,
        )
        proposal.metadata.update(written)
    return int(written["changes"])


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_data(
    dataset: dsl.Input[dsl.Dataset],
    statistics: dsl.Input[dsl.Artifact],
    schema: dsl.Input[dsl.Artifact],
    clean: dsl.Output[dsl.Dataset],
    anomalies: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    previous_statistics: dsl.Input[dsl.Artifact] = None,
    serving_statistics: dsl.Input[dsl.Artifact] = None,
    label: str = "",
    key_columns: list[str] = [],  # noqa: B006 (kfp writes the default into the component)
    time_column: str = "",
    environment: str = "",
    checks: dict[str, Any] = {},  # noqa: B006
    rules: list[dict[str, str]] = [],  # noqa: B006
    pandera_schema: str = "",
    on_anomaly: str = "fail",
    min_clean_fraction: float = 0.9,
) -> int:
    """Runs every check on data and stops the run on anomalies, warns of them, or sets rows aside.

    ``shipway data checks`` lists the checks with their severities and settings.

    Args:
        dataset: The rows.
        statistics: What ``generate_statistics`` wrote of them.
        schema: What ``infer_schema`` wrote.
        clean: The rows that go on: all, or those that are left; not written when the data is rejected; metadata:
            ``rows``, ``digest``.
        anomalies: ``anomalies.pbtxt``, ``anomalies.json``, ``report.html`` and, when rows were set aside,
            ``quarantine/part-*.parquet``; written even when the data is rejected; metadata: ``rows``, ``anomalies``,
            ``warnings``, ``quarantined`` (how many).
        report: The same page for the pipeline's UI.
        summary: The verdict in a few lines.
        metrics: The same counts.
        previous_statistics: Of earlier data, for drift and changes.
        serving_statistics: Of serving data, for skew.
        label: The column to be predicted.
        key_columns: The columns that together name a row.
        time_column: Each row's time; also tells seasons from drift.
        environment: Which of the schema's environments the data is from, such as ``SERVING``; empty for none.
        checks: By a check's name its severity (``fail``, ``warn``, ``off``) or settings, such as
            ``{"duplicate_rows": "off", "drift": {"features": {"distance": {"measure": "psi", "threshold": 0.1}}}}``.
        rules: What must hold in every row: ``{"name", "expression", "severity"}`` each, the expression in DuckDB's SQL.
        pandera_schema: Path of a pandera schema in YAML that every row must meet.
        on_anomaly: What findings of severity ``fail`` do: ``fail``, ``warn`` or ``quarantine``.
        min_clean_fraction: With ``quarantine``: share of the rows, from 0 to 1, that must be left.

    Returns:
        The number of findings of severity ``fail``; data without rows is one.

    Raises:
        DataRejected: When the data may not go on; every finding of severity ``fail`` is named.
        InputError: When an input cannot be read, or a parameter or setting is wrong.
    """
    from shipway.components.common.process import step
    from shipway.components.data.validation import validation

    counts = ("rows", "anomalies", "warnings", "quarantined")
    with step():
        found = validation.validate_data(
            statistics.path,
            schema.path,
            anomalies.path,
            report.path,
            dataset=dataset.path,
            clean=clean.path,
            summary=summary.path,
            previous_statistics=previous_statistics.path if previous_statistics else None,
            serving_statistics=serving_statistics.path if serving_statistics else None,
            label=label,
            key_columns=key_columns,
            time_column=time_column,
            environment=environment,
            checks=checks,
            rules=rules,
            pandera_schema=pandera_schema,
            on_anomaly=on_anomaly,
            min_clean_fraction=min_clean_fraction,
        )
        anomalies.metadata.update({name: found[name] for name in counts})
        clean.metadata.update(rows=found["clean_rows"], digest=found["clean_digest"])
        for name in counts:
            metrics.log_metric(name, found[name])
    return int(found["anomalies"])
