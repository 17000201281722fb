"""Makes what every server serves: ``python -m benchmarks.serving.model_case DIRECTORY WIDTH LAYERS SEED``.

A Model directory whose network takes one vector, and the same weights as TorchScript beside it.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from shipway.components.common.artifacts import new_directory
from shipway.components.common.model import Digests, Epoch, Golden, ModelDescription, Tensor, write_golden, write_model

FEATURES = 32
LABELS = ("cat", "dog", "fox")
ROWS = 64


def main(directory: Path, width: int, layers: int, seed: int) -> None:
    """Writes ``model``, a Model, and ``network.pt`` into a new directory."""
    random = np.random.default_rng(seed)
    sizes = [FEATURES, *[width] * layers, len(LABELS)]
    weights = [
        (random.normal(0, (2 / a) ** 0.5, (a, b)).astype(np.float32), random.normal(0, 0.1, b).astype(np.float32))
        for a, b in pairwise(sizes)
    ]
    # As measured values come: with few digits. They are the same whatever the weights.
    rows = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).round(3).astype(np.float32)
    with new_directory(directory) as root:
        network = torch.jit.script(_torch(weights))
        network.save(str(root / "network.pt"))
        model = root / "model"
        model.mkdir()
        onnx.save(_onnx(weights), model / "model.onnx")
        scores, labels = onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores", "label"], {"x": rows})
        np.testing.assert_allclose(network(torch.from_numpy(rows)).numpy(), scores, atol=1e-5)
        instances = tuple({"x": [round(value, 3) for value in row]} for row in rows.tolist())
        write_golden(model, Golden(instances, tuple(map(tuple, scores.tolist())), tuple(labels)))
        write_model(model, _description(directory.name))


def _torch(weights: list[tuple[np.ndarray, np.ndarray]]) -> torch.nn.Module:
    modules: list[torch.nn.Module] = []
    for weight, bias in weights:
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1], torch.nn.Softmax(dim=1)).eval().requires_grad_(False)


def _onnx(weights: list[tuple[np.ndarray, np.ndarray]]) -> onnx.ModelProto:
    constants = {"names": np.array(LABELS, object)}
    nodes, last = [], "x"
    for i, (weight, bias) in enumerate(weights):
        constants |= {f"weight{i}": weight, f"bias{i}": bias}
        nodes.append(helper.make_node("Gemm", [last, f"weight{i}", f"bias{i}"], [f"linear{i}"]))
        nodes.append(helper.make_node("Relu", [f"linear{i}"], [last := f"hidden{i}"]))
    nodes[-1:] = [
        helper.make_node("Softmax", [f"linear{len(weights) - 1}"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["winner"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "winner"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(LABELS)]),
            helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _description(name: str) -> ModelDescription:
    return ModelDescription(
        name=name,
        framework="pytorch",
        task="multiclass",
        label="animal",
        label_names=LABELS,
        inputs=(Tensor("x", "FP32", (-1, FEATURES)),),
        outputs=(Tensor("scores", "FP32", (-1, len(LABELS))), Tensor("label", "BYTES")),
        digests=Digests(data="", code="", environment=""),
        metrics={"validation_roc_auc": None, "validation_log_loss": None},
        history=(Epoch(1, 1.0, 1.0, None),),
        training={},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
