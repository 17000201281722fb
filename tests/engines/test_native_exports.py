"""The native exports, each where its library is: the same answers as ONNX Runtime's, and taken only then."""

import logging
import shutil

import numpy as np
import pytest
from engines_support import FILES, NATIVE, rows

from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.model import read_model
from shipway.serving.engines.choice import load_engine

native = pytest.mark.parametrize("name", NATIVE)


@native
@pytest.mark.parametrize("count", [1, 7, 300])
def test_a_native_export_answers_as_onnx_runtime_does(model, name, count):
    tensors = rows(read_model(model), count)
    scores, labels = load_engine(model, name).run(tensors)
    expected_scores, expected_labels = load_engine(model, "onnxruntime").run(tensors)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    assert labels.tolist() == expected_labels.tolist()
    assert {type(label) for label in labels} == {str}


@native
def test_auto_takes_another_engine_where_onnx_runtime_is_slower(changed, name):
    slow = changed(lambda model: only(slowed(model), name))
    engine = load_engine(slow)
    assert type(engine).__name__ == ("SavedModel" if name == "tensorflow" else "TorchModel")


@native
def test_an_engine_that_answers_wrongly_is_not_taken_however_fast(trained, changed, name, caplog):
    caplog.set_level(logging.INFO)
    wrong = changed(lambda model: put(only(slowed(model), name), trained[1], name))
    assert load_engine(wrong).platform == "onnx_onnxruntime"
    assert f"is not served by {name}: the model flowers does not answer its golden requests" in caplog.text
    with pytest.raises(DeploymentError, match="does not answer its golden requests"):
        load_engine(wrong, name)


@native
def test_an_export_that_does_not_load(changed, name):
    broken = changed(lambda model: spoil(only(model, name), name))
    with pytest.raises(InputError, match=r"cannot load .*export it again"):
        load_engine(broken, name)
    assert load_engine(broken).platform == "onnx_onnxruntime"


def only(model, name):
    """Leaves one native export."""
    for other in set(NATIVE) - {name}:
        (model / FILES[other]).unlink()
    return model


def put(model, source, name):
    """Takes the native export of another model."""
    target = model / FILES[name]
    if target.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source / FILES[name], target)
    else:
        shutil.copy(source / FILES[name], target)


def spoil(model, name):
    target = model / FILES[name]
    (target / "saved_model.pb" if target.is_dir() else target).write_bytes(b"no model")


def slowed(model):
    """Has ``model.onnx`` multiply large matrices before it gives the same answer."""
    import onnx
    from onnx import helper, numpy_helper

    whole = onnx.load(model / "model.onnx")
    (last,) = (node for node in whole.graph.node if node.output[0] == "scores")
    scores = last.input[0]
    last.input[0] = "slow/scores"
    constants = {"slow/shape": np.array([700, 700]), "slow/zero": np.zeros((), np.float32)}
    whole.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        helper.make_node("ReduceMean", [scores], ["slow/mean"], keepdims=1),
        helper.make_node("Expand", ["slow/mean", "slow/shape"], ["slow/wide"]),
        helper.make_node("MatMul", ["slow/wide", "slow/wide"], ["slow/product"]),
        helper.make_node("ReduceMean", ["slow/product"], ["slow/one"], keepdims=1),
        helper.make_node("Mul", ["slow/one", "slow/zero"], ["slow/nothing"]),
        helper.make_node("Add", [scores, "slow/nothing"], ["slow/scores"]),
    ]
    position = list(whole.graph.node).index(last)
    after = [*nodes, *list(whole.graph.node)[position:]]
    del whole.graph.node[position:]
    whole.graph.node.extend(after)
    onnx.save(whole, model / "model.onnx")
    return model
