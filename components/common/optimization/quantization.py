"""Dynamic quantization of ``model.onnx``: matrices and embeddings in 8 bits, whatever framework made them."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.optimization.publishing import publish_optimized
from shipway.components.common.optimization.settings import OptimizationRequest
from shipway.components.common.training.publishing import ONNX_FILE

__all__ = ["quantize_model"]

_NETWORK = "network/"
# Convolutions are left as they are: ONNX Runtime has no ConvInteger of int8 weights for CPUs.
_OPERATORS = ("MatMul", "Gather")
_SETTINGS = {
    "matrices": "int8 by column, 7 bits of them used",
    "embeddings": "uint8 by table",
    "activations": "uint8 by request",
}
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantize_model(request: OptimizationRequest) -> ModelDescription:
    """Quantizes the network of a Model; returns ``model.json``.

    The preprocessing stays exact. The weights use 7 of the 8 bits, so that CPUs whose products of 8 bits overflow
    (AVX2 and AVX-512 without VNNI) give the same answers as others. Native exports are left out: they would be
    those of the parent.

    Raises:
        InputError: When the parent is damaged, has nothing to quantize or the Dataset does not fit it.
        DataRejected: When a metric gets worse than a bound allows.
    """
    verify_files(request.parent)
    model = onnx.load(Path(request.parent) / ONNX_FILE)
    quantized = _quantized(model)
    if _matrices(quantized) == _matrices(model):
        raise InputError(f"the model at {request.parent} has no matrix of floats to quantize; was it quantized before?")
    return publish_optimized(
        request, "quantization", _SETTINGS, lambda directory: onnx.save(quantized, directory / ONNX_FILE)
    )


def _matrices(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "MatMulInteger" for node in model.graph.node)


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    source = copy.deepcopy(model)
    source.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])  # else it advises to optimize first
    others = [node.name for node in source.graph.node if not node.name.startswith(_NETWORK)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ONNX_FILE
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=others,
        )
        made = onnx.load(path)
    del made.metadata_props[:], made.graph.value_info[:]
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(made, full_check=True)
    return made
