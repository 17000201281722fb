import json
from dataclasses import replace

import pytest

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import InputError
from shipway.components.common.model import (
    Digests,
    Epoch,
    Golden,
    ModelDescription,
    Tensor,
    digests_of,
    read_golden,
    read_model,
    verify_files,
    write_golden,
    write_model,
)

DESCRIPTION = ModelDescription(
    name="flights",
    framework="pytorch",
    task="binary",
    label="late",
    label_names=("0", "1"),
    inputs=(Tensor("hour", "FP32"), Tensor("carrier", "BYTES"), Tensor("radar", "FP32", (-1, 3))),
    outputs=(Tensor("scores", "FP32", (-1, 2)), Tensor("label", "BYTES")),
    digests=Digests("sha256:d", "sha256:c", "sha256:e"),
    metrics={"validation_roc_auc": None, "validation_log_loss": 0.5},
    history=(Epoch(1, 0.7, 0.6, None, 0.6, None), Epoch(2, 0.6, 0.5, 0.75, 0.4, 0.8)),
    training={"epochs": 2, "rows": 10, "accelerator": "cpu"},
)
GOLDEN = Golden(({"hour": 5, "carrier": None, "radar": [1, None, 0.5]},), ((0.25, 0.75),), ("1",))


@pytest.fixture
def model(tmp_path):
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "weights").write_bytes(b"\0\1")
    (tmp_path / "model.onnx").write_bytes(b"graph")
    write_golden(tmp_path, GOLDEN)
    write_model(tmp_path, DESCRIPTION)
    return tmp_path


def change(model, **members):
    path = model / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def test_what_is_written_is_read(model):
    description = verify_files(model)
    assert replace(description, digest="", files={}) == DESCRIPTION
    assert set(description.files) == {"golden.json", "model.onnx", "native/weights"}
    assert description.digest == directory_digest(model, exclude={"model.json"})
    assert description.kinds == {"hour": "numeric", "carrier": "string", "radar": "vector"}
    assert description.sizes == {"radar": 3}
    assert read_golden(model) == GOLDEN


def test_the_digest_is_that_of_the_files_alone(model, tmp_path):
    before = read_model(model).digest
    assert write_model(model, replace(DESCRIPTION, name="other", training={"seconds": 9})).digest == before
    (model / "model.onnx").write_bytes(b"grapf")
    assert write_model(model, DESCRIPTION).digest != before


def test_digests_come_from_the_dataset_and_the_variables(tmp_path, monkeypatch):
    (tmp_path / "part-00000.parquet").write_bytes(b"rows")
    monkeypatch.setenv("SHIPWAY_CODE_DIGEST", "sha256:code")
    monkeypatch.delenv("SHIPWAY_LOCK_DIGEST", raising=False)
    assert digests_of(tmp_path) == Digests(directory_digest(tmp_path), "sha256:code", "")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: (root / "model.onnx").write_bytes(b"other"), "model.onnx has changed"),
        (lambda root: (root / "native" / "weights").unlink(), "native/weights is missing"),
        (lambda root: (root / "added").write_bytes(b""), "added is not named"),
        (lambda root: change(root, digest="sha256:0"), "digest does not match"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(model, harm, message):
    harm(model)
    with pytest.raises(InputError, match=message):
        verify_files(model)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"framework": "caffe"}, "framework is 'caffe', it must be one of 'pytorch', 'tensorflow'"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, r"inputs\[0\] lacks shape"),
        ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1, 3]}]}, r"shapes other than \[-1\] .*: x"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 0]}]}, r"shapes other than \[-1\] .*: x"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": []}]}, r"shapes other than \[-1\] .*: x"),
        ({"label_names": ["1", "0"]}, "distinct names, sorted"),
        ({"label_names": ["a", "b", "c"]}, "does not fit 3 label_names"),
        ({"outputs": []}, "outputs are not scores and label"),
        ({"name": 7}, "name must be str, it is 7"),
        ({"digests": []}, "digests must be an object"),
        ({"metrics": {"a": "high"}}, "metrics.a must be float"),
    ],
)
def test_a_malformed_description_says_where(model, members, message):
    change(model, **members)
    with pytest.raises(InputError, match=message):
        read_model(model)


def test_a_directory_without_a_description_is_no_model(tmp_path):
    with pytest.raises(InputError, match=r"model\.json does not exist"):
        read_model(tmp_path)


def test_golden_answers_must_fit_the_requests(model):
    write_golden(model, replace(GOLDEN, labels=()))
    with pytest.raises(InputError, match="as many instances"):
        read_golden(model)
