"""A schema that follows its data: what would have to change, proposed for people to judge and never done silently."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import json
import logging
from collections.abc import Collection, Iterator, MutableSequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from shipway.components.common.artifacts import file_digest, new_directory, write_json
from shipway.components.data.schema.inference import inferred_schema
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["propose_schema"]

_LOG = logging.getLogger(__name__)
_DOMAIN_VALUES = 100
_SHOWN_CHARACTERS = 120


@dataclasses.dataclass(frozen=True)
class _Change:
    feature: str
    change: str
    before: Any
    after: Any
    kind: str
    reason: str


def propose_schema(
    statistics: str | Path,
    schema: str | Path,
    proposal: str | Path,
    report: str | Path | None = None,
    *,
    tighten: bool = False,
    max_unseen_fraction: float = 0.01,
) -> dict[str, Any]:
    """Writes what a schema would have to say for new data to have no anomalies; the schema itself stays as it is.

    The directory holds ``schema.pbtxt`` (the proposed schema, without a curated file's comments), ``changes.diff``
    (between both schemas, written alike), ``changes.md`` (the same for people) and ``changes.json``::

        {"rows": n, "unresolved": [sentence],
         "changes": [{"feature", "change", "before", "after", "kind", "reason"}]}

    ``change`` is what changes: ``column``, or a field of the schema's feature, such as ``presence``; an empty
    ``feature`` stands for the whole dataset. ``before`` and ``after`` are what the field says, null where it is not
    there; for ``values``, the known values of a column, they are those dropped and those added. ``kind`` is

    * ``adds``: a column that the schema does not have;
    * ``removes``: a column without a value in the data, which TFDV's ``lifecycle_stage: DEPRECATED`` takes out;
    * ``replaces``: a column whose type is another, described anew;
    * ``widens``: what holds for more data than before;
    * ``narrows``: what holds for less data than before; only with ``tighten``.

    ``unresolved`` are anomalies that the data has under the proposed schema too, such as too few rows.

    Args:
        statistics: What ``generate_statistics`` wrote of the new data; training data, with its label.
        schema: The current schema: what ``infer_schema`` wrote, or a file of protobuf text.
        proposal: Where to write the directory.
        report: Where to write a second copy of ``changes.md``.
        tighten: Also propose to drop known values that no row has any more, and to ask for a value in (nearly) every
            row where no row lacks one. For data that shows all that is to come, not for a sample or a quiet month.
        max_unseen_fraction: As for ``infer_schema``; for columns that are added or replaced.

    Returns:
        ``changes`` and ``unresolved`` (how many), and ``digest`` of the proposed schema.

    Raises:
        InputError: When an input cannot be read, or the statistics are of no rows.
    """
    described, current = read_statistics(statistics), read_schema(schema)
    rows = int(described.datasets[0].num_examples)
    inferred = inferred_schema(described, max_unseen_fraction)
    reasons = _reasons(tfdv.validate_statistics(described, current))
    widened = _widened(current, described, inferred)
    changes = list(_changes(current, widened, reasons))
    proposed = widened
    if tighten:
        proposed = _tightened(widened, inferred)
        why = f"true of all {rows:,} rows"
        narrowed = _changes(widened, proposed, {})
        changes += [dataclasses.replace(change, kind="narrows", reason=why) for change in narrowed]
    left = _reasons(tfdv.validate_statistics(described, proposed))
    unresolved = [f"{name}: {reason}" if name else reason for name, reason in left.items()]
    page = _markdown(changes, unresolved, rows)
    with new_directory(proposal) as aside:
        digest = _write(aside, current, proposed)
        (aside / "changes.md").write_text(page, encoding="utf-8")
        listed = [dataclasses.asdict(change) for change in changes]
        write_json(aside / "changes.json", {"rows": rows, "changes": listed, "unresolved": unresolved})
    if report is not None:
        Path(report).write_text(page, encoding="utf-8")
    _LOG.info("%d changes proposed, %d anomalies remain", len(changes), len(unresolved))
    return {"changes": len(changes), "unresolved": len(unresolved), "digest": digest}


def _reasons(anomalies: anomalies_pb2.Anomalies) -> dict[str, str]:
    """Returns what is wrong with each column, and under the empty name with the whole dataset."""
    infos = {**anomalies.anomaly_info}
    if anomalies.dataset_anomaly_info.reason:
        infos[""] = anomalies.dataset_anomaly_info
    return {
        name: " ".join(reason.description or reason.short_description for reason in info.reason)
        for name, info in sorted(infos.items())
    }


def _widened(
    current: schema_pb2.Schema,
    described: statistics_pb2.DatasetFeatureStatisticsList,
    inferred: schema_pb2.Schema,
) -> schema_pb2.Schema:
    """Returns the schema as TFDV updates it, with corrections.

    TFDV takes a column out whose type changed; here it is described anew. It lists up to 1,000 values of a column
    that had few; here such a column is text from then on. It gives booleans that became numbers the exact range of
    these; here they get none. And added columns are as inference describes them.
    """
    new = {feature.name: feature for feature in inferred.feature}
    old = {feature.name: feature for feature in current.feature}
    retyped = {n for n, f in old.items() if _lives(f) and f.type and n in new and new[n].type != f.type}
    base = _without(current, retyped)
    widened: schema_pb2.Schema = tfdv.update_schema(base, described)
    for feature in widened.feature:
        name = feature.name
        if name not in old or name in retyped:
            domain = feature.domain
            feature.CopyFrom(new[name])
            if new[name].domain:
                feature.domain = domain
            for field in ("in_environment", "not_in_environment") if name in retyped else ():
                getattr(feature, field).extend(getattr(old[name], field))
        elif len(_values(feature, widened)) > max(_DOMAIN_VALUES, len(_values(old[name], current))):
            feature.ClearField(str(feature.WhichOneof("domain_info")))
            feature.ClearField("distribution_constraints")
        elif old[name].HasField("bool_domain"):
            feature.ClearField("int_domain")
    return _pruned(widened, {domain.name for domain in current.string_domain})


def _lives(feature: schema_pb2.Feature) -> bool:
    stages = (schema_pb2.UNKNOWN_STAGE, schema_pb2.BETA, schema_pb2.PRODUCTION)
    return feature.lifecycle_stage in stages and not feature.deprecated


def _without(schema: schema_pb2.Schema, names: Collection[str]) -> schema_pb2.Schema:
    rest = schema_pb2.Schema()
    rest.CopyFrom(schema)
    del rest.feature[:]
    rest.feature.extend(feature for feature in schema.feature if feature.name not in names)
    return rest


def _pruned(schema: schema_pb2.Schema, candidates: set[str]) -> schema_pb2.Schema:
    """Takes out those of the named domains that no column uses."""
    used = {feature.domain for feature in schema.feature}
    kept = [domain for domain in schema.string_domain if domain.name in used or domain.name not in candidates]
    del schema.string_domain[:]
    schema.string_domain.extend(kept)
    return schema


def _values(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> MutableSequence[str]:
    """Returns the known values of a column, in the place where the schema lists them."""
    if feature.WhichOneof("domain_info") == "string_domain":
        inline: MutableSequence[str] = feature.string_domain.value
        return inline
    return next(
        (domain.value for domain in schema.string_domain if feature.domain and domain.name == feature.domain), []
    )


def _tightened(schema: schema_pb2.Schema, inferred: schema_pb2.Schema) -> schema_pb2.Schema:
    tight = schema_pb2.Schema()
    tight.CopyFrom(schema)
    seen = {feature.name: feature for feature in inferred.feature}
    users = collections.Counter(feature.domain for feature in schema.feature if feature.domain)
    for feature in tight.feature:
        new = seen.get(feature.name)
        if new is None or not _lives(feature):
            continue
        if new.presence.min_fraction > feature.presence.min_fraction:
            feature.presence.min_fraction = new.presence.min_fraction
        seen_values, values = _values(new, inferred), _values(feature, tight)
        if seen_values and users[feature.domain] <= 1:
            values[:] = [value for value in values if value in seen_values]
    return tight


def _described(schema: schema_pb2.Schema) -> dict[str, dict[str, Any]]:
    """Returns what a schema says of each column, and under the empty name of the whole dataset."""
    columns = {}
    for feature in schema.feature:
        fields = json_format.MessageToDict(feature, preserving_proto_field_name=True)
        values = _values(feature, schema)
        if values:
            fields = {**fields, "values": list(values)}
            fields.pop("domain", None)
            fields.pop("string_domain", None)
        columns[fields.pop("name")] = fields
    rest = json_format.MessageToDict(schema, preserving_proto_field_name=True)
    return {"": {name: rest[name] for name in rest if name not in ("feature", "string_domain")}, **columns}


def _changes(old: schema_pb2.Schema, new: schema_pb2.Schema, reasons: dict[str, str]) -> Iterator[_Change]:
    before, after = _described(old), _described(new)
    for name, fields in after.items():
        reason = reasons.get(name, "")
        had = before.get(name)
        if had is None:
            yield _Change(name, "column", None, fields, "adds", reason)
        elif had.get("type") != fields.get("type") and had.get("type"):
            yield _Change(name, "column", had, fields, "replaces", reason)
        else:
            for field in sorted({*had, *fields}):
                if had.get(field) != fields.get(field):
                    kind = "removes" if field == "lifecycle_stage" else "widens"
                    yield _Change(name, field, *_sides(field, had, fields), kind, reason)


def _sides(field: str, before: dict[str, Any], after: dict[str, Any]) -> tuple[Any, Any]:
    old, new = before.get(field), after.get(field)
    if field == "values" and old and new:
        return [value for value in old if value not in new], [value for value in new if value not in old]
    return old, new


def _write(directory: Path, current: schema_pb2.Schema, proposed: schema_pb2.Schema) -> str:
    texts = [text_format.MessageToString(schema) for schema in (current, proposed)]
    before, after = (text.splitlines(keepends=True) for text in texts)
    diff = "".join(difflib.unified_diff(before, after, "current/schema.pbtxt", "proposed/schema.pbtxt"))
    (directory / "schema.pbtxt").write_text(texts[1], encoding="utf-8")
    (directory / "changes.diff").write_text(diff, encoding="utf-8")
    return file_digest(directory / "schema.pbtxt")


def _markdown(changes: list[_Change], unresolved: list[str], rows: int) -> str:
    lines = ["# Proposed schema", "", f"{len(changes)} changes, for {rows:,} rows of data to look as the schema says."]
    if changes:
        lines += ["", "| column | change | | before | after | why |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [
            f"| {_cell(c.feature)} | {c.kind} | {_cell(c.change)} | {_cell(c.before)} | {_cell(c.after)} "
            f"| {_cell(c.reason)} |"
            for c in changes
        ]
        lines += ["", "To accept them, put `schema.pbtxt` of this proposal in the current schema's place."]
    if unresolved:
        lines += ["", "No schema helps against:", "", *(f"- {_cell(sentence)}" for sentence in unresolved)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"
    for character in "\\|<>`*_[]":
        short = short.replace(character, f"\\{character}")
    return " ".join(short.split())
