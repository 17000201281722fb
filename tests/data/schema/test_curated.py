"""Schemas that people wrote, and what a schema cannot be made of."""

from __future__ import annotations

import pytest

from shipway.components.common.errors import ConflictError, InputError, ObjectNotFound
from shipway.components.data.schema.curated import resolve_schema
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.protos import read_schema

COLUMNS = {"count": [*range(98), None, 0], "kind": ["a"] * 60 + ["b"] * 30 + [None] * 10}


def test_it_is_taken_as_it_is(described, tmp_path):
    statistics = described(COLUMNS)
    curated = tmp_path / "my schema.pbtxt"
    curated.write_text('feature { name: "count" type: INT presence { min_count: 7 } } # by hand\n')
    for uri in (str(curated), curated.as_uri()):
        metadata = infer_schema(statistics, tmp_path / "schema", schema_uri=uri, label="count")
        assert metadata["curated"] is True
        assert read_schema(tmp_path / "schema").feature[0].presence.min_count == 7


def test_it_is_known_by_what_it_holds(described, tmp_path):
    statistics = described(COLUMNS)
    infer_schema(statistics, tmp_path / "inferred", label="kind")
    curated = tmp_path / "curated.pbtxt"
    curated.write_bytes((tmp_path / "inferred" / "schema.pbtxt").read_bytes())
    digest = resolve_schema(str(curated))
    infer_schema(statistics, tmp_path / "schema", schema_uri=str(curated), schema_digest=digest)
    with curated.open("a") as file:
        file.write("# a note\n")
    assert resolve_schema(curated.as_uri()) != digest
    with pytest.raises(ConflictError, match="changed while the pipeline ran"):
        infer_schema(statistics, tmp_path / "late", schema_uri=str(curated), schema_digest=digest)
    assert not (tmp_path / "late").exists()
    assert resolve_schema("") == ""


def test_it_may_lie_elsewhere(described, served, tmp_path):
    directory, address = served
    file = directory / "schema.pbtxt"
    file.write_text('feature { name: "count" type: INT }\n')
    uri = f"{address}/plain/schema.pbtxt"
    digest = resolve_schema(uri)
    assert digest == resolve_schema(str(directory)) == resolve_schema(str(file))
    metadata = infer_schema(described(COLUMNS), tmp_path / "schema", schema_uri=uri, schema_digest=digest)
    assert metadata["curated"] is True
    file.write_text("changed")
    with pytest.raises(ConflictError, match="changed while the pipeline ran"):
        infer_schema(described(COLUMNS), tmp_path / "late", schema_uri=uri, schema_digest=digest)
    with pytest.raises(ObjectNotFound, match="other is neither a schema nor a directory"):
        resolve_schema(f"{address}/plain/other")


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("feature { nam: 1 }", {}, "is no schema .*1:11"),
        ("", {}, "without features"),
        (b"\xff\xfe", {}, "cannot be read"),
        (None, {"schema_uri": "ftp://host/schema.pbtxt"}, "ftp:// is not known"),
        (None, {"schema_uri": "/no/schema.pbtxt"}, "No such file"),
        (None, {"label": "kin"}, "no feature 'kin'; did you mean 'kind'"),
        ('feature { name: "count" }', {"label": "kind"}, "no feature 'kind'"),
        (None, {"max_unseen_fraction": 1.0}, "max_unseen_fraction=1.0"),
    ],
)
def test_wrong_ones(described, tmp_path, text, parameters, message):
    if text is not None:
        (tmp_path / "s.pbtxt").write_bytes(text if isinstance(text, bytes) else text.encode())
        parameters = {"schema_uri": str(tmp_path / "s.pbtxt"), **parameters}
    with pytest.raises(InputError, match=message):
        infer_schema(described(COLUMNS), tmp_path / "schema", **parameters)
    assert not (tmp_path / "schema").exists()
