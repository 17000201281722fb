"""What a schema says in vain: constraints that TFDV accepts and then never holds data against.

Comparators of numbers by L-infinity and limits of the number of rows, which TFDV passes over as well, are not among
them: ``validate_data`` measures these itself.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from tensorflow_metadata.proto.v0 import schema_pb2

__all__ = ["lint_schema"]

_COMPARATORS = ("drift_comparator", "skew_comparator")
_AT_MOST_ONE = ("infinity_norm", "jensen_shannon_divergence")


def lint_schema(schema: schema_pb2.Schema) -> list[str]:
    """Returns a sentence for every constraint that TFDV silently ignores: where it is, why, and what to write instead.

    Columns that a ``lifecycle_stage`` or ``deprecated`` takes out of validation on purpose are no such case.
    """
    lines = [line for feature in schema.feature for line in _of_feature(feature, schema)]
    return [*lines, *_of_dataset(schema)]


def _of_feature(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> Iterator[str]:
    where = f"feature {feature.name!r}"
    for name in _COMPARATORS:
        if feature.HasField(name):
            for fault in _of_comparator(getattr(feature, name)):
                yield f"{where}: {name}{fault}"
    if feature.HasField("group_presence"):
        yield f"{where}: group_presence is never checked; use presence"
    for field in ("in_environment", "not_in_environment"):
        for environment in getattr(feature, field):
            if environment not in schema.default_environment:
                yield (
                    f"{where}: {field} names {environment!r}, which is no default_environment of the schema; "
                    "add it there, or mend the name"
                )


def _of_comparator(comparator: schema_pb2.FeatureComparator) -> Iterator[str]:
    measures = comparator.ListFields()
    if not measures:
        yield " names no measure; give one, with its threshold"
    for field, norm in measures:
        if not norm.HasField("threshold"):
            yield f".{field.name} has no threshold, so nothing is above it; give one"
        elif field.name in _AT_MOST_ONE and norm.threshold > 1:
            yield f".{field.name}.threshold={norm.threshold:g}: the distance is never above 1; give less"


def _of_dataset(schema: schema_pb2.Schema) -> Iterator[str]:
    counts = collections.Counter(feature.name for feature in schema.feature)
    for name, count in counts.items():
        if count > 1:
            yield f"feature {name!r} is there {count} times, and only the first counts; merge them"
    for field in ("int_domain", "float_domain"):
        for domain in getattr(schema, field):
            yield f"{field} {domain.name!r} of the schema is never checked; write it inside the feature"
