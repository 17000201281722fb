import importlib
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.common.model import digests_of, read_golden, read_model, verify_files
from shipway.components.common.optimization.pruning import kept_weights
from shipway.components.common.optimization.quantization import quantize_model
from shipway.components.common.optimization.settings import OptimizationRequest, PruningSettings
from shipway.components.common.preprocessing import feature_tensors, instance_tensors

NATIVE = {"pytorch": {"model.pt2", "model.ts.pt"}, "tensorflow": {"saved_model"}}


@pytest.fixture(scope="session")
def prune(framework):
    return getattr(importlib.import_module(f"shipway.components.{framework}.pruning"), f"prune_{framework}")


def asked(root, out, parent="model", **bounds):
    return OptimizationRequest(
        parent=str(root / parent),
        validation=str(root / "validation"),
        model=str(out / "model"),
        report=str(out / "report.html"),
        **{"max_loss_of_roc_auc": 0.02, "max_rise_of_log_loss": 0.1, **bounds},
    )


@pytest.fixture(scope="module")
def pruned(trained, prune, tmp_path_factory):
    out = tmp_path_factory.mktemp("pruned")
    prune(
        asked(trained, out), PruningSettings(sparsity=0.7, fine_tune_epochs=2, learning_rate=0.001), trained / "train"
    )
    return out / "model"


def matrices(model):
    """What the layers multiply by, in order, with their inputs along the rows."""
    graph = onnx.load(model / "model.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.name.startswith("network/") and node.op_type in ("Gemm", "MatMul"):
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            weights = constants[node.input[1]]
            found.append(weights.T if transposed else weights)
    return found


def scores(model, tensors):
    return onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores"], tensors)[0]


def test_the_smallest_weights_of_all_matrices_together_go():
    weights = [np.array([[0.1, -5.0], [3.0, -0.2]]), np.array([[-0.3, 0.0, 4.0, 0.3]])]
    kept = kept_weights(weights, 0.5)
    assert [mask.tolist() for mask in kept] == [[[False, True], [True, False]], [[False, False, True, True]]]
    with pytest.raises(InputError, match="nothing to prune"):
        kept_weights([], 0.5)


def test_the_sparsity_is_reached_in_what_is_served(trained, pruned):
    description = verify_files(pruned)
    weights = np.concatenate([matrix.ravel() for matrix in matrices(pruned)])
    assert (weights == 0).sum() == round(0.7 * weights.size)
    (record,) = description.training["optimization"]
    assert record["settings"]["prunable_weights"] == weights.size
    zeros = record["after"]["weights"] - record["after"]["nonzero_weights"]
    assert zeros >= (weights == 0).sum()
    assert record["after"]["gzip_bytes"] < 0.8 * record["before"]["gzip_bytes"]
    assert record["parent"] == read_model(trained / "model").digest
    assert description.digests == digests_of(trained / "train")


def test_fine_tuning_moves_the_weights_that_are_left_and_no_others(trained, pruned, prune, tmp_path):
    prune(asked(trained, tmp_path), PruningSettings(sparsity=0.7, fine_tune_epochs=0))
    for before, once, tuned in zip(
        matrices(trained / "model"), matrices(tmp_path / "model"), matrices(pruned), strict=True
    ):
        assert np.array_equal(once, np.where(once != 0, before, 0))
        assert np.array_equal(once == 0, tuned == 0)
        assert not np.array_equal(once, tuned)
    losses = [
        read_model(model).training["optimization"][0]["after"]["log_loss"] for model in (tmp_path / "model", pruned)
    ]
    assert losses[1] < losses[0]
    assert read_model(tmp_path / "model").digests == read_model(trained / "model").digests


def test_the_model_is_whole_again(trained, pruned, framework):
    parent = trained / "model"
    assert {path.name for path in pruned.iterdir()} == {path.name for path in parent.iterdir()}
    assert NATIVE[framework] <= {path.name for path in pruned.iterdir()}
    assert (pruned / "encoders.json").read_bytes() == (parent / "encoders.json").read_bytes()
    golden, kinds = read_golden(pruned), read_model(pruned).kinds
    answered = scores(pruned, instance_tensors(golden.instances, kinds))
    assert np.abs(answered - np.array(golden.scores)).max() <= golden.tolerance == read_golden(parent).tolerance


def test_the_native_export_gives_the_same_scores(trained, pruned, framework):
    kinds = read_model(pruned).kinds
    tensors = feature_tensors(pq.read_table(trained / "test"), kinds)
    expected = scores(pruned, tensors)
    if framework == "pytorch":
        import torch

        from shipway.components.common.artifacts import read_json
        from shipway.components.common.preprocessing import Encoders

        encoded = Encoders.from_json(read_json(pruned / "encoders.json")).encode(tensors)
        found = torch.export.load(pruned / "model.pt2").module()(*map(torch.from_numpy, encoded)).detach().numpy()
    else:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(pruned / "saved_model"))
        found = loaded.predict({name: tf.constant(values) for name, values in tensors.items()})["scores"].numpy()
    assert np.abs(found - expected).max() < 1e-5


IN_ANOTHER_PROCESS = """
import importlib, sys
from shipway.components.common.optimization.settings import OptimizationRequest, PruningSettings
framework, train, parent, validation, model, report = sys.argv[1:]
prune = getattr(importlib.import_module(f"shipway.components.{framework}.pruning"), f"prune_{framework}")
prune(OptimizationRequest(parent, validation, model, report), PruningSettings(fine_tune_epochs=1), train)
if framework == "tensorflow":  # 0 where something ran before the number of threads was fixed
    import tensorflow as tf
    assert tf.config.threading.get_intra_op_parallelism_threads() > 0
"""


