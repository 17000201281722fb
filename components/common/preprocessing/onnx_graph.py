"""The preprocessing as an ONNX graph, and the whole model: preprocessing, network, label.

The inputs are raw, one tensor per feature: float (NaN: missing) or string (``""``: missing) ``[batch]``, or for a
vector feature float ``[batch, size]``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from shipway.components.common.preprocessing.encoders import Encoders

__all__ = ["IR_VERSION", "OPSET", "full_model", "preprocessing_model"]

OPSET = 18
IR_VERSION = 9
_OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
_BATCH = "batch"


def preprocessing_model(encoders: Encoders, wanted: Collection[str] = ("numeric", "categorical")) -> onnx.ModelProto:
    """Returns the graph from raw tensors to ``numeric`` and ``categorical``; one without columns is left out.

    Args:
        encoders: The specification.
        wanted: Which of the two to make; every feature is an input all the same.
    """
    graph = _Graph()
    inputs = [_input(encoders, name) for name in encoders.names]
    outputs = []
    if encoders.numeric_width and "numeric" in wanted:
        _numeric(graph, encoders)
        outputs.append(
            helper.make_tensor_value_info("preprocessing/numeric", TensorProto.FLOAT, [_BATCH, encoders.numeric_width])
        )
    if encoders.strings and "categorical" in wanted:
        _categorical(graph, encoders)
        outputs.append(
            helper.make_tensor_value_info(
                "preprocessing/categorical", TensorProto.INT64, [_BATCH, len(encoders.strings)]
            )
        )
    return _model(graph, "preprocessing", inputs, outputs)


def _input(encoders: Encoders, name: str) -> onnx.ValueInfoProto:
    datatype = TensorProto.STRING if encoders.kinds[name] == "string" else TensorProto.FLOAT
    shape = [_BATCH, encoders.sizes[name]] if name in encoders.sizes else [_BATCH]
    return helper.make_tensor_value_info(name, datatype, shape)


def full_model(encoders: Encoders, network: onnx.ModelProto, label_names: Sequence[str]) -> onnx.ModelProto:
    """Returns preprocessing, network and label in one model.

    Args:
        encoders: The specification.
        network: The network's own export, opset 18: inputs ``numeric`` and ``categorical`` (or one of them), first
            output the scores ``[rows, classes]``.
        label_names: The classes' names in the order of the scores.

    Returns:
        A checked model with the outputs ``scores`` (float ``[rows, classes]``) and ``label`` (string ``[rows]``), free
        of names, texts and versions that the exporter put in.
    """
    _stripped(network)
    del network.opset_import[:]
    network.opset_import.extend(_OPSETS)  # exporters name domains that no node of theirs uses
    _renumber(network.graph)
    prefixed = compose.add_prefix(network, "network/")
    front = preprocessing_model(encoders, {value.name for value in network.graph.input})
    mapping = [(out.name, out.name.replace("preprocessing", "network")) for out in front.graph.output]
    merged = compose.merge_models(front, prefixed, io_map=mapping)
    whole = compose.merge_models(
        merged,
        _answer(label_names),
        io_map=[(prefixed.graph.output[0].name, "answer/network_scores")],
    )
    whole.graph.name = "shipway"
    whole.producer_name = "shipway"
    del whole.opset_import[:]
    whole.opset_import.extend(_OPSETS)  # merging has listed them once for each part
    _stripped(whole)
    onnx.checker.check_model(whole, full_check=True)
    return whole


class _Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        self.constants.append(numpy_helper.from_array(values, f"preprocessing/{name}"))
        return f"preprocessing/{name}"

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        name = f"preprocessing/{output}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def _numeric(graph: _Graph, encoders: Encoders) -> None:
    pieces = encoders.pieces
    columns = [encoder.name for encoder in encoders.vectors]
    if encoders.numeric:
        axis = graph.constant("axis", np.asarray([1], np.int64))
        numeric = enumerate(encoder.name for encoder in encoders.numeric)
        columns = [*(graph.add("Unsqueeze", [name, axis], f"numeric_{index}") for index, name in numeric), *columns]
    raw = graph.add("Concat", columns, "raw", axis=1)
    missing = graph.add("IsNaN", [raw], "missing")
    filled = graph.add("Where", [missing, graph.constant("fill", pieces.fill), raw], "filled")
    spread = graph.add("Gather", [filled, graph.constant("source", pieces.source)], "spread", axis=1)
    above = graph.add("Sub", [spread, graph.constant("low", pieces.low)], "above")
    climbed = graph.add("Mul", [above, graph.constant("slope", pieces.slope)], "climbed")
    zero, one = (graph.constant(name, np.asarray(v, np.float32)) for name, v in (("zero", 0), ("one", 1)))
    parts = [graph.add("Clip", [climbed, zero, one], "pieces")]
    if len(pieces.indicators):
        told = graph.add("Gather", [missing, graph.constant("indicators", pieces.indicators)], "told", axis=1)
        parts.append(graph.add("Cast", [told], "indicated", to=TensorProto.FLOAT))
    graph.add("Concat", parts, "numeric", axis=1)


def _categorical(graph: _Graph, encoders: Encoders) -> None:
    axis = graph.constant("string_axis", np.asarray([1], np.int64))
    columns = []
    for position, encoder in enumerate(encoders.strings):
        index = graph.add(
            "LabelEncoder",
            [encoder.name],
            f"index_{position}",
            domain="ai.onnx.ml",
            # No word was frequent enough: the operator wants at least one key all the same.
            keys_strings=encoder.vocabulary or ("",),
            values_int64s=range(1, len(encoder.vocabulary) + 1) if encoder.vocabulary else (0,),
            default_int64=0,
        )
        columns.append(graph.add("Unsqueeze", [index, axis], f"string_{position}"))
    graph.add("Concat", columns, "categorical", axis=1)


def _answer(label_names: Sequence[str]) -> onnx.ModelProto:
    names = helper.make_tensor(
        "answer/label_names", TensorProto.STRING, [len(label_names)], [name.encode() for name in label_names]
    )
    graph = _Graph()
    graph.constants.append(names)
    graph.nodes += [
        helper.make_node("Identity", ["answer/network_scores"], ["scores"], name="scores"),
        helper.make_node("ArgMax", ["answer/network_scores"], ["answer/best"], name="answer/best", axis=1, keepdims=0),
        helper.make_node("Gather", ["answer/label_names", "answer/best"], ["label"], name="label", axis=0),
    ]
    shape = [_BATCH, len(label_names)]
    inputs = [helper.make_tensor_value_info("answer/network_scores", TensorProto.FLOAT, shape)]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("label", TensorProto.STRING, [_BATCH]),
    ]
    return _model(graph, "answer", inputs, outputs)


def _model(
    graph: _Graph, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    proto = helper.make_graph(graph.nodes, name, inputs, outputs, initializer=graph.constants)
    return helper.make_model(proto, opset_imports=_OPSETS, ir_version=IR_VERSION)


def _stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes what says how, where and by what the model was exported."""
    model.ir_version = IR_VERSION
    model.producer_version = model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    return model


def _renumber(graph: onnx.GraphProto) -> None:
    """Names nodes and values by their place, as exporters count on from whatever they did before.

    Inputs keep their names; constants are put in the order of their use. What no node reads is left out.
    """
    names = {"": "", **{value.name: value.name for value in graph.input}}
    for number, node in enumerate(graph.node):
        node.name = f"{number}_{node.op_type}"
        for values in (node.input, node.output):
            for position, name in enumerate(values):
                values[position] = names.setdefault(name, f"value_{len(names)}")
    place = {name: position for position, name in enumerate(names)}
    used = sorted((c for c in graph.initializer if c.name in names), key=lambda constant: place[constant.name])
    for constant in used:
        constant.name = names[constant.name]
    del graph.initializer[:]
    graph.initializer.extend(used)
    for value in graph.output:
        value.name = names[value.name]
    read = {name for node in graph.node for name in node.input}
    inputs = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(inputs)
