"""What is TensorFlow's own in training: devices, precision, XLA, the optimizer, Keras's kinds of models."""

import gc
import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from shipway.components.common.artifacts import read_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import Encoders, feature_tensors
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.tensorflow.encoding import Encoding
from shipway.components.tensorflow.optimizer import AdamW
from shipway.components.tensorflow.state import packed, unpacked
from shipway.components.tensorflow.training import train_in
from shipway.components.tensorflow.world import World

MIRRORED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
import tensorflow as tf
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.tensorflow.training import train_in
from shipway.components.tensorflow.world import World

device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
root, network, precision = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
histories = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    devices = strategy.num_replicas_in_sync
    asked = conftest.asked(root, f"mirrored-{network}-{precision}-{devices}", network=network, epochs=2, batch_size=511)
    chosen = Accelerator("cpu", devices, "asked for", precision, "asked for")
    histories.append([vars(epoch) for epoch in train_in(World(strategy=strategy), chosen, asked).history])
print(json.dumps(histories))
"""


def history(model):
    return read_model(model).history


@pytest.mark.parametrize(("network", "precision", "tolerance"), [("linear", "fp32", 1e-5), ("linear", "fp16", 1e-2)])
def test_two_devices_learn_what_one_learns(trained, network, precision, tolerance):
    command = [sys.executable, "-c", MIRRORED, str(Path(__file__).parent), str(trained), network, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    for epoch, expected in zip(two, one, strict=True):
        assert epoch == pytest.approx(expected, abs=tolerance)


def test_two_devices_leave_out_units_and_words_of_their_own(trained):
    command = [sys.executable, "-c", MIRRORED, str(Path(__file__).parent), str(trained), "mlp", "fp32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert two[-1]["validation_roc_auc"] == pytest.approx(one[-1]["validation_roc_auc"], abs=0.03)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_low_precision_it_learns_and_the_model_computes_in_fp32(trained, asked, precision):
    chosen = Accelerator("cpu", 1, "asked for", precision, "asked for")
    description = train_in(World(), chosen, asked(trained, precision, epochs=3))
    assert description.training["precision"] == precision
    assert description.metrics["validation_roc_auc"] > 0.9
    assert keras.config.dtype_policy().name == "float32"
    loaded = tf.saved_model.load(str(trained / precision / "saved_model"))
    assert {variable.dtype for variable in loaded.variables_of_network} == {tf.float32}


def test_compiled_by_xla_it_learns_the_same(trained, train):
    model = train(trained, "compiled", network="linear", compiled=True, epochs=2)
    plain = train(trained, "plain", network="linear", epochs=2)
    assert read_model(model).training["compiled"] == "compiled"
    for epoch, expected in zip(history(model), history(plain), strict=True):
        assert vars(epoch) == pytest.approx(vars(expected), abs=1e-5)


OWN = """
import keras
import tensorflow as tf
def parts(spec):
    numeric = keras.Input([spec.numeric_width], name="numeric")
    categorical = keras.Input([len(spec.cardinalities)], dtype="int64", name="categorical")
    return numeric, categorical
def functional(spec):
    numeric, categorical = parts(spec)
    words = keras.layers.Flatten()(keras.layers.Embedding(max(spec.cardinalities), 4)(categorical))
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()([words, numeric]))
    logits = keras.layers.Dense(spec.classes)(keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(hidden)))
    return keras.Model([categorical, numeric], logits)
def sequential(spec):
    return keras.Sequential([parts(spec)[0], keras.layers.Dense(16, "tanh"), keras.layers.Dense(spec.classes)])
def misnamed(spec):
    numeric = keras.Input([spec.numeric_width], name="pixels")
    return keras.Model(numeric, keras.layers.Dense(spec.classes)(numeric))
def nameless(spec):
    return keras.Sequential([keras.layers.Dense(16, "tanh"), keras.layers.Dense(spec.classes)])
