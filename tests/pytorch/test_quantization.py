import gzip
import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.common.model import read_golden, read_model, verify_files
from shipway.components.common.optimization.publishing import metrics_of
from shipway.components.common.optimization.quantization import quantize_model
from shipway.components.common.optimization.settings import OptimizationRequest
from shipway.components.common.preprocessing import instance_tensors


def asked(root, out, parent="model", **bounds):
    return OptimizationRequest(
        parent=str(root / parent),
        validation=str(root / "validation"),
        model=str(out / "model"),
        report=str(out / "report.html"),
        **bounds,
    )


@pytest.fixture(scope="module")
def quantized(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantized")
    quantize_model(asked(trained, out))
    return out / "model"


def answers(model, tensors):
    return onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores", "label"], tensors)


def rows_of(root, split):
    """Raw tensors and classes, read without the code that is tested."""
    table = pq.read_table(root / split)
    numbers = {name: table[name].cast(pa.float64()).to_numpy() for name in ("size (mm)", "depth", "petals")}
    numbers["wild"] = table["wild"].cast(pa.int8()).to_numpy()
    tensors = {name: np.asarray(values, np.float32) for name, values in numbers.items()}
    tensors["colour"] = np.array([word or "" for word in table["colour"].to_pylist()], object)
    return tensors, np.array([name == "kind 1" for name in table["kind"].to_pylist()])


def test_the_model_is_a_third_of_its_size_and_says_what_became_of_it(trained, quantized):
    description = verify_files(quantized)
    parent = read_model(trained / "model")
    (record,) = description.training["optimization"]
    assert record["method"] == "quantization"
    assert record["parent"] == parent.digest != description.digest
    assert record["after"]["bytes"] == (quantized / "model.onnx").stat().st_size < record["before"]["bytes"] * 0.45
    assert record["before"]["gzip_bytes"] == len(gzip.compress((trained / "model" / "model.onnx").read_bytes(), 9))
    assert record["before"]["weights"] == record["after"]["weights"] >= record["after"]["nonzero_weights"] > 0
    assert all(record[when][f"latency_{rows}_median_us"] > 0 for when in ("before", "after") for rows in (1, 64))
    assert {path.name for path in quantized.iterdir()} == {"encoders.json", "golden.json", "model.json", "model.onnx"}
    assert (quantized / "encoders.json").read_bytes() == (trained / "model" / "encoders.json").read_bytes()
    assert metrics_of(description)["bytes_after"] == record["after"]["bytes"]
    page = (quantized.parent / "report.html").read_text()
    assert "Published" in page
    assert parent.digest in page


def test_metrics_are_those_of_the_scores(trained, quantized):
    tensors, positive = rows_of(trained, "validation")
    record = read_model(quantized).training["optimization"][0]
    for model, found in ((trained / "model", record["before"]), (quantized, record["after"])):
        parts = [
            answers(model, {name: values[at : at + 64] for name, values in tensors.items()})[0]
            for at in range(0, len(positive), 64)
        ]
        scores = np.concatenate(parts)[:, 1].astype(float)
        pairs = scores[positive][:, None] - scores[~positive][None]
        assert found["roc_auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
        own = np.where(positive, scores, np.concatenate(parts)[:, 0])
        assert found["log_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-9)
    assert read_model(quantized).metrics["validation_roc_auc"] == record["after"]["roc_auc"]


def test_scores_stay_close_and_golden_answers_hold(trained, quantized):
    tensors, _ = rows_of(trained, "test")
    before, after = answers(trained / "model", tensors)[0], answers(quantized, tensors)[0]
    assert 0 < np.abs(before - after).max() < 0.05
    golden, kinds = read_golden(quantized), read_model(quantized).kinds
    assert golden.instances == read_golden(trained / "model").instances
    scores, labels = answers(quantized, instance_tensors(golden.instances, kinds))
    assert np.array_equal(scores, np.array(golden.scores, np.float32))
    assert labels.tolist() == list(golden.labels)
    alone = [answers(quantized, instance_tensors([instance], kinds))[0][0] for instance in golden.instances]
    assert np.abs(np.array(alone) - np.array(golden.scores)).max() <= golden.tolerance + 1e-7


def test_the_preprocessing_stays_exact(trained, quantized):
    before, after = (onnx.load(model / "model.onnx").graph for model in (trained / "model", quantized))

    def preprocessing(graph):
        nodes = {node.name: node for node in graph.node if not node.name.startswith("network/")}
        constants = {c.name: c for c in graph.initializer if not c.name.startswith("network/")}
        return {**nodes, **constants}

    assert preprocessing(before) == preprocessing(after)
    kinds = {tensor.data_type for tensor in after.initializer if tensor.name.startswith("network/")}
    assert onnx.TensorProto.INT8 in kinds
    largest = max(
        np.abs(numpy_helper.to_array(tensor).astype(int)).max()
        for tensor in after.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    )
    assert largest <= 64, "7 bits, so that no CPU's products overflow"


def test_the_same_bytes_in_every_process(trained, quantized, tmp_path):
    script = """
import sys
from shipway.components.common.optimization.quantization import quantize_model
from shipway.components.common.optimization.settings import OptimizationRequest
quantize_model(OptimizationRequest(*sys.argv[1:]))
"""
    request = asked(trained, tmp_path)
    arguments = [str(value) for value in asdict(request).values()][:4]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=environment, capture_output=True)
    assert read_model(tmp_path / "model").digest == read_model(quantized).digest


@pytest.mark.parametrize("bound", ["max_loss_of_roc_auc", "max_rise_of_log_loss"])
def test_a_loss_that_is_too_great_is_refused_and_leaves_no_model(trained, tmp_path, monkeypatch, bound):
    from shipway.components.common.optimization import quantization

    worse = onnx.load(trained / "model" / "model.onnx")
    for tensor in worse.graph.initializer:
        if tensor.name.startswith("network/") and len(tensor.dims) == 2:
            # The logits change sides, or grow: the order is lost, or only the probabilities are.
            factor = -1 if bound == "max_loss_of_roc_auc" else 2
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))
    quantize = quantization._quantized
    monkeypatch.setattr(quantization, "_quantized", lambda _: quantize(worse))
    others = {"max_loss_of_roc_auc": 1.0, "max_rise_of_log_loss": 9.0}
    with pytest.raises(DataRejected, match=f"quantization costs too much.*{bound} allows only 0.01; no model") as error:
        quantize_model(asked(trained, tmp_path, **{**others, bound: 0.01}))
    assert error.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "Refused" in (tmp_path / "report.html").read_text()


