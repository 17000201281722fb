"""The least that a gRPC server of the protocol can do: ``python bare_grpc.py MODEL_ONNX PORT``.

Parse, run, serialize; no check, no count, no batch, one model. Its CPU time is the limit for any server over grpc.aio.
"""

from __future__ import annotations

import sys

import grpc
import numpy as np
import onnxruntime
import uvloop

from shipway.serving.openinference.grpc.messages import SERVICE, ModelInferRequest, ModelInferResponse

_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def main(path: str, port: int) -> None:
    """Serves a model with inputs of numbers or strings, sent raw."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    dtypes = {node.name: _NUMBERS.get(node.type) for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]

    async def infer(request: ModelInferRequest, _: grpc.aio.ServicerContext) -> ModelInferResponse:
        feeds = {}
        for given, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            dtype = dtypes[given.name]
            feeds[given.name] = np.frombuffer(raw, dtype).reshape(given.shape) if dtype else _strings(raw)
        outputs = session.run(names, feeds)
        response = ModelInferResponse(model_name=request.model_name, id=request.id)
        for name, output in zip(names, outputs, strict=True):
            is_text = output.dtype == object
            response.outputs.add(name=name, datatype="BYTES" if is_text else "FP32", shape=output.shape)
            response.raw_output_contents.append(_packed(output) if is_text else output.tobytes())
        return response

    async def serve() -> None:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


def _strings(raw: bytes) -> np.ndarray:
    texts, start = [], 0
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        texts.append(raw[start + 4 : end].decode())
        start = end
    return np.array(texts, object)


def _packed(texts: np.ndarray) -> bytes:
    return b"".join([len(text := label.encode()).to_bytes(4, "little") + text for label in texts])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