class Plain(keras.Model):
    def __init__(self, spec):
        super().__init__()
        self.last = keras.layers.Dense(spec.classes)
    def call(self, numeric, categorical):
        return self.last(numeric)
class Uncompiled(Plain):
    def call(self, numeric, categorical):
        return tf.numpy_function(lambda n: n, [self.last(numeric)], tf.float32) * 0 + self.last(numeric)
class Untraceable(Plain):
    def call(self, numeric, categorical, training=False):
        return self.last(numeric) * float(tf.reduce_sum(numeric).numpy() >= 0)
class Unknown(Plain):
    def __init__(self, spec):
        super().__init__(spec)
        self.scale = tf.Variable(1.0)
    def call(self, numeric, categorical):
        return self.last(numeric) * self.scale
class Failing(Plain):
    def call(self, numeric, categorical, training=False):
        if training:
            raise ValueError("not while learning")
        return self.last(numeric)
class FailingStep(Plain):
    def training_step(self, numeric, categorical, labels, weights):
        return numeric.no_such_thing
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(textwrap.dedent(OWN))
    return str(path)


@pytest.mark.parametrize("function", ["functional", "sequential", "Plain"])
def test_every_kind_of_keras_model_is_trained_and_exported(trained, train, own, function):
    model = train(trained, f"own-{function}", network=f"own:{function}", network_code=own, learning_rate=0.02)
    description = read_model(model)
    assert description.metrics["validation_roc_auc"] > 0.85
    tensors = feature_tensors(pq.read_table(trained / "test"), description.kinds)
    loaded = tf.saved_model.load(str(model / "saved_model"))
    scores = loaded.predict({name: tf.constant(values) for name, values in tensors.items()})["scores"]
    np.testing.assert_allclose(served(model, tensors), scores, atol=1e-5)


def served(model, tensors):
    import onnxruntime

    return onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores"], tensors)[0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("misnamed", r'inputs are named pixels: .*keras.Input\(\(\d+,\), name="numeric"\)'),
        ("nameless", r'inputs are named not at all: a Sequential starts with keras.Input\(\(\d+,\), name="numeric"\)'),
        ("Untraceable", r"exporting own:Untraceable, which must .* failed with (.|\n)*own.py:\d+, in call"),
        ("Unknown", "variables that Keras does not know and would not train .*: make them with add_weight"),
        ("Failing", r"a training step failed with ValueError: (.|\n)*not while learning(.|\n)*own.py:\d+"),
        ("FailingStep", r"a training step failed with AttributeError: (.|\n)*no_such_thing(.|\n)*own.py:\d+"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_with_the_line(trained, train, own, function, message):
    with pytest.raises(InputError, match=message):
        train(trained, "own-wrong", network=f"own:{function}", network_code=own)


def test_what_xla_cannot_compile_is_trained_without_it_and_says_why(trained, asked, own, monkeypatch):
    from shipway.components.tensorflow import export

    monkeypatch.setattr(export, "export", lambda network, encoders, label_names, directory: onnx_of(directory, trained))
    request = asked(trained, "uncompiled", network="own:Uncompiled", network_code=own, compiled=True, epochs=1)
    description = train_in(World(), Accelerator("cpu", 1, "asked for", "fp32", "asked for"), request)
    assert description.training["compiled"].startswith("not compiled: ")


def onnx_of(directory, trained):
    (directory / "model.onnx").write_bytes((trained / "model" / "model.onnx").read_bytes())


def test_the_focal_loss_learns(trained, train):
    model = train(trained, "focal", loss="focal", focal_gamma=0.5, epochs=3)
    assert read_model(model).metrics["validation_roc_auc"] > 0.9


def test_a_second_training_of_the_same_process_gives_the_same_model(trained, train):
    first, second = (read_model(train(trained, out, epochs=1)) for out in ("first", "second"))
    assert first.files["model.onnx"] == second.files["model.onnx"]
    assert first.metrics == second.metrics


def test_left_by_an_error_it_reads_no_further(trained, train):
    def leave(epoch):
        raise KeyError(epoch.epoch)

    gc.disable()  # which would end it too, some time
    try:
        with pytest.raises(KeyError):
            train(trained, "left", on_epoch=leave, batch_size=16)
        assert "input" not in {thread.name for thread in threading.enumerate()}
    finally:
        gc.enable()


def test_the_graph_is_traced_once_though_the_last_batch_is_smaller(trained, train, own):
    Path(own).write_text(
        "import keras\ntimes = []\n"
        "class Counting(keras.Model):\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "        self.last = keras.layers.Dense(spec.classes)\n"
        "    def call(self, numeric, categorical, training=False):\n"
        "        times.append(training)\n"
        "        return self.last(numeric)\n"
    )
    train(trained, "counting", network="own:Counting", network_code=own, epochs=3)
    assert sum(sys.modules["own"].times) == 1


def test_numbers_are_encoded_as_the_specification_says(trained):
    encoders = Encoders.from_json(read_json(trained / "model" / "encoders.json"))
    tensors = feature_tensors(pq.read_table(trained / "test"), encoders.kinds)
    numeric, _ = encoders.encode(tensors)
    np.testing.assert_allclose(Encoding(encoders)(tf.constant(encoders.raw(tensors))), numeric, atol=1e-6)


def weights_and_gradients():
    generator = np.random.default_rng(0)
    return [generator.normal(size=(5, 3)).astype(np.float32) for _ in range(4)]


def test_the_optimizer_does_what_keras_does():
    start, *gradients = weights_and_gradients()
    mine, theirs = tf.Variable(start), keras.Variable(start)
    keras_adamw = keras.optimizers.AdamW(learning_rate=0.01, weight_decay=0.1)
    adamw = AdamW([mine], 0.1, scaled=False, strategy=tf.distribute.get_strategy())
    for gradient in gradients:
        adamw.apply([tf.constant(gradient)], tf.constant(0.01))
        keras_adamw.apply([tf.constant(gradient)], [theirs])
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-6)


