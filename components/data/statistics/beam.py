"""The same statistics on Apache Beam, for data too large for one machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.reading import Source, Unit
from shipway.components.data.statistics.columns import listed_batch
from shipway.components.data.statistics.engine import Plan
from shipway.components.data.statistics.parts import Part, Selection, slices
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from shipway.components.data.tfdv import whole_tfdv

__all__ = ["on_beam"]

_IN_THIS_PROCESS = ("", "directrunner", "fnapirunner")
_BUNDLE_BASED = "bundlebaseddirectrunner"


def on_beam(
    source: Source, plan: Plan, selection: Selection, options: Sequence[str]
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns TFDV's statistics of a source, computed by TFDV on Beam.

    Args:
        source: What to read; every worker opens its files under the same paths, and needs this package.
        plan: Of which columns.
        selection: Which rows, and which slices of them.
        options: As Beam spells them. Without a runner, or with ``DirectRunner``, Beam's FnApiRunner computes in this
            process; ``BundleBasedDirectRunner`` is the other local one. A remote runner also needs
            ``--temp_location``, where it can write and this process can read.

    Raises:
        InputError: When there is no such runner, or a remote one has no ``temp_location``.
    """
    with whole_tfdv() as whole, tempfile.TemporaryDirectory() as scratch:
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        parsed = PipelineOptions(list(options))
        given = parsed.get_all_options()
        name = (given["runner"] or "").rpartition(".")[2].lower()
        local = name in (*_IN_THIS_PROCESS, _BUNDLE_BASED)
        if not local and not given.get("temp_location"):
            raise InputError(f"beam_options: {given['runner']} needs --temp_location, where all workers can write")
        target = FileSystems.join(scratch if local else given["temp_location"], "statistics.pb")
        slicers = [_slicer(column) for column in selection.slice_columns]
        stats_options = whole.StatsOptions(
            weight_feature=plan.weight_column or None, experimental_slice_functions=slicers or None
        )
        _run(whole.GenerateStatistics(stats_options), whole.WriteStatisticsToBinaryFile(target), source, selection,
             parsed, _runner(name))  # fmt: skip
        with FileSystems.open(target) as file:
            found = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())
    return _in_order(found, plan)


@dataclass(frozen=True)
class _Read:
    """Reads units as TFDV's batches of lists."""

    selection: Selection

    def __call__(self, item: tuple[int, Unit]) -> Iterator[pa.RecordBatch]:
        for batch in self.selection.batches(*item):
            yield listed_batch(batch)


def _slicer(column: str) -> Callable[[pa.RecordBatch], Iterator[tuple[str, pa.RecordBatch]]]:
    """Slices by a column's values like TFDV's own function, which was seen to crash the process with missing values."""

    def value_slicer(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        return slices(batch, [column])

    return value_slicer


def _run(generate: Any, write: Any, source: Source, selection: Selection, options: Any, runner: Any) -> None:
    import apache_beam as beam

    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError, RuntimeError) as error:
        raise InputError(f"beam_options: {error}") from error
    with pipeline:
        units = pipeline | "Units" >> beam.Create(list(enumerate(source.units))) | "Spread" >> beam.Reshuffle()
        batches = units | "Read" >> beam.FlatMap(_Read(selection)).with_output_types(pa.RecordBatch)
        _ = batches | "Generate" >> generate | "Write" >> write


def _runner(name: str) -> Any:
    """A local runner by its name; None for Beam to find it. Beam's default one would first download another."""
    from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    if name in _IN_THIS_PROCESS:
        return FnApiRunner()
    return BundleBasedDirectRunner() if name == _BUNDLE_BASED else None


def _in_order(
    found: statistics_pb2.DatasetFeatureStatisticsList, plan: Plan
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """All rows first, then slices by name; columns as in the source. Beam keeps no order, nor columns without rows."""
    if not any(dataset.features for dataset in found.datasets):
        return Part.empty(plan).proto()
    place = {column: index for index, column in enumerate(plan.schema.names)}
    whole = ("", tfdv.constants.DEFAULT_SLICE_KEY)
    result = statistics_pb2.DatasetFeatureStatisticsList()
    for dataset in sorted(found.datasets, key=lambda dataset: (dataset.name not in whole, dataset.name)):
        added = result.datasets.add()
        added.CopyFrom(dataset)
        del added.features[:]
        added.features.extend(sorted(dataset.features, key=lambda feature: place[feature.path.step[0]]))
    return result
