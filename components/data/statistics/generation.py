"""TFDV's statistics of files, at the speed at which Arrow reads them.

The result is TFDV's own ``DatasetFeatureStatisticsList``. Numbers of rows, missing values, zeros, NaN, ranges, string
lengths and sizes of lists are exact; so are top values and numbers of distinct strings up to :data:`EXACT_DISTINCT`
distinct values of a column (fewer with more than 80 columns), and the estimates of TFDV's sketches beyond. Histograms
and quantiles have the error of TFDV's quantile sketch, 1 % of the rows, or none. Booleans are counted as the integers
0 and 1, timestamps and dates as whole seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from shipway.components.common.artifacts import new_directory, write_json
from shipway.components.common.errors import InputError
from shipway.components.data.reading import Source, TypesChanged, Unit, open_source
from shipway.components.data.statistics.beam import on_beam
from shipway.components.data.statistics.engine import EXACT_DISTINCT, Plan
from shipway.components.data.statistics.parts import Part, Selection, gather
from shipway.components.data.statistics.summary import all_distributions, distributions, summary
from shipway.components.data.statistics.without_pandas import arrow_without_pandas
from shipway.components.data.statistics.workers import in_processes, process_count
from shipway.components.data.tables import require_columns

__all__ = ["EXACT_DISTINCT", "generate_statistics"]

_LOG = logging.getLogger(__name__)


def generate_statistics(
    source: str | Path,
    statistics: str | Path,
    *,
    slice_columns: Sequence[str] = (),
    weight_column: str = "",
    sample_fraction: float = 1.0,
    seed: int = 0,
    format: str = "",  # noqa: A002
    processes: int = 0,
    progress: Callable[[float], None] | None = None,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes ``statistics.pb`` (a ``DatasetFeatureStatisticsList``), ``summary.json`` and ``distributions.json``.

    ``summary.json`` is ``{"rows", "columns": [{"name", "type": "INT|FLOAT|STRING", "missing", "missing_fraction",
    "unique", "mean", "std", "min", "median", "max", "zeros", "histogram": [{"low", "high", "count"}],
    "top_values": [{"value", "count"}]}]}``; what a column does not have is null. Histogram counts are estimates.
    ``distributions.json`` is ``{"rows", "columns": {name: {"kind": "number|string", "missing", "nan", "quantiles":
    [101 numbers, 0 % to 100 % of the finite values], "values": {text: count}, "other", "distinct"}}}``; ``values`` are
    the 1000 most frequent strings, or all of at most 1000 different whole numbers, and ``other`` counts the rest. Of
    lists, ``nan`` is how many lists the values that are NaN or missing would fill.
    Both describe all rows, whatever the slices. Of Parquet files there is also ``relations``: how strongly the columns
    hang together, and the share of repeated rows, as ``validation.checks.relations`` describes.

    Args:
        source: A file or a directory of Parquet, CSV (gzip too) or TFRecords.
        statistics: The directory to write.
        slice_columns: Further statistics for each value of each of these columns, as further ``datasets``.
        weight_column: A column of numbers to weigh the rows by; adds TFDV's weighted statistics.
        sample_fraction: The share of rows that is taken, above 0, at most 1; each row is drawn by itself.
        seed: Says which rows are drawn; the same ones whatever the number of processes.
        format: ``parquet``, ``csv`` or ``tfrecord``; "" tells it from the files' names.
        processes: How many work; 0 for one per core and at most 8.
        progress: Called with the share of the bytes that is done, 0 to 1.
        beam_options: Not empty: compute on Apache Beam with these options, as Beam spells them, for data too large
            for one machine: ``--runner=DataflowRunner``, ``--runner=FlinkRunner``, ``--runner=SparkRunner`` and what
            they need. Tested with Beam's two local runners only. Every worker must see the source under its path.

    Returns:
        ``rows`` and ``columns`` (how many).

    Raises:
        InputError: When there is nothing readable, a file is broken (named), or an argument is wrong.
        ShipwayError: When a process is killed.
    """
    if not 0 < sample_fraction <= 1:
        raise InputError(f"sample_fraction is {sample_fraction}; it is a share of the rows above 0 and at most 1")
    selection = Selection(tuple(slice_columns), sample_fraction, seed)
    known: dict[str, Any] = {}
    if beam_options:
        opened = _opened(source, format, selection, optimistic=False)
        proto = on_beam(opened, Plan.of(opened.schema, weight_column), selection, beam_options)
    else:
        with arrow_without_pandas():
            opened = _opened(source, format, selection, optimistic=True)
            part = _gathered(opened, weight_column, selection, processes, progress or _ignore)
            known = distributions(part.whole)
            proto = part.proto()
    essence = summary(proto.datasets[0])
    with new_directory(statistics) as aside:
        (aside / "statistics.pb").write_bytes(proto.SerializeToString(deterministic=True))
        write_json(aside / "summary.json", essence)
        told = all_distributions(proto.datasets[0], known)
        if opened.format == "parquet" and not beam_options:
            from shipway.components.data.validation.checks.relations import relations  # what it imports takes a while

            told["relations"] = relations(opened.files)
        write_json(aside / "distributions.json", told)
    _LOG.info("%s rows, %d columns", f"{essence['rows']:,}", len(essence["columns"]))
    return {"rows": essence["rows"], "columns": len(essence["columns"])}


def _opened(source: str | Path, format: str, selection: Selection, *, optimistic: bool) -> Source:  # noqa: A002
    opened = open_source(source, format=format, optimistic=optimistic)
    require_columns(selection.slice_columns, opened.schema.names, "slice_columns")
    return opened


def _gathered(
    source: Source, weight_column: str, selection: Selection, processes: int, progress: Callable[[float], None]
) -> Part:
    """Reads everything once, or from the start again where a sample of the rows told wrong types."""
    units = source.units
    count = process_count(processes, len(units))
    part = Part.empty(Plan.of(source.schema, weight_column))
    done = 0
    try:
        work = functools.partial(gather, plan=part.plan, selection=selection)
        for unit, other in zip(units, in_processes(work, units, count, _name), strict=True):
            part.merge(other)
            done += unit.bytes
            progress(done / max(1, source.bytes))
    except TypesChanged:
        settled = source.settled(functools.partial(_mapped, processes=count))
        return _gathered(settled, weight_column, selection, processes, progress)
    progress(1.0)
    return part


def _mapped(find: Callable[[Unit], pa.Schema], units: Sequence[Unit], processes: int) -> Iterator[pa.Schema]:
    return in_processes(lambda _, unit: find(unit), units, processes, _name)


def _ignore(share: float) -> None:
    """Shows no progress."""


def _name(unit: Unit) -> str:
    return str(unit.file)