def test_a_scaled_step_whose_gradient_is_no_number_is_left_out():
    start, gradient, *_ = weights_and_gradients()
    plain, scaled = tf.Variable(start), tf.Variable(start)
    one = AdamW([plain], 0.1, scaled=False, strategy=tf.distribute.get_strategy())
    other = AdamW([scaled], 0.1, scaled=True, strategy=tf.distribute.get_strategy())
    apply = tf.function(lambda gradient: other.apply([gradient], tf.constant(0.01)))
    for _ in range(5):
        apply(tf.constant(np.full_like(gradient, np.inf)))
    np.testing.assert_array_equal(scaled.numpy(), start)
    assert float(other.scaled(tf.constant(1.0))) == 2**11
    for _ in range(3):
        one.apply([tf.constant(gradient)], tf.constant(0.01))
        apply(other.scaled(tf.constant(gradient)))
    np.testing.assert_allclose(scaled.numpy(), plain.numpy(), atol=1e-6)


def test_a_scale_that_holds_is_doubled():
    weight = tf.Variable([1.0])
    adamw = AdamW([weight], 0.0, scaled=True, strategy=tf.distribute.get_strategy())
    apply = tf.function(lambda: adamw.apply([tf.constant([1.0])], tf.constant(0.0)))
    for _ in range(2000):
        apply()
    assert float(adamw.scaled(tf.constant(1.0))) == 2**17


def test_a_state_comes_back_as_it_was():
    arrays = [np.arange(3, dtype=np.int64), np.asarray(2.5), np.asarray([[1.5]], ml_dtypes.bfloat16)]
    document = {"trained": arrays, "best": [], "epoch": 3, "loss": 0.1, "history": [{"loss": 1.0}]}
    found = unpacked(packed(document))
    assert {**found, "trained": None} == {**document, "trained": None}
    for array, expected in zip(found["trained"], arrays, strict=True):
        assert array.tobytes() == expected.tobytes()
        assert array.shape == expected.shape
