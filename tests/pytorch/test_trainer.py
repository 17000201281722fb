"""What both trainers promise; the other family's folder links here."""

import math

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shipway.components.common.artifacts import directory_digest
from shipway.components.common.errors import InputError
from shipway.components.common.model import read_golden, read_model, verify_files
from shipway.components.common.preprocessing import feature_tensors, instance_tensors, label_strings
from shipway.components.common.training import roc_auc


def answers(model, table):
    """Asks ``model.onnx``; returns scores, labels and the positions of the true classes."""
    description = read_model(model)
    session = onnxruntime.InferenceSession(str(model / "model.onnx"))
    scores, labels = session.run(["scores", "label"], feature_tensors(table, description.kinds))
    truth = [description.label_names.index(name) for name in label_strings(table.column(description.label))]
    return scores, labels, np.asarray(truth)


def test_the_model_directory_is_complete_and_says_what_it_is(trained, framework):
    description = verify_files(trained / "model")
    assert (description.framework, description.task, description.label) == (framework, "binary", "kind")
    assert description.label_names == ("kind 0", "kind 1")
    assert [tensor.datatype for tensor in description.inputs] == ["FP32"] * 4 + ["BYTES"]
    assert [tensor.name for tensor in description.inputs] == ["size (mm)", "depth", "petals", "wild", "colour"]
    assert description.digests.data == directory_digest(trained / "train")
    assert [epoch.epoch for epoch in description.history] == [1, 2, 3, 4, 5]
    best = description.history[description.training["best_epoch"] - 1]
    assert description.metrics["validation_roc_auc"] == best.validation_roc_auc
    assert description.training["accelerator"] == "cpu"
    assert description.training["accelerator_reason"] == "no GPU is visible"
    assert "Validation loss" in (trained / "model.html").read_text()


def test_it_learns(trained):
    scores, labels, truth = answers(trained / "model", pq.read_table(trained / "validation"))
    assert roc_auc(truth, scores) > 0.93
    assert roc_auc(truth, scores) == pytest.approx(
        read_model(trained / "model").metrics["validation_roc_auc"], abs=1e-4
    )
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert labels.tolist() == [f"kind {best}" for best in scores.argmax(axis=1)]


def test_golden_answers_hold_and_have_missing_and_unseen_values(trained):
    golden = read_golden(trained / "model")
    session = onnxruntime.InferenceSession(str(trained / "model" / "model.onnx"))
    tensors = instance_tensors(golden.instances, read_model(trained / "model").kinds)
    scores, labels = session.run(["scores", "label"], tensors)
    np.testing.assert_allclose(scores, golden.scores, atol=golden.tolerance)
    assert labels.tolist() == list(golden.labels)
    assert 8 <= len(golden.instances) <= 16
    assert any(set(instance.values()) == {None} for instance in golden.instances)
    assert any(instance["colour"] not in ("red", "white", "blue", None) for instance in golden.instances)


def test_few_rows_of_several_classes_with_the_defaults(data, train, flowers):
    root = data(flowers(240, 0, classes=3), flowers(60, 1, classes=3))
    model = train(root)
    description = read_model(model)
    assert description.task == "multiclass"
    assert description.training["rows_per_step"] == 5
    scores, labels, truth = answers(model, flowers(300, 2, classes=3))
    assert scores.shape == (300, 3)
    assert roc_auc(truth, scores) > 0.85
    assert np.mean(labels == np.asarray([description.label_names[i] for i in truth])) > 0.6


def test_a_row_without_weight_teaches_nothing(data, train, flowers):
    table = flowers(3000, 0)
    wrong = np.random.default_rng(3).random(3000) < 0.7
    kinds = np.where(wrong, "kind 0", np.asarray(table.column("kind")))
    table = table.set_column(5, "kind", pa.array(kinds)).append_column(
        "sample_weight", pa.array(np.where(wrong, 0.0, 2.0))
    )
    model = train(data(table, flowers(500, 1)), epochs=3)
    assert "sample_weight" not in read_model(model).kinds
    scores, _, truth = answers(model, flowers(500, 2))
    assert abs(scores[:, 1].mean() - truth.mean()) < 0.1


