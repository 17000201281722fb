"""Runs in MLServer's environment: ``PORT``, and inputs on standard input; prints the answer, or the error's code."""

from __future__ import annotations

import json
import math
import sys

import grpc
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub


def tensor(name: str, datatype: str, shape: list[int], data: list) -> messages.ModelInferRequest.InferInputTensor:
    if datatype == "BYTES":
        contents = messages.InferTensorContents(bytes_contents=[(value or "").encode() for value in data])
    else:
        contents = messages.InferTensorContents(fp32_contents=[math.nan if v is None else v for v in data])
    return messages.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)


request = messages.ModelInferRequest(model_name="flights", inputs=[tensor(**given) for given in json.load(sys.stdin)])
try:
    answer = GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")).ModelInfer(request)
except grpc.RpcError as error:
    print(json.dumps({"code": error.code().name, "error": error.details()}))
else:
    outputs = {output.name: output.contents for output in answer.outputs}
    labels = [label.decode() for label in outputs["label"].bytes_contents]
    print(json.dumps({"scores": list(outputs["scores"].fp32_contents), "label": labels}))
