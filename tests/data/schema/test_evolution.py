from __future__ import annotations

import difflib
import json

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import InputError
from shipway.components.data.schema.evolution import propose_schema
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

ROWS = 300
OLD = {
    "n": np.arange(ROWS),
    "f": np.arange(ROWS) / 7,
    "kind": ["a", "b", "c"] * (ROWS // 3),
    "gone": ["z"] * ROWS,
    "turned": np.arange(ROWS),
    "y": [0, 1] * (ROWS // 2),
}
NEW = {
    "n": np.arange(ROWS),
    "f": [*[None] * 9, *(np.arange(9, ROWS) / 7)],
    "kind": ["a", "b", "d"] * (ROWS // 3),
    "turned": ["x", "w"] * (ROWS // 2),
    "y": [0, 1] * (ROWS // 2),
    "fresh": ["p", "q", None] * (ROWS // 3),
}


@pytest.fixture
def proposed(described, tmp_path):
    """Infers a schema from old columns, edits it, and returns what is proposed for new ones."""

    def run(old, new, edit=None, label="", **parameters):
        infer_schema(described(old, "old"), tmp_path / "schema", label=label)
        file = tmp_path / "schema" / "schema.pbtxt"
        if edit:
            schema = read_schema(file)
            edit(schema)
            file.write_text(text_format.MessageToString(schema))
        before = file.read_bytes()
        metadata = propose_schema(described(new, "new"), tmp_path / "schema", tmp_path / "proposal", **parameters)
        assert file.read_bytes() == before
        listed = json.loads((tmp_path / "proposal" / "changes.json").read_text())
        assert (metadata["changes"], metadata["unresolved"]) == (len(listed["changes"]), len(listed["unresolved"]))
        return listed, read_schema(tmp_path / "proposal")

    return run


def by_column(listed):
    return {(change["feature"], change["change"]): change for change in listed["changes"]}


def remaining(tmp_path, name="new"):
    schema = read_schema(tmp_path / "proposal")
    return dict(tfdv.validate_statistics(read_statistics(tmp_path / name), schema).anomaly_info)


def test_every_kind_of_change(proposed, tmp_path):
    listed, schema = proposed(OLD, NEW, label="y", max_unseen_fraction=0.05)
    changes = by_column(listed)
    assert {key: change["kind"] for key, change in changes.items()} == {
        ("f", "presence"): "widens",
        ("kind", "values"): "widens",
        ("gone", "lifecycle_stage"): "removes",
        ("turned", "column"): "replaces",
        ("fresh", "column"): "adds",
    }
    assert (changes["kind", "values"]["before"], changes["kind", "values"]["after"]) == ([], ["d"])
    assert "d (~33%)" in changes["kind", "values"]["reason"]
    assert (changes["turned", "column"]["before"]["type"], changes["turned", "column"]["after"]["type"]) == (
        "INT",
        "BYTES",
    )
    assert changes["fresh", "column"]["after"]["values"] == ["p", "q"]
    assert changes["gone", "lifecycle_stage"]["after"] == "DEPRECATED"
    assert all(change["reason"] for change in changes.values())
    features = {feature.name: feature for feature in schema.feature}
    assert features["fresh"].distribution_constraints.min_domain_mass == pytest.approx(0.95)
    assert list(features["y"].not_in_environment) == ["SERVING"]
    assert listed["rows"] == ROWS
    assert listed["unresolved"] == []
    assert remaining(tmp_path) == {}


def test_the_files(proposed, described, tmp_path):
    metadata = None

    def edit(schema):
        schema.feature[0].annotation.comment.append("a | b")

    proposed(OLD, NEW, edit)
    metadata = propose_schema(tmp_path / "new", tmp_path / "schema", tmp_path / "proposal", tmp_path / "page.md")
    proposal = tmp_path / "proposal"
    assert sorted(file.name for file in proposal.iterdir()) == [
        "changes.diff", "changes.json", "changes.md", "schema.pbtxt",
    ]  # fmt: skip
    assert metadata["digest"] == file_digest(proposal / "schema.pbtxt")
    texts = [(tmp_path / name / "schema.pbtxt").read_text().splitlines(True) for name in ("schema", "proposal")]
    assert (proposal / "changes.diff").read_text() == "".join(
        difflib.unified_diff(*texts, "current/schema.pbtxt", "proposed/schema.pbtxt")
    )
    page = (proposal / "changes.md").read_text()
    assert page == (tmp_path / "page.md").read_text()
    assert '| kind | widens | values | \\[\\] | \\["d"\\] |' in page
    assert "put `schema.pbtxt` of this proposal in the current schema's place" in page


def test_nothing_to_propose(proposed, tmp_path):
    listed, schema = proposed(OLD, OLD, label="y")
    assert listed == {"rows": ROWS, "changes": [], "unresolved": []}
    assert (tmp_path / "proposal" / "changes.diff").read_text() == ""
    assert schema == read_schema(tmp_path / "schema")
    assert "0 changes" in (tmp_path / "proposal" / "changes.md").read_text()


def test_a_proposal_is_enough(proposed, described, tmp_path):
    proposed(OLD, NEW, label="y")
    again = propose_schema(tmp_path / "new", tmp_path / "proposal" / "schema.pbtxt", tmp_path / "again")
    assert again["changes"] == 0


def test_a_type_that_changes_takes_its_domain_along(proposed, tmp_path):
    listed, schema = proposed({"v": ["1x", "2x"] * 50}, {"v": np.arange(100) / 3})
    assert by_column(listed)["v", "column"]["kind"] == "replaces"
    assert not schema.string_domain
    assert [(feature.name, feature.type) for feature in schema.feature] == [("v", schema_pb2.FLOAT)]
    assert remaining(tmp_path) == {}


def test_a_type_that_changes_stays_in_its_environments(proposed):
    old, new = ({"n": np.arange(9), "y": labels * 3} for labels in (["a", "b", "c"], [0, 1, 2]))
    _, schema = proposed(old, new, label="y")
    assert {feature.name: list(feature.not_in_environment) for feature in schema.feature} == {"n": [], "y": ["SERVING"]}


def test_categories_that_became_text(proposed, tmp_path):
    text = {"kind": [f"{i} words" for i in range(ROWS)]}
    listed, schema = proposed({"kind": OLD["kind"]}, text)
    assert not schema.string_domain
    assert schema.feature[0].WhichOneof("domain_info") is None
    assert by_column(listed)["kind", "values"]["after"] is None
    assert remaining(tmp_path) == {}


def test_booleans_that_became_numbers(proposed, tmp_path):
    listed, schema = proposed({"n": [0, 1] * 50}, {"n": [0, 1, 2, 3] * 25})
    assert by_column(listed).keys() == {("n", "bool_domain")}
    assert schema.feature[0].WhichOneof("domain_info") is None
    assert remaining(tmp_path) == {}


def test_columns_are_added_as_inference_describes_them(proposed, described, tmp_path):
    def take_its_name(schema):
        schema.string_domain[0].name = schema.feature[0].domain = "fresh"

    added = {"fresh": ["p", "q"] * 150, "ones": [1] * ROWS}
    _, schema = proposed({"kind": OLD["kind"]}, {"kind": OLD["kind"], **added}, take_its_name)
    infer_schema(described(added, "added"), tmp_path / "like")
    like = {feature.name: feature for feature in read_schema(tmp_path / "like").feature}
    found = {feature.name: feature for feature in schema.feature}
    assert found["ones"] == like["ones"]
    assert found["fresh"].domain != "fresh"
    found["fresh"].domain = "fresh"
    assert found["fresh"] == like["fresh"]
    assert remaining(tmp_path) == {}


def test_a_long_list_that_people_wrote_stays(proposed):
    def write(schema):
        schema.string_domain[0].value.extend(f"v{i}" for i in range(200))

    listed, _ = proposed({"kind": OLD["kind"]}, {"kind": OLD["kind"]}, write)
    assert listed["changes"] == []


def test_tightening_is_asked_for(proposed, tmp_path):
    old = {"kind": ["a", "b", "c"] * 100, "f": [None, *np.arange(1, 300) / 7], "n": OLD["n"]}
    new = {"kind": ["a", "b"] * 150, "f": np.arange(300) / 7, "n": OLD["n"]}
    assert proposed(old, new)[0]["changes"] == []
    listed, _ = proposed(old, new, tighten=True)
    changes = by_column(listed)
    assert {key: change["kind"] for key, change in changes.items()} == {
        ("kind", "values"): "narrows",
        ("f", "presence"): "narrows",
    }
    assert (changes["kind", "values"]["before"], changes["kind", "values"]["after"]) == (["c"], [])
    assert changes["f", "presence"]["after"]["min_fraction"] == pytest.approx(0.99)
    assert changes["f", "presence"]["reason"] == "true of all 300 rows"
    assert remaining(tmp_path) == {}


def test_tightening_spares_values_that_another_column_uses(proposed):
    def share(schema):
        for feature in schema.feature:
            feature.domain = "kind"

    old = {"kind": ["a", "b", "c"] * 100, "other": ["a", "b", "c"] * 100}
    listed, _ = proposed(old, {"kind": ["a", "b"] * 150, "other": ["c"] * 300}, share, tighten=True)
    assert listed["changes"] == []


def test_what_no_schema_helps_against(proposed):
    def ask(schema):
        schema.dataset_constraints.min_examples_count = 1000

    listed, _ = proposed(OLD, OLD, ask)
    assert listed["changes"] == []
    assert listed["unresolved"] == ["The dataset has 300 examples, which is fewer than expected."]


def test_inputs(described, tmp_path):
    infer_schema(described(OLD, "old"), tmp_path / "schema")
    with pytest.raises(InputError, match="no schema"):
        propose_schema(tmp_path / "old", tmp_path / "nowhere", tmp_path / "proposal")
    with pytest.raises(InputError, match="no statistics"):
        propose_schema(tmp_path / "nowhere", tmp_path / "schema", tmp_path / "proposal")
    nothing = described({name: np.asarray(column)[:0] for name, column in OLD.items()}, "nothing")
    with pytest.raises(InputError, match="of no rows"):
        propose_schema(nothing, tmp_path / "schema", tmp_path / "proposal")
    assert not (tmp_path / "proposal").exists()
