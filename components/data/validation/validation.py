"""Does the data look as its schema says? The anomalies, and the gate that stops a run on them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from shipway.components.common.artifacts import new_directory, read_json, write_json
from shipway.components.common.errors import DataRejected, InputError
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from shipway.components.data.validation.report import render

__all__ = ["ON_ANOMALY", "validate_data"]

ON_ANOMALY = ("fail", "warn")

_LOG = logging.getLogger(__name__)


def validate_data(
    statistics: str | Path, schema: str | Path, anomalies: str | Path, report: str | Path, on_anomaly: str = "fail"
) -> dict[str, Any]:
    """Writes ``anomalies.pbtxt``, ``anomalies.json`` and ``report.html``, then lets the data pass or not.

    ``anomalies.json`` is ``{"rows", "anomalies": [{"feature", "kind", "short", "description"}]}``. Data without rows
    is an anomaly of the kind ``DATASET_LOW_NUM_EXAMPLES``.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: What ``infer_schema`` wrote.
        anomalies: Where to write the directory.
        report: Where to write a second copy of the page.
        on_anomaly: ``fail`` or ``warn``.

    Returns:
        ``rows`` and ``anomalies`` (how many).

    Raises:
        DataRejected: When there are anomalies and ``on_anomaly`` is ``fail``; everything is written by then.
        InputError: When an input cannot be read or ``on_anomaly`` is neither.
    """
    if on_anomaly not in ON_ANOMALY:
        raise InputError(f"on_anomaly={on_anomaly!r}: must be one of {', '.join(ON_ANOMALY)}")
    proto = _validated(read_statistics(statistics), read_schema(schema))
    summary = read_json(Path(statistics) / "summary.json")
    found = _listed(proto)
    page = render(found, summary)
    with new_directory(anomalies) as aside:
        (aside / "anomalies.pbtxt").write_text(text_format.MessageToString(proto), encoding="utf-8")
        write_json(aside / "anomalies.json", {"rows": summary["rows"], "anomalies": found})
        (aside / "report.html").write_text(page, encoding="utf-8")
    Path(report).write_text(page, encoding="utf-8")
    _decide(found, on_anomaly)
    return {"rows": summary["rows"], "anomalies": len(found)}


def _validated(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema
) -> anomalies_pb2.Anomalies:
    proto: anomalies_pb2.Anomalies = tfdv.validate_statistics(statistics, schema)
    if not statistics.datasets[0].num_examples:
        reason = proto.anomaly_info["(dataset)"].reason.add()
        reason.type = anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES
        reason.short_description = "No rows"
        reason.description = "The dataset has no rows."
    return proto


def _listed(proto: anomalies_pb2.Anomalies) -> list[dict[str, str]]:
    return [
        {
            "feature": name,
            "kind": anomalies_pb2.AnomalyInfo.Type.Name(reason.type),
            "short": reason.short_description,
            "description": reason.description,
        }
        for name, info in sorted(proto.anomaly_info.items())
        for reason in info.reason
    ]


def _decide(found: list[dict[str, str]], on_anomaly: str) -> None:
    lines = [f"{a['feature']}: {a['short']}: {a['description']}" for a in found]
    if lines and on_anomaly == "fail":
        raise DataRejected(
            f"the data does not look as its schema says ({len(lines)} anomalies):\n  "
            + "\n  ".join(lines)
            + "\nMend the data, or the schema if the change is meant; on_anomaly=warn goes on regardless"
        )
    for line in lines:
        _LOG.warning("%s", line)
