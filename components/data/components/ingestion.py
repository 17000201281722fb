"""Raw files in, one Dataset out."""

from kfp import dsl

from shipway.components.data.components.image import IMAGE

__all__ = ["ingest_data", "resolve_data", "transform_data"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve_data(data_uri: str) -> str:
    """Says what a data source holds now, as a digest.

    The digest of a file or a directory of files is taken over the bytes; that of objects in a store over their names,
    sizes, versions and CRC32C; that of a web address over its strong ETag and length, or over the bytes where there is
    no strong ETag. Never cache this step: its answer depends on the outside world, and the steps behind it are cached
    by its answer.

    Args:
        data_uri: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI, of a CSV, TSV or Parquet file
            (``.csv``, ``.csv.gz``, ``.tsv``, ``.tsv.gz``, ``.parquet``) or of a directory of such files; or the
            ``http(s)://`` address of one file.

    Returns:
        ``sha256:<hex>``.

    Raises:
        InputError: When nothing readable is there.
        StorageError: When a store has no such object, refuses it, or does not answer in time.
    """
    from shipway.components.common.process import step
    from shipway.components.data.ingestion import sources

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
        StorageError: As for ``resolve_data``, or when bytes arrive damaged.
    """
    from shipway.components.common.process import step
    from shipway.components.data.ingestion import ingestion

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
    from shipway.components.data.ingestion import transformation

    with step():
        dataset.metadata.update(transformation.transform_data(tables.path, dataset.path, sql))
