"""KServe's routes and data plane around one model, with its traps at the door closed.

KServe's own server binds every interface, answers 500 to ``charset`` in a content type and to binary
tensors that lie about their size, prints a traceback for each bad request, and lets anyone unload the
model. The routes, the decoding and the model interface are KServe's; those points are not.
"""

from __future__ import annotations

import logging
import struct
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelRepository
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady, UnsupportedProtocol
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shipway.components.common.errors import DeploymentError
from shipway.components.common.model import Golden, Tensor
from shipway.serving.door import BadRequest, tensors_of_inputs, tensors_of_instances
from shipway.serving.model import OnnxModel

__all__ = ["create_application", "golden_check"]

# What KServe's decoding raises on a malformed request besides its own InvalidInput.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, struct.error, InferenceError)

_STATUS_OF_ERROR: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    BadRequest: HTTPStatus.BAD_REQUEST,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    NotImplementedError: HTTPStatus.NOT_IMPLEMENTED,
    UnsupportedProtocol: HTTPStatus.NOT_IMPLEMENTED,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}

logger = logging.getLogger(__name__)


def create_application(name: str, model: OnnxModel) -> FastAPI:
    """Returns the application that serves one model.

    Args:
        name: The model's name in the URLs: ``/v1/models/<name>:predict``, ``/v2/models/<name>/infer``.
        model: The loaded model.
    """
    application = FastAPI(title="Shipway", docs_url=None, redoc_url=None)
    registry = ModelRepository()
    registry.update(_ServedModel(name, model))
    plane = _DataPlane(registry, version=model.description.digest)
    repository = _FixedRepository(registry)
    register_v1_endpoints(application, plane, repository)
    register_v2_endpoints(application, plane, repository)
    application.add_api_route("/", plane.live)
    application.add_api_route("/metrics", _metrics)
    for error, status in _STATUS_OF_ERROR.items():
        application.add_exception_handler(error, _answer_with(status))
    application.add_exception_handler(RequestValidationError, _invalid_body)
    application.add_exception_handler(HTTPException, _http_error)
    return application


def golden_check(model: OnnxModel, golden: Golden) -> None:
    """Answers the model's golden requests in this process.

    Raises:
        DeploymentError: When an answer is not the recorded one within the tolerance.
    """
    inputs = model.description.inputs
    scores, labels = model.run(tensors_of_instances(inputs, {"instances": list(golden.instances)}))
    distance = float(np.abs(scores - np.array(golden.scores)).max())
    # The comparison is this way round so that NaN fails.
    if not distance <= golden.tolerance or list(labels) != list(golden.labels):
        raise DeploymentError(
            f"the model {model.description.name} does not answer its golden requests as it did after training:"
            f" the scores differ by up to {distance:.2g}, {golden.tolerance:g} is allowed"
        )


class _ServedModel(Model):
    """The model as KServe's data plane calls it."""

    def __init__(self, name: str, model: OnnxModel) -> None:
        super().__init__(name)
        self._model = model
        self._inputs = model.description.inputs
        self._label_names = model.description.label_names
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_metadata(tensor) for tensor in self._inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [_metadata(tensor) for tensor in self._model.description.outputs]

    async def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 (KServe's interface)
    ) -> dict[str, Any] | InferResponse:
        if isinstance(payload, InferRequest):
            return self._infer(payload)
        scores, labels = self._model.run(tensors_of_instances(self._inputs, payload))
        rows = zip(labels, scores.tolist(), strict=True)
        names = self._label_names
        return {"predictions": [{"label": label, "scores": dict(zip(names, row, strict=True))} for label, row in rows]}

    def _infer(self, request: InferRequest) -> InferResponse:
        scores, labels = self._model.run(tensors_of_inputs(self._inputs, request.inputs))
        outputs = [
            InferOutput("scores", list(scores.shape), "FP32", data=scores),
            InferOutput("label", list(labels.shape), "BYTES", data=labels),
        ]
        asked = request.request_outputs or []
        unknown = {output.name for output in asked} - {output.name for output in outputs}
        if unknown:
            raise BadRequest(f"the model has no output {', '.join(sorted(unknown))}; it has scores and label")
        return InferResponse(
            response_id=request.id or str(uuid.uuid4()),
            model_name=self.name,
            model_version=self._model.description.digest,
            infer_outputs=outputs,
            requested_outputs=request.request_outputs,
            use_binary_outputs=bool((request.parameters or {}).get("binary_data_output")),
        )


class _DataPlane(DataPlane):
    """Decodes what KServe's decodes, and refuses the rest with 400."""

    def __init__(self, registry: ModelRepository, version: str) -> None:
        super().__init__(registry)
        self._version = version

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        metadata = await super().model_metadata(model_name)
        return {**metadata, "versions": [self._version], "platform": "onnx_onnxruntime"}

    def decode(self, body: Any, headers: dict[str, str], *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            decoded: tuple[Any, dict[str, Any]] = super().decode(
                body, {**headers, "content-type": content_type}, *args, **kwargs
            )
        except _MALFORMED as error:
            raise BadRequest(f"malformed request: {error}") from error
        if isinstance(decoded[0], bytes):
            raise BadRequest(f"the body must be JSON with Content-Type: application/json, not {content_type!r}")
        return decoded


class _FixedRepository(ModelRepositoryExtension):
    """An endpoint serves one release for its whole life."""

    async def load(self, model_name: str) -> None:
        raise NotImplementedError("this server's model is fixed; deploy another release instead")

    async def unload(self, model_name: str) -> None:
        raise NotImplementedError("this server's model is fixed; stop the endpoint instead")


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


async def _metrics() -> Response:
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def _answer_with(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
            return JSONResponse({"error": "internal error; the server's log has the details"}, status)
        return JSONResponse({"error": str(error)}, status)

    return answer


async def _invalid_body(_request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    # A body may be JSON or bytes; what is wrong with it as bytes helps nobody.
    shown = [fault for fault in faults if "bytes" not in fault["loc"]] or faults
    text = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in shown[:5])
    return JSONResponse({"error": f"malformed request: {text}"}, HTTPStatus.BAD_REQUEST)


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": detail}, status)
