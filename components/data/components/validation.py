"""Statistics, schemas, and the gate that data must pass."""

from kfp import dsl

from shipway.components.data.components.image import IMAGE

__all__ = ["generate_statistics", "infer_schema", "resolve_schema", "validate_data"]


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
    from shipway.components.data.statistics import generation as logic

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
    from shipway.components.data.schema import inference as logic

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
    from shipway.components.data.validation import validation

    with step():
        found = validation.validate_data(statistics.path, schema.path, anomalies.path, report.path, on_anomaly)
        anomalies.metadata.update(found)
    return int(found["anomalies"])
