import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import feature_tensors


def test_onnx_and_saved_model_give_one_answer(trained):
    model = trained / "model"
    tensors = feature_tensors(pq.read_table(trained / "test"), read_model(model).kinds)
    assert np.isnan(tensors["size (mm)"]).any()
    assert {"", "green"} <= set(tensors["colour"])
    scores, labels = onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores", "label"], tensors)
    loaded = tf.saved_model.load(str(model / "saved_model"))
    native = loaded.predict({name: tf.constant(values) for name, values in tensors.items()})
    np.testing.assert_allclose(native["scores"], scores, atol=1e-5)
    assert [label.decode() for label in native["label"].numpy()] == labels.tolist()


def test_the_signature_takes_every_feature_under_its_own_name(trained):
    """As TensorFlow Serving sees it; names that TensorFlow would rewrite are among them."""
    description = read_model(trained / "model")
    saved = saved_model_pb2.SavedModel.FromString((trained / "model" / "saved_model" / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    assert set(signature.inputs) == {tensor.name for tensor in description.inputs}
    assert set(signature.outputs) == {"scores", "label"}
    for tensor in description.inputs:
        found = signature.inputs[tensor.name]
        assert [dim.size for dim in found.tensor_shape.dim] == [-1]
        assert found.dtype == (tf.string if tensor.datatype == "BYTES" else tf.float32).as_datatype_enum
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(trained / "model" / "saved_model"))
        names = loaded.signature_def["serving_default"]
        tensors = feature_tensors(pq.read_table(trained / "test"), description.kinds)
        (scores,) = session.run(
            [names.outputs["scores"].name], {names.inputs[name].name: values for name, values in tensors.items()}
        )
    (served,) = onnxruntime.InferenceSession(str(trained / "model" / "model.onnx")).run(["scores"], tensors)
    np.testing.assert_allclose(scores, served, atol=1e-5)


def test_plain_names_are_keyword_arguments(data, train, flowers):
    splits = [
        flowers(rows, rows).rename_columns(["size", "depth", "petals", "wild", "colour", "kind"]) for rows in (99, 40)
    ]
    model = train(data(*splits), epochs=1)
    loaded = tf.saved_model.load(str(model / "saved_model"))
    tensors = feature_tensors(splits[1], read_model(model).kinds)
    scores = loaded.signatures["serving_default"](**{name: tf.constant(v) for name, v in tensors.items()})["scores"]
    assert scores.shape == (40, 2)


def test_the_same_data_code_and_seed_give_the_same_model(trained, train_afresh):
    one, other = train_afresh(trained, "one", 1), train_afresh(trained, "other", 2)
    for name, value in one.metrics.items():
        assert abs(value - other.metrics[name]) <= 1e-6
    assert one.files == other.files


def test_a_model_of_images_gives_one_answer_too(data, train):
    rng = np.random.default_rng(0)
    images = [None, *(row.tolist() for row in rng.normal(size=(299, 36)).astype(np.float32))]
    kinds = ["dark" if image is None or sum(image) < 0 else "bright" for image in images]
    table = pa.table({"image": images, "size": rng.random(300), "word": ["a", "b", None] * 100, "kind": kinds})
    model = train(data(table, table), network="cnn", epochs=1)
    tensors = feature_tensors(table, read_model(model).kinds)
    (scores,) = onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores"], tensors)
    loaded = tf.saved_model.load(str(model / "saved_model"))
    assert loaded.signatures["serving_default"].structured_input_signature[1]["image"].shape == [None, 36]
    native = loaded.predict({name: tf.constant(values) for name, values in tensors.items()})
    np.testing.assert_allclose(native["scores"], scores, atol=1e-5)
