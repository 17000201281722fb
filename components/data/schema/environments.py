"""Where data may come from: training data has the label, serving data does not."""

from __future__ import annotations

import difflib

from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.errors import InputError

__all__ = ["SERVING", "TRAINING", "add_environments", "require_environment"]

TRAINING = "TRAINING"
SERVING = "SERVING"


def add_environments(schema: schema_pb2.Schema, label: str) -> None:
    """Makes the schema know training and serving data; ``label``, unless empty, is not asked of serving data."""
    schema.default_environment.extend([TRAINING, SERVING])
    for feature in schema.feature:
        if feature.name == label:
            feature.not_in_environment.append(SERVING)


def require_environment(schema: schema_pb2.Schema, environment: str) -> None:
    """Checks that data of ``environment`` can be judged; an empty one always can: it is all that the schema says.

    Raises:
        InputError: When the schema does not have it among its ``default_environment``.
    """
    known = list(schema.default_environment)
    if environment and environment not in known:
        close = difflib.get_close_matches(environment.upper(), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        there = f"It has {', '.join(known)}" if known else "It has none; add default_environment lines to it"
        raise InputError(f"environment={environment!r}: the schema has no such default_environment; {hint}{there}")