def test_several_classes_and_a_vector_feature(data, train, flowers, tmp_path):
    def pictures(rows, seed):
        table = flowers(rows, seed, classes=3)
        pixels = np.random.default_rng(seed).random((rows, 16))
        values = [None if place % 50 == 0 else row.tolist() for place, row in enumerate(pixels)]
        return table.append_column("pixels", pa.array(values, pa.list_(pa.float32())))

    root = data(pictures(1500, 0), pictures(500, 1))
    train(root, epochs=2, network="cnn")
    description = quantize_model(asked(root, tmp_path / "out", max_loss_of_roc_auc=0.02))
    assert verify_files(tmp_path / "out" / "model") == description
    assert description.task == "multiclass"
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "model" / "model.onnx").graph.node}
    assert {"Conv", "MatMulInteger"} <= operators


def test_what_cannot_be_quantized_or_judged_is_said(trained, quantized, tmp_path):
    with pytest.raises(InputError, match="was it quantized before"):
        quantize_model(asked(trained, tmp_path, parent=quantized))
    table = pq.read_table(trained / "validation")
    one = table.filter(pa.compute.equal(table["kind"], "kind 1"))
    strange = table.set_column(table.column_names.index("kind"), "kind", pa.array(["kind 9"] * table.num_rows))
    faults = {
        "rows of one class": one,
        "does not know: kind 9": strange,
        "lacks the columns depth": table.drop_columns(["depth"]),
    }
    for fault, rows in faults.items():
        (tmp_path / "rows").mkdir(exist_ok=True)
        pq.write_table(rows, tmp_path / "rows" / "part-0.parquet")
        with pytest.raises(InputError, match=fault):
            quantize_model(
                OptimizationRequest(
                    str(trained / "model"), str(tmp_path / "rows"), str(tmp_path / "model"), str(tmp_path / "r.html")
                )
            )
    assert not (tmp_path / "model").exists()
    for bound in ({"max_loss_of_roc_auc": -0.1}, {"max_loss_of_roc_auc": 1.5}, {"max_rise_of_log_loss": -1.0}):
        with pytest.raises(InputError, match=next(iter(bound))):
            asked(trained, tmp_path, **bound)
    record = json.loads((quantized / "model.json").read_text())["training"]["optimization"]
    assert len(record) == 1
