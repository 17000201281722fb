"""TFDV's anomalies against the schema, and what the schema says about baselines, which TFDV is not asked to judge.

TFDV accepts comparators that it then cannot honour: L-infinity of numbers is reported as 0, and that of strings is
wrong beyond as many distinct ones as its rank histogram has buckets. So comparators are taken out of the schema that
TFDV sees and measured here, from exact counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.schema.environments import require_environment
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import CheckSettings, CheckSpec, Parameter

__all__ = ["SPEC", "comparators", "schema_findings", "validated"]

_TYPES = anomalies_pb2.AnomalyInfo.Type.keys()
_NORMS = {"infinity_norm": "l_infinity", "jensen_shannon_divergence": "jensen_shannon"}

SPEC = CheckSpec(
    "schema",
    "fail",
    "The columns have the types, presence, domains and shapes that the schema asks for (TFDV)",
    parameters={
        "warn": Parameter((), "TFDV's types of anomalies that only warn, such as SCHEMA_NEW_COLUMN", kind=list),
        "off": Parameter((), "those that are passed over", kind=list),
    },
    per_feature=True,
)


def comparators(schema: schema_pb2.Schema, kind: str) -> dict[str, dict[str, float]]:
    """Returns the thresholds by measure that the schema sets, by column.

    Args:
        schema: With or without them.
        kind: ``drift`` or ``skew``.

    Raises:
        InputError: When a comparator is of a kind that cannot be measured, or lies within a structure.
    """
    field = f"{kind}_comparator"
    found: dict[str, dict[str, float]] = {}
    for path, feature in _features(schema.feature):
        if not feature.HasField(field):
            continue
        comparator = getattr(feature, field)
        if len(path) > 1 or comparator.HasField("normalized_abs_difference"):
            what = f"{field} of {'.'.join(path)}"
            raise InputError(
                f"the schema's {what} cannot be measured; only top-level features can, by "
                f"{' or '.join(_NORMS)}; take it out, or use the setting checks.{kind}"
            )
        norms = {measure: getattr(comparator, norm) for norm, measure in _NORMS.items() if comparator.HasField(norm)}
        found[feature.name] = {measure: norm.threshold for measure, norm in norms.items()}
    return found


def validated(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema, environment: str
) -> anomalies_pb2.Anomalies:
    """Returns TFDV's verdict on the whole dataset, without baselines.

    Raises:
        InputError: When the schema does not know the environment, or TFDV cannot use the schema.
    """
    whole = statistics_pb2.DatasetFeatureStatisticsList(datasets=[_whole(statistics)])
    require_environment(schema, environment)
    try:
        proto: anomalies_pb2.Anomalies = tfdv.validate_statistics(
            whole, _without_baselines(schema), environment or None
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(f"TFDV cannot use the schema: {error}; mend it, or let it be inferred") from error
    return proto


def schema_findings(proto: anomalies_pb2.Anomalies, settings: CheckSettings) -> Iterator[Finding]:
    """Yields TFDV's anomalies as findings; ``measure`` holds the type's name.

    Raises:
        InputError: When the settings name a type that TFDV does not have.
    """
    for parameter in ("warn", "off"):
        for each in (settings, *settings.features.values()):
            _require_types(each[parameter], f"checks.schema.{parameter}")
    infos = [*sorted(proto.anomaly_info.items()), ("", proto.dataset_anomaly_info)]
    for name, info in infos:
        each = settings.of(name)
        for reason in info.reason:
            kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
            severity = "warn" if kind in each["warn"] else each.severity
            if severity != "off" and kind not in each["off"]:
                short, description = reason.short_description, reason.description
                yield Finding("schema", severity, name, short, description, measure=kind)


def _features(features: Sequence[schema_pb2.Feature]) -> Iterator[tuple[list[str], schema_pb2.Feature]]:
    for feature in features:
        yield [feature.name], feature
        for path, inner in _features(feature.struct_domain.feature):
            yield [feature.name, *path], inner


def _without_baselines(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    plain = schema_pb2.Schema()
    plain.CopyFrom(schema)
    for _, feature in _features(plain.feature):
        feature.ClearField("drift_comparator")
        feature.ClearField("skew_comparator")
    plain.ClearField("dataset_constraints")
    return plain


def _whole(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> statistics_pb2.DatasetFeatureStatistics:
    """Returns the statistics of all examples where there are slices too."""
    return next((dataset for dataset in statistics.datasets if dataset.name == "All Examples"), statistics.datasets[0])


def _require_types(types: Sequence[str], where: str) -> None:
    for kind in types:
        if kind not in _TYPES:
            close = difflib.get_close_matches(kind, _TYPES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "See anomalies.proto of tensorflow_metadata"
            raise InputError(f"{where}: TFDV has no type of anomaly {kind!r}; {hint}")
