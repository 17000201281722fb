"""Asks a server through Triton's own HTTP client, in an environment that has it: ``triton_client.py HOST:PORT NAME``.

Reads ``[{name, datatype, shape, data}, …]`` from standard input and prints what came back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def main(address: str, name: str) -> None:
    given = json.load(sys.stdin)
    with InferenceServerClient(address, concurrency=4) as client:
        metadata = client.get_model_metadata(name)
        version = metadata["versions"][0]
        told = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(name),
            "version_ready": client.is_model_ready(name, version),
            "unknown": client.is_model_ready("ships"),
            "server": client.get_server_metadata(),
            "metadata": metadata,
            "same_metadata": client.get_model_metadata(name, version) == metadata,
            "index": client.get_model_repository_index(),
            "unloaded": status(lambda: client.unload_model(name)),
            "index_unloaded": client.get_model_repository_index(),
            "loaded": status(lambda: client.load_model(name)),
            "configured": status(lambda: client.load_model(name, config='{"backend": "onnxruntime"}')),
            "json": answer(client, name, first_row(given), binary=False),
            "binary": answer(client, name, given, binary=True),
            "mixed": answer(client, name, first_row(given), binary=None),
            "default": answer(client, name, given, binary=True, asked=False),
            "version": answer(client, name, given, binary=True, version=version),
            "concurrent": len({str(one) for one in concurrently(client, name, given)}),
            "refused": status(lambda: answer(client, name, given[:1], binary=True)),
            "compressed": status(lambda: answer(client, name, given, binary=True, compression="gzip")),
            "classified": status(lambda: answer(client, name, given, binary=True, classes=1)),
        }
    print(json.dumps(told))


def first_row(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The row without missing values: this client writes them as NaN, which is no JSON."""
    return [{**one, "shape": [1, *one["shape"][1:]], "data": one["data"][:1]} for one in given]


def tensors(given: list[dict[str, Any]], binary: bool | None) -> list[InferInput]:
    found = []
    for index, one in enumerate(given):
        tensor = InferInput(one["name"], one["shape"], one["datatype"])
        dtype = np.object_ if one["datatype"] == "BYTES" else np.float32
        array = np.array(one["data"], dtype).reshape(one["shape"])
        tensor.set_data_from_numpy(array, binary_data=index % 2 == 0 if binary is None else binary)
        found.append(tensor)
    return found


def outputs(binary: bool | None, classes: int = 0) -> list[InferRequestedOutput]:
    return [
        InferRequestedOutput("scores", binary_data=binary is not False, class_count=classes),
        InferRequestedOutput("label", binary_data=bool(binary)),
    ]


def answer(
    client: InferenceServerClient,
    name: str,
    given: list[dict[str, Any]],
    binary: bool | None,
    asked: bool = True,
    version: str = "",
    compression: str | None = None,
    classes: int = 0,
) -> dict[str, Any]:
    result = client.infer(
        name,
        tensors(given, binary),
        version,
        outputs(binary, classes) if asked else None,
        request_id="7",
        request_compression_algorithm=compression,
    )
    return taken(result)


def taken(result: Any) -> dict[str, Any]:
    labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label").tolist()]
    head = result.get_response()
    return {
        "id": head["id"],
        "model": head["model_name"],
        "scores": result.as_numpy("scores").tolist(),
        "labels": labels,
    }


def concurrently(client: InferenceServerClient, name: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    waiting = [client.async_infer(name, tensors(given, True), outputs=outputs(True), request_id="7") for _ in range(20)]
    return [taken(one.get_result()) for one in waiting]


def status(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InferenceServerException as error:
        return [error.status(), error.message()]


if __name__ == "__main__":
    main(*sys.argv[1:])
