"""The user's own networks, and the built-in ones; the other family's folder links here."""

import textwrap

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import feature_tensors
from shipway.components.common.training import roc_auc

OWN = {
    "pytorch": """
        import torch
        from torch import nn
        class Own(nn.Module):
            def __init__(self, spec):
                super().__init__()
                self.width = spec.parameters["width"]
                self.first = nn.Linear(spec.numeric_width, self.width)
                self.norm = nn.BatchNorm1d(self.width)
                self.last = nn.Linear(self.width, spec.classes)
            def forward(self, numeric, categorical):
                return self.last(torch.relu(self.norm(self.first(numeric))))
        class Stepping(Own):
            def training_step(self, numeric, categorical, labels, weights):
                losses = nn.functional.cross_entropy(self(numeric, categorical), labels, reduction="none")
                return (losses * weights).mean()
        def build(spec):
            return Own(spec)
        def stepping(spec):
            return Stepping(spec)
        class WrongShape(Own):
            def forward(self, numeric, categorical):
                return self.first(numeric)[:, :7]
        def wrong_shape(spec):
            return WrongShape(spec)
        class Failing(Own):
            def forward(self, numeric, categorical):
                raise ValueError("no idea")
        def failing(spec):
            return Failing(spec)
        class TwoAnswers(Own):
            def forward(self, numeric, categorical):
                return super().forward(numeric, categorical), numeric
        def two_answers(spec):
            return TwoAnswers(spec)
        class LossOfEachRow(Own):
            def training_step(self, numeric, categorical, labels, weights):
                return nn.functional.cross_entropy(self(numeric, categorical), labels, reduction="none") * weights
        def loss_of_each_row(spec):
            return LossOfEachRow(spec)
        """,
    "tensorflow": """
        import keras
        import tensorflow as tf
        class Own(keras.Model):
            def __init__(self, spec):
                super().__init__()
                self.first = keras.layers.Dense(spec.parameters["width"])
                self.norm = keras.layers.BatchNormalization()
                self.last = keras.layers.Dense(spec.classes)
            def call(self, numeric, categorical, training=False):
                return self.last(tf.nn.relu(self.norm(self.first(numeric), training=training)))
        class Stepping(Own):
            def training_step(self, numeric, categorical, labels, weights):
                logits = self(numeric, categorical, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                return tf.reduce_mean(losses * weights)
        def build(spec):
            return Own(spec)
        def stepping(spec):
            return Stepping(spec)
        class WrongShape(Own):
            def call(self, numeric, categorical, training=False):
                return self.first(numeric)[:, :7]
        def wrong_shape(spec):
            return WrongShape(spec)
        class Failing(Own):
            def call(self, numeric, categorical, training=False):
                raise ValueError("no idea")
        def failing(spec):
            return Failing(spec)
        class TwoAnswers(Own):
            def call(self, numeric, categorical, training=False):
                return super().call(numeric, categorical, training), numeric
        def two_answers(spec):
            return TwoAnswers(spec)
        class LossOfEachRow(Own):
            def training_step(self, numeric, categorical, labels, weights):
                logits = self(numeric, categorical, training=True)
                return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * weights
        def loss_of_each_row(spec):
            return LossOfEachRow(spec)
        """,
}
COMMON = """
def broken(spec):
    return spec.nothing_like_it
def nothing(spec):
    return None
def leaving(spec):
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory, framework):
    path = tmp_path_factory.mktemp("code") / "own_network.py"
    path.write_text(textwrap.dedent(OWN[framework]) + COMMON)
    return str(path)


def scored(model, table):
    description = read_model(model)
    session = onnxruntime.InferenceSession(str(model / "model.onnx"))
    (scores,) = session.run(["scores"], feature_tensors(table, description.kinds))
    return scores


@pytest.mark.parametrize("function", ["build", "stepping"])
def test_a_network_of_ones_own_learns_and_is_exported(trained, train, code, function, flowers):
    model = train(trained, f"own-{function}", network=f"own_network:{function}", network_code=code, width=32)
    table = flowers(500, 2)
    truth = np.asarray([name == "kind 1" for name in table.column("kind").to_pylist()]).astype(int)
    assert roc_auc(truth, scored(model, table)) > 0.8
    assert read_model(model).training["network"] == f"own_network:{function}"


def test_a_directory_of_code_is_found(trained, train, code):
    from pathlib import Path

    model = train(
        trained, "own-directory", network="own_network:build", network_code=str(Path(code).parent), epochs=1, width=8
    )
    assert model.is_dir()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "broken",
            r"building the network failed with AttributeError.*own_network.py:\d+, in broken: return spec.nothing",
        ),
        ("failing", r"failed with ValueError: (.|\n)*no idea(.|\n)*own_network.py:\d+"),
        ("nothing", "must return a .*, it returned NoneType"),
        ("wrong_shape", r"must give logits \[rows, classes\], \(2, 2\) for 2 rows, .*; it gave \(2, 7\)"),
        ("two_answers", r"must give logits \[rows, classes\], .*; it gave a tuple, which is no tensor"),
        ("loss_of_each_row", r"training_step .*own_network.py:\d+.* a scalar: .*; it returned a tensor of shape"),
        ("leaving", r"building the network failed with SystemExit: 3 .*own_network.py:\d+, in leaving"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_errors_in_a_network_are_its_authors_and_have_the_line(trained, train, code, function, message):
    with pytest.raises(InputError, match=message):
        train(trained, "own-wrong", network=f"own_network:{function}", network_code=code, width=8)
    assert not (trained / "own-wrong").exists()


def test_a_module_that_is_not_there_or_does_not_parse(trained, train, tmp_path):
    with pytest.raises(InputError, match=r"importing no_such_package\.module failed with ModuleNotFoundError"):
        train(trained, "own-wrong", network="no_such_package.module:build")
    with pytest.raises(InputError, match=r"network is 'forest'; it must be mlp, linear, cnn or package\.module"):
        train(trained, "own-wrong", network="forest")
    (tmp_path / "unparsed.py").write_text("def build(spec)\n    pass\n")
    with pytest.raises(InputError, match=r"SyntaxError.*unparsed.py:1"):
        train(trained, "own-wrong", network="unparsed:build", network_code=str(tmp_path / "unparsed.py"))


def test_the_linear_network_is_a_baseline(trained, train):
    model = train(trained, "linear", network="linear")
    assert read_model(model).metrics["validation_roc_auc"] > 0.9


def stripes(rows, seed):
    """Images of 6 x 6 with a vertical or a horizontal stripe, and a number beside them."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.5, (rows, 6, 6))
    upright = rng.random(rows) < 0.5
    for image, vertical, place in zip(images, upright, rng.integers(0, 6, rows), strict=True):
        (image.T if vertical else image)[place] += 2
    pixels = [list(map(float, image.ravel())) for image in images]
    pixels[0] = None
    return pa.table({"image": pixels, "size": rng.random(rows), "kind": ["up" if u else "across" for u in upright]})


def test_the_cnn_sees_what_is_in_an_image(data, train):
    root = data(stripes(3000, 0), stripes(500, 1))
    model = train(root, "cnn", network="cnn", epochs=6, hidden_units=(32,))
    description = read_model(model)
    assert description.metrics["validation_roc_auc"] > 0.97
    assert {tensor.name: tensor.shape for tensor in description.inputs} == {"image": (-1, 36), "size": (-1,)}
    linear = read_model(train(root, "flat", network="linear", epochs=6))
    assert linear.metrics["validation_roc_auc"] < description.metrics["validation_roc_auc"] - 0.1


def test_the_cnn_wants_an_image_that_fits(data, train, trained):
    root = data(stripes(300, 0), stripes(60, 1))
    with pytest.raises(InputError, match="36 values, which are no image of 5 x 5 x 1"):
        train(root, "cnn", network="cnn", image_shape=(5, 5, 1))
    with pytest.raises(InputError, match="takes one feature of lists of numbers, the data has 0"):
        train(trained, "own-wrong", network="cnn")
