"""Asks a server through KServe's own REST client, in an environment that has it: ``kserve_rest_client.py URL NAME``.

Reads ``{"instances": […], "inputs": [{name, datatype, shape, data}, …]}`` from standard input and prints what came
back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(url: str, name: str) -> None:
    given = json.load(sys.stdin)
    told: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        told["v1"] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_model_ready(url, name),
            "unknown": await status(client.is_model_ready(url, "ships")),
            "answer": await client.infer(url, {"instances": given["instances"]}, model_name=name),
            "refused": await status(client.infer(url, {"instances": []}, model_name=name)),
            "explained": await status(client.explain(url, name, {"instances": given["instances"]})),
        }
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        told["v2"] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, name),
            "unknown": await client.is_model_ready(url, "ships"),
            "json": await answer(client, url, name, given["inputs"], binary=False),
            "binary": await answer(client, url, name, given["inputs"], binary=True),
            "refused": await status(answer(client, url, name, given["inputs"][:1], binary=True)),
        }
    print(json.dumps(told))


async def answer(client: InferenceRESTClient, url: str, name: str, given: list[Any], binary: bool) -> dict[str, Any]:
    tensors = []
    for one in given:
        tensor = InferInput(one["name"], one["shape"], one["datatype"])
        dtype = np.object_ if one["datatype"] == "BYTES" else np.float32
        tensor.set_data_from_numpy(np.array(one["data"], dtype).reshape(one["shape"]), binary_data=binary)
        tensors.append(tensor)
    outputs = [RequestedOutput(output, {"binary_data": binary}) for output in ("scores", "label")]
    request = InferRequest(name, tensors, request_id="7", request_outputs=outputs)
    response = await client.infer(url, request, model_name=name)
    arrays = {output.name: output.as_numpy().tolist() for output in response.outputs}
    labels = [label.decode() if isinstance(label, bytes) else label for label in arrays["label"]]
    return {"id": response.id, "model": response.model_name, "scores": arrays["scores"], "labels": labels}


async def status(call: Any) -> Any:
    try:
        return await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, error.response.json()["error"]]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