@pytest.mark.parametrize("kept", [["colour"], ["depth", "petals"]])
def test_strings_alone_and_numbers_alone(data, train, kept, flowers):
    root = data(*(flowers(rows, rows).select([*kept, "kind"]) for rows in (600, 200)))
    scores, _, truth = answers(train(root, hidden_units=()), flowers(200, 2))
    assert roc_auc(truth, scores) > 0.6


def test_a_batch_larger_than_the_data_and_columns_that_tell_nothing(data, train, flowers, caplog):
    table = flowers(20, 0).append_column("constant", pa.array([1.0] * 20))
    table = table.append_column("rare", pa.array([f"word {row}" for row in range(20)]))
    model = train(data(table, table), batch_size=10**6)
    assert read_model(model).training["rows_per_step"] == 1
    for name in ("constant", "rare"):
        assert f"the feature '{name}' tells nothing" in caplog.text
    assert "'depth'" not in caplog.text
    changed = table.set_column(table.schema.get_field_index("rare"), "rare", pa.array(["another"] * 20))
    np.testing.assert_allclose(answers(model, table)[0], answers(model, changed)[0], atol=1e-6)


def test_a_validation_split_of_one_class_is_warned_of(data, train, flowers, caplog):
    table = flowers(200, 0)
    model = train(data(table, table.filter(pc.equal(table["kind"], "kind 1"))), epochs=1)
    assert "every row of the validation split is 'kind 1': no ROC AUC can be told" in caplog.text
    assert read_model(model).history[0].validation_roc_auc is None


def with_labels(table, values):
    return table.set_column(table.schema.get_field_index("kind"), "kind", pa.array(values))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (lambda t: (with_labels(t, [None] + ["a", "b"] * 20)[:41], t), "1 of 41 rows have no label"),
        (lambda t: (with_labels(t, [math.nan] * 2 + [1.0] * 39), t), "2 of 41 rows have no label"),
        (lambda t: (with_labels(t, ["a"] * 41), t), "'a' in every training row"),
        (lambda t: (t, with_labels(t, ["kind 7"] * 2 + ["kind 0"] * 39)), "2 rows of the validation split .*'kind 7'"),
        (lambda t: (t[:0], t), "the training split at .* has no rows"),
        (lambda t: (t, t[:0]), "the validation split at .* has no rows"),
        (lambda t: (t, t.drop_columns(["depth"])), "lacks the columns depth"),
        (lambda t: (t.rename_columns(["scores", *t.column_names[1:]]), t), "'scores' is named like an output"),
        (lambda t: (t.select(["kind"]), t), "no column besides the label"),
        (lambda t: (t.append_column("sample_weight", pa.array([-1.0] * 41)), t), "sample_weight of the training split"),
    ],
)
def test_data_that_cannot_be_learned_from(data, train, splits, message, flowers):
    root = data(*splits(flowers(41, 0)))
    with pytest.raises(InputError, match=message):
        train(root)
    assert not (root / "model").exists()


def test_an_unknown_label_names_the_columns(trained, train):
    with pytest.raises(InputError, match="no column 'late' for the label; it has: size"):
        train(trained, "unknown", label="late")


def test_a_gpu_that_is_not_there_is_never_replaced_silently(trained, train):
    with pytest.raises(InputError, match="no GPU is visible"):
        train(trained, "gpu", accelerator="gpu")


def test_a_network_too_large_for_the_memory_says_so_and_the_next_one_is_trained(trained, train):
    with pytest.raises(InputError, match=r"the network itself needs too much memory .*narrower hidden_units"):
        train(trained, "giant", hidden_units=(1 << 16, 1 << 31))
    assert not (trained / "giant").exists()
    assert read_model(train(trained, "small", hidden_units=(4,), epochs=1)).training["best_epoch"] == 1


def test_a_training_that_diverges_stops_and_leaves_nothing(trained, train):
    with pytest.raises(InputError, match=r"diverged in epoch 1.*lower learning_rate"):
        train(trained, "diverged", learning_rate=1e30)
    assert not (trained / "diverged").exists()
