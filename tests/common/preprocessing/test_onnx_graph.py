import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from shipway.components.common.preprocessing import learn_encoders
from shipway.components.common.preprocessing.onnx_graph import full_model, preprocessing_model

NUMBERS = ("mean radius", "x(mm)", "class", "numeric")
WORDS = ("größe", "word", "categorical")
VECTORS = {"pixels": 6, "an embedding": 1}


def raw(rows, seed, words):
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(1000, 300, rows).astype(np.float32) for name in NUMBERS}
    tensors |= {name: rng.choice(np.asarray(words, object), rows) for name in WORDS}
    tensors |= {name: rng.normal(8, 4, (rows, size)).astype(np.float32) for name, size in VECTORS.items()}
    for name in (*NUMBERS[:3], *VECTORS):
        tensors[name][rng.random(rows) < 0.2] = np.nan
    tensors["pixels"][rng.random((rows, 6)) < 0.1] = np.nan
    return tensors


def learn(names):
    tensors = raw(500, 0, ["a", "ä", "", "c d"])
    kinds = {name: "string" if name in WORDS else "vector" if name in VECTORS else "numeric" for name in names}
    return learn_encoders({name: tensors[name] for name in names}, kinds)


def asked():
    tensors = raw(200, 1, ["a", "ä", "", "new", "other"])
    tensors["numeric"][:4] = tensors["pixels"][0, :4] = [np.nan, np.inf, -np.inf, 1e30]
    return tensors


@pytest.mark.parametrize(
    "names",
    [
        (*NUMBERS, *WORDS),
        NUMBERS,
        WORDS,
        (NUMBERS[0], "pixels", WORDS[0], "an embedding", NUMBERS[1]),
        ("pixels", *WORDS),
        ("pixels",),
    ],
)
def test_the_graph_gives_the_numbers_that_trainers_use(names):
    encoders = learn(names)
    model = preprocessing_model(encoders)
    onnx.checker.check_model(model, full_check=True)
    tensors = {name: value for name, value in asked().items() if name in names}
    numeric, categorical = encoders.encode(tensors)
    read = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= read
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = dict(zip([out.name for out in session.get_outputs()], session.run(None, tensors), strict=True))
    if {*NUMBERS, *VECTORS} & set(names):
        np.testing.assert_allclose(found.pop("preprocessing/numeric"), numeric, atol=1e-6)
    if set(WORDS) & set(names):
        np.testing.assert_array_equal(found.pop("preprocessing/categorical"), categorical)
    assert not found


def test_a_vector_is_an_input_of_two_axes():
    model = preprocessing_model(learn(("pixels", "word")))
    found = {node.name: node.shape for node in onnxruntime.InferenceSession(model.SerializeToString()).get_inputs()}
    assert found == {"pixels": ["batch", 6], "word": ["batch"]}


def test_a_vocabulary_without_a_frequent_word_takes_all_as_unseen():
    tensors = {"w": np.asarray([f"w{i}" for i in range(30)], object), "x": np.arange(30, dtype=np.float32)}
    encoders = learn_encoders(tensors, {"w": "string", "x": "numeric"})
    session = onnxruntime.InferenceSession(preprocessing_model(encoders).SerializeToString())
    assert not session.run(["preprocessing/categorical"], tensors)[0].any()


def network(names, seed=0):
    """Scores from the first numeric column, under the names that an exporter would choose."""
    nodes = [
        helper.make_node("Gather", ["numeric", names[0]], [names[1]], axis=1, doc_string="File /home/me/x.py"),
        helper.make_node("Softmax", [names[1]], [names[2]], axis=1, name=names[1]),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["s0", None])],
        [helper.make_tensor_value_info(names[2], TensorProto.FLOAT, ["s0", 2])],
        initializer=[
            numpy_helper.from_array(np.zeros(1), f"unused {names[0]}"),
            numpy_helper.from_array(np.asarray([0, 1], np.int64), names[0]),
        ],
    )
    return helper.make_model(
        graph, producer_name="x", producer_version=names[0], opset_imports=[helper.make_opsetid("", 18)]
    )


@pytest.mark.parametrize("names", [NUMBERS, (*NUMBERS, *VECTORS), tuple(VECTORS)])
def test_the_whole_model_answers_with_scores_and_label_whatever_features_are_called(names):
    encoders = learn(names)
    model = full_model(encoders, network(["a", "b", "c"]), ["no", "yes"])
    tensors = {name: value for name, value in asked().items() if name in names}
    scores, labels = onnxruntime.InferenceSession(model.SerializeToString()).run(["scores", "label"], tensors)
    assert scores.shape == (200, 2)
    assert labels.tolist() == [["no", "yes"][best] for best in scores.argmax(axis=1)]
    assert [value.name for value in model.graph.input] == list(names)


def test_names_and_texts_of_the_exporter_leave_no_trace():
    encoders = learn(NUMBERS)
    one, other = (
        full_model(encoders, network(names), ["no", "yes"]).SerializeToString(deterministic=True)
        for names in (["a", "b", "c"], ["const__73", "node/9", "Identity:0"])
    )
    assert one == other
    assert b"/home/me" not in one