def test_the_same_again_gives_the_same_bytes(trained, framework, tmp_path):
    splits = [framework, *(str(trained / name) for name in ("train", "model", "validation"))]
    made = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *splits, str(out / "model"), str(out / "report.html")]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        made.append(read_model(out / "model").files)
    assert made[0] == made[1]


def test_a_pruned_model_can_be_quantized_and_keeps_its_zeros(trained, pruned, tmp_path):
    description = quantize_model(replace(asked(trained, tmp_path), parent=str(pruned)))
    methods = [record["method"] for record in description.training["optimization"]]
    assert methods == ["pruning", "quantization"]
    first, second = description.training["optimization"]
    assert second["parent"] == read_model(pruned).digest
    assert second["before"]["nonzero_weights"] == first["after"]["nonzero_weights"]
    assert second["after"]["nonzero_weights"] <= first["after"]["nonzero_weights"]
    assert second["after"]["gzip_bytes"] < 0.5 * first["before"]["gzip_bytes"]


def test_too_much_is_refused_and_leaves_no_model(trained, prune, tmp_path):
    with pytest.raises(DataRejected, match=r"pruning costs too much.*max_loss_of_roc_auc allows only 0\.001") as error:
        prune(asked(trained, tmp_path, max_loss_of_roc_auc=0.001), PruningSettings(sparsity=0.99, fine_tune_epochs=0))
    assert error.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_other_rows_keep_the_models_encoders(trained, prune, flowers, data, tmp_path):
    root = data(flowers(900, 5, words=("green", "red", "black")), flowers(400, 6))
    request = replace(asked(root, tmp_path / "out", max_loss_of_roc_auc=0.2), parent=str(trained / "model"))
    prune(request, PruningSettings(sparsity=0.3, fine_tune_epochs=1), root / "train")
    assert (tmp_path / "out/model/encoders.json").read_bytes() == (trained / "model/encoders.json").read_bytes()


def test_rows_that_do_not_fit_are_said(trained, prune, flowers, data, tmp_path):
    three = data(flowers(600, 5, classes=3), flowers(300, 6))
    request = replace(asked(three, tmp_path / "out"), parent=str(trained / "model"))
    with pytest.raises(
        InputError, match="has the classes kind 0, kind 1, kind 2, the model flowers has kind 0, kind 1"
    ):
        prune(request, PruningSettings(), three / "train")
    two = data(flowers(600, 5).drop_columns(["depth"]), flowers(300, 6).drop_columns(["depth"]))
    request = replace(asked(two, tmp_path / "out"), parent=str(trained / "model"))
    with pytest.raises(InputError, match="depth"):
        prune(request, PruningSettings(), two / "train")
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_cannot_be_pruned(trained, prune, tmp_path):
    quantize_model(asked(trained, tmp_path / "quantized"))
    request = replace(asked(trained, tmp_path / "out"), parent=str(tmp_path / "quantized" / "model"))
    with pytest.raises(InputError, match="before quantization"):
        prune(request, PruningSettings(), trained / "train")


@pytest.mark.parametrize(
    "wrong", [{"sparsity": 0.0}, {"sparsity": 1.0}, {"fine_tune_epochs": -1}, {"learning_rate": 0.0}, {"seed": -1}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        PruningSettings(**wrong)


OWN = {
    "pytorch": """
        from torch import nn
        def build(spec):
            class Own(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.first = nn.Linear(spec.numeric_width, 32)
                    self.norm, self.last = nn.BatchNorm1d(32), nn.Linear(32, spec.classes)
                def forward(self, numeric, categorical):
                    return self.last(self.norm(self.first(numeric)).relu())
            return Own()
        """,
    "tensorflow": """
        import keras
        def build(spec):
            class Own(keras.Model):
                def __init__(self):
                    super().__init__()
                    self.first, self.last = keras.layers.Dense(32), keras.layers.Dense(spec.classes)
                    self.norm = keras.layers.BatchNormalization()
                def call(self, numeric, categorical, training=False):
                    return self.last(keras.ops.relu(self.norm(self.first(numeric), training=training)))
            return Own()
        """,
}


def test_a_network_of_ones_own(prune, train, flowers, data, framework, tmp_path):
    code = tmp_path / "own_network.py"
    code.write_text(textwrap.dedent(OWN[framework]))
    root = data(flowers(1500, 0), flowers(500, 1))
    train(root, network="own_network:build", network_code=str(code), epochs=2)
    more = [str(code)] if framework == "tensorflow" else []
    prune(asked(root, tmp_path / "out"), PruningSettings(sparsity=0.4, fine_tune_epochs=1), root / "train", *more)
    weights = np.concatenate([matrix.ravel() for matrix in matrices(tmp_path / "out" / "model")])
    assert (weights == 0).sum() == round(0.4 * weights.size)


def test_the_networks_for_images(prune, train, flowers, data, tmp_path):
    import pyarrow as pa

    def pictures(rows, seed):
        pixels = np.random.default_rng(seed).random((rows, 16)).astype(np.float32)
        return flowers(rows, seed).append_column("pixels", pa.array(pixels.tolist(), pa.list_(pa.float32())))

    root = data(pictures(900, 0), pictures(300, 1))
    train(root, network="cnn", epochs=1, hidden_units=[16])
    request = asked(root, tmp_path / "out", max_loss_of_roc_auc=1.0, max_rise_of_log_loss=9.0)
    description = prune(request, PruningSettings(sparsity=0.5, fine_tune_epochs=1), root / "train")
    record = description.training["optimization"][0]
    zeros = record["after"]["weights"] - record["after"]["nonzero_weights"]
    assert zeros >= round(0.5 * record["settings"]["prunable_weights"]) > 9_000
