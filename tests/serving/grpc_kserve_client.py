"""Asks a server through KServe's own client, in an environment that has it: ``grpc_kserve_client.py ADDRESS``.

Reads ``{"inputs": [{name, datatype, shape, data}, …]}`` from standard input and prints what came back, and how the
protocol's messages differ from KServe's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2


async def main(address: str, compiled: str) -> None:
    inputs = json.load(sys.stdin)["inputs"]
    async with InferenceGRPCClient(address, timeout=20) as client:
        told: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready("flights"),
            "unknown": await status(client.is_model_ready("ships")),
            "raw": await answer(client, inputs, raw=True),
            "typed": await answer(client, inputs, raw=False),
            "short": await status(answer(client, inputs[:-1], raw=True)),
        }
    print(json.dumps({**told, "differences": differences(compiled)}))


async def answer(client: InferenceGRPCClient, inputs: list[dict[str, Any]], raw: bool) -> dict[str, Any]:
    tensors = []
    for given in inputs:
        tensor = InferInput(given["name"], given["shape"], given["datatype"])
        dtype = np.object_ if given["datatype"] == "BYTES" else np.float32
        tensor.set_data_from_numpy(np.array(given["data"], dtype).reshape(given["shape"]), binary_data=raw)
        tensors.append(tensor)
    response = await client.infer(InferRequest("flights", tensors, request_id="7"))
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    labels = [label.decode() if isinstance(label, bytes) else label for label in outputs["label"]]
    return {"id": response.id, "scores": outputs["scores"], "labels": labels}


async def status(call: Any) -> str:
    try:
        return str(await call)
    except grpc.RpcError as error:
        return str(error.code().name)


def differences(compiled: str) -> list[str]:
    """Returns the messages and calls of KServe's that ours are not the same as."""
    theirs, ours = FileDescriptorProto(), FileDescriptorSet()
    grpc_predict_v2_pb2.DESCRIPTOR.CopyToProto(theirs)
    with open(compiled, "rb") as file:
        (own,) = ours.FromString(file.read()).file
    kinds = {message.name: without_json_names(message) for message in own.message_type}
    found = [message.name for message in theirs.message_type if kinds.get(message.name) != message]
    return found + [call.name for call in theirs.service[0].method if call not in own.service[0].method]


def without_json_names(message: Any) -> Any:
    for field in message.field:
        field.ClearField("json_name")
    for inner in message.nested_type:
        without_json_names(inner)
    return message


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
