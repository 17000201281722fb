"""TFDV alone: the schema it infers from the reference, and its own comparators with the batch before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx_bsl.arrow import table_util

from benchmarks.faults.detectors.running import Alarm, Look, run

DRIFT = 0.1
ROWS = (0.5, 2.0)


def _statistics(file: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    table = pq.read_table(file)
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.int64()))
    columns = [pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type) for column in table]
    batch = pa.RecordBatch.from_arrays(columns, table.column_names)
    return stats_impl.generate_statistics_in_memory(table_util.CanonicalizeRecordBatch(batch))


def _prepare(described: Mapping[str, Any]) -> Look:
    schema = tfdv.infer_schema(_statistics(described["reference"]))
    for feature in schema.feature:
        if feature.type == schema_pb2.BYTES:
            feature.drift_comparator.infinity_norm.threshold = DRIFT
        elif feature.name != described["time_column"]:
            feature.drift_comparator.jensen_shannon_divergence.threshold = DRIFT
    rows = schema.dataset_constraints.num_examples_drift_comparator
    rows.min_fraction_threshold, rows.max_fraction_threshold = ROWS

    def look(file: str, previous: str) -> Iterator[Alarm]:
        found = tfdv.validate_statistics(_statistics(file), schema, previous_statistics=_statistics(previous))
        anomalies = {**found.anomaly_info, "": found.dataset_anomaly_info}
        for name, info in anomalies.items():
            for reason in info.reason:
                yield anomalies_pb2.AnomalyInfo.Type.Name(reason.type), name

    return look


if __name__ == "__main__":
    run(_prepare)
