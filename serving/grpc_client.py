"""A small client of the Open Inference protocol over gRPC; :mod:`.client` is the one over REST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from shipway.components.common.errors import DeploymentError
from shipway.components.common.model import Tensor
from shipway.serving.client import Answer, answer_of_bytes, tensor_bytes
from shipway.serving.openinference.grpc.messages import SERVICE, ModelInferRequest, ModelInferResponse

__all__ = ["infer_grpc"]

_TIMEOUT_SECONDS = 10.0
# A server on this machine is never behind the proxy that the environment may name.
_OPTIONS = [("grpc.enable_http_proxy", 0)]


def infer_grpc(address: str, model: str, instances: Sequence[Mapping[str, Any]], inputs: Sequence[Tensor]) -> Answer:
    """Asks one model of one server, tensors as raw contents both ways.

    Args:
        address: ``host:port``.
        model: The model's name.
        instances: Rows: a value, a list of values or None by feature.
        inputs: The model's.

    Raises:
        DeploymentError: When the server does not answer, or with an error.
    """
    request = ModelInferRequest(model_name=model)
    for tensor in inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[len(instances), *tensor.shape[1:]])
        request.raw_input_contents.append(tensor_bytes(tensor, [instance[tensor.name] for instance in instances]))
    try:
        with grpc.insecure_channel(address, _OPTIONS) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/ModelInfer", ModelInferRequest.SerializeToString, ModelInferResponse.FromString
            )
            response = call(request, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise DeploymentError(f"{address} did not answer over gRPC: {error.code().name}, {error.details()}") from error
    try:
        outputs = zip(response.outputs, response.raw_output_contents, strict=True)
        found = {output.name: (output.shape, raw) for output, raw in outputs}
        (_, classes), scores = found["scores"]
        return answer_of_bytes(scores, found["label"][1], classes)
    except (LookupError, ValueError) as error:
        raise DeploymentError(f"the answer of {address} is none of the protocol: {error}") from error
