"""What the server answers to, as OpenAPI 3.1: every route, with the models' features and classes as typed schemas.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from shipway.components.common.errors import InputError
from shipway.components.common.model import Golden, ModelDescription, read_golden, read_model
from shipway.serving.engines.engine import model_directory
from shipway.serving.openinference.repository import Repository
from shipway.serving.openinference.schemas import Json, array_of, examples_of, object_of, schemas_of

__all__ = ["Documented", "documented", "openapi"]

_ERRORS = {
    400: "The request does not fit the model; the reason says where.",
    404: "There is no such model, or not in this version.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is said to be something else than JSON, or is compressed.",
    422: "The values are so extreme that the model has no finite scores for them.",
    429: "Too many rows wait; Retry-After says when to come again.",
    503: "The model cannot be reached, or too much is being read.",
    504: "The model was not free in time.",
}
_ERROR: Json = {"$ref": "#/components/schemas/Error"}
_STRING: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}


class Documented(NamedTuple):
    """A model to be described.

    Attributes:
        name: In the URLs.
        description: What ``model.json`` says.
        golden: Where the examples are from; None where it is not known.
    """

    name: str
    description: ModelDescription
    golden: Golden | None


def documented(repository: Repository) -> Iterator[Documented]:
    """Returns what is served now, with the golden requests where the files are still the model's."""
    for name, model in repository.models.items():
        yield Documented(name, model.description, _golden(repository.require(name), model.description.digest))


@lru_cache(maxsize=64)
def _golden(path: Path, digest: str) -> Golden | None:
    try:
        directory = model_directory(path)
        return read_golden(directory) if read_model(directory).digest == digest else None
    except InputError:
        return None


def openapi(models: Iterable[Documented], may_change: bool) -> Json:
    """Returns the document.

    Args:
        models: What is served.
        may_change: Whether clients may load and unload.
    """
    paths, schemas = _server(may_change), {"Error": object_of({"error": _STRING})}
    for number, model in enumerate(models, 1):
        prefix = f"model{number}.{re.sub(r'[^A-Za-z0-9_-]', '_', model.name)}"
        schemas |= {f"{prefix}.{name}": schema for name, schema in schemas_of(model.description).items()}
        paths |= _model(prefix, model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Shipway model server",
            "version": "1",
            "description": "KServe's v1 protocol, and the Open Inference protocol (v2) over REST.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _server(may_change: bool) -> Json:
    names = object_of({"models": array_of(_STRING)})
    metadata = object_of({"name": _STRING, "version": _STRING, "extensions": array_of(_STRING)})
    state: Json = {"enum": ["READY", "UNAVAILABLE"]}
    index = array_of(object_of({"name": _STRING, "version": _STRING, "state": state, "reason": _STRING}))
    ready_only = _content(object_of({}, {"ready": _FLAG}), {"ready": True})
    paths: Json = {
        "/": {"get": _operation("Says that the process lives", object_of({"status": _STRING}))},
        "/v2/health/live": {"get": _operation("Says that the process lives", object_of({"live": _FLAG}))},
        "/v2/health/ready": {"get": _readiness("Says whether requests are wanted", object_of({"ready": _FLAG}))},
        "/v2": {"get": _operation("Names the server and what it has beyond the protocol", metadata)},
        "/v1/models": {"get": _operation("Names the models", names)},
        "/v2/models": {"get": _operation("Names the models", names)},
        "/v2/repository/index": {
            "post": _operation("Lists the models, loaded or not", index, errors=(400, 408, 413, 415))
            | {"requestBody": {"required": False} | ready_only}
        },
        "/metrics": {"get": _operation("Tells Prometheus", _STRING, media="text/plain")},
    }
    for verb in ("load", "unload") if may_change else ():
        changed = object_of({"name": _STRING, verb: _FLAG})
        operation = _operation(f"{verb.capitalize()}s a model", changed, errors=(400, 404, 408, 413, 415, 422))
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": _STRING}]
        paths[f"/v2/repository/models/{{name}}/{verb}"] = {"post": operation}
    return paths


def _model(prefix: str, model: Documented) -> Json:
    name, version = quote(model.name, safe=""), quote(model.description.digest, safe=":")
    examples = examples_of(model.name, model.description, model.golden) if model.golden else {}

    def schema(kind: str) -> Json:
        return {"$ref": f"#/components/schemas/{prefix}.{kind}"}

    def asked(summary: str, request: str, answer: str) -> Json:
        body = _content(schema(request), examples.get(request))
        operation = _operation(summary, schema(answer), examples.get(answer), tuple(_ERRORS))
        return {"post": {**operation, "tags": [model.name], "requestBody": {"required": True} | body}}

    def read(operation: Json) -> Json:
        return {"get": {**operation, "tags": [model.name]}}

    infer = asked("Infers, over v2", "InferRequest", "InferResponse")
    infer["post"]["responses"]["200"]["content"]["application/octet-stream"] = {
        "schema": {"description": "JSON and the outputs that were asked for as binary data, one after the other."}
    }
    ready = read(_readiness("Says whether the model answers", object_of({"name": _STRING, "ready": _FLAG}), (404,)))
    about = read(_operation("Describes the model's tensors", schema("Metadata"), errors=(404,)))
    versioned = f"/v2/models/{name}/versions/{version}"
    return {
        f"/v1/models/{name}:predict": asked("Predicts, over v1", "Instances", "Predictions"),
        f"/v2/models/{name}/infer": infer,
        f"/v1/models/{name}": ready,
        f"/v2/models/{name}/ready": ready,
        f"/v2/models/{name}": about,
        versioned: about,
        f"{versioned}/ready": ready,
        f"{versioned}/infer": infer,
    }


def _readiness(summary: str, schema: Json, errors: tuple[int, ...] = ()) -> Json:
    operation = _operation(summary, schema, errors=errors)
    operation["responses"]["503"] = {"description": "It is ending, and not ready."} | _content(schema)
    return operation


def _operation(
    summary: str,
    schema: Json,
    example: Json | None = None,
    errors: tuple[int, ...] = (),
    media: str = "application/json",
) -> Json:
    responses: Json = {"200": {"description": "The answer."} | _content(schema, example, media)}
    for status in errors:
        responses[str(status)] = {"description": _ERRORS[status]} | _content(_ERROR)
    return {"summary": summary, "responses": responses}


def _content(schema: Json, example: Json | None = None, media: str = "application/json") -> Json:
    return {"content": {media: {"schema": schema} if example is None else {"schema": schema, "example": example}}}
