"""A model's requests and answers as JSON Schema, with its golden rows as examples.

What a schema cannot say, such as that a shape counts its values, is said in words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shipway.components.common.model import Golden, ModelDescription, Tensor
from shipway.serving.openinference.binary import DTYPES

__all__ = ["Json", "array_of", "examples_of", "object_of", "schemas_of"]

Json = dict[str, Any]

_EXAMPLE_ROWS = 2
_TOO_LARGE = (2 - 2**-24) * 2.0**127  # rounds to infinity as a 32-bit float
_STRING: Json = {"type": "string"}
_NUMBER: Json = {
    "type": ["number", "boolean", "null"],
    "exclusiveMinimum": -_TOO_LARGE,
    "exclusiveMaximum": _TOO_LARGE,
    "description": "A number; null is a missing one, true and false count as 1 and 0.",
}
_TEXT: Json = {"type": ["string", "null"], "description": "A category, known or not; null and empty are missing ones."}
_SHAPE: Json = {"type": "array", "items": {"type": "integer"}}


def object_of(required: Json, optional: Json | None = None) -> Json:
    """Returns the schema of an object, given its properties'."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def array_of(items: Json, **more: Any) -> Json:
    """Returns the schema of an array."""
    return {"type": "array", "items": items, **more}


def schemas_of(description: ModelDescription) -> dict[str, Json]:
    """Returns the schemas of a model by name, none of which needs another."""
    about = array_of(object_of({"name": _STRING, "datatype": _STRING, "shape": _SHAPE}))
    return {
        "Metadata": object_of(
            {"name": _STRING, "versions": array_of(_STRING), "platform": _STRING, "inputs": about, "outputs": about}
        ),
        "Instances": object_of({"instances": array_of(_instance(description), minItems=1)}),
        "Predictions": object_of({"predictions": array_of(_prediction(description))}),
        "InferRequest": _infer_request(description),
        "InferResponse": _infer_response(description),
    }


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


def _instance(description: ModelDescription) -> Json:
    features = {tensor.name: _value(tensor) for tensor in description.inputs}
    return {**object_of(features), "additionalProperties": False}


def _value(tensor: Tensor) -> Json:
    if tensor.datatype == "BYTES":
        return _TEXT
    if len(tensor.shape) == 1:
        return _NUMBER
    size = tensor.shape[1]
    told = f"{size} numbers; null is as many missing ones."
    return {"type": ["array", "null"], "items": _NUMBER, "minItems": size, "maxItems": size, "description": told}


def _prediction(description: ModelDescription) -> Json:
    scores = object_of({label: {"type": "number"} for label in description.label_names})
    return object_of({"label": {"enum": list(description.label_names)}, "scores": scores})


def _infer_request(description: ModelDescription) -> Json:
    count = len(description.inputs)
    binary = _or_null(object_of({}, {"binary_data": {"type": "boolean"}}))
    outputs = object_of({"name": {"enum": [output.name for output in description.outputs]}}, {"parameters": binary})
    inputs = array_of({"anyOf": [_input(tensor) for tensor in description.inputs]}, minItems=count, maxItems=count)
    inputs["description"] = "Every feature once, in any order, all with the same number of rows."
    return object_of(
        {"inputs": inputs},
        {
            "id": _or_null(_STRING),
            "outputs": _or_null(array_of(outputs, description="Each at most once; without any, all.")),
            "parameters": _or_null(object_of({}, {"binary_data_output": {"type": "boolean"}})),
        },
    )


def _input(tensor: Tensor) -> Json:
    is_text, sizes = tensor.datatype == "BYTES", tensor.shape[1:]
    values = array_of(_TEXT if is_text else _NUMBER, minItems=1)
    if sizes:
        values = {"anyOf": [values, array_of(_value(tensor), minItems=1)]}
    return object_of(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": "BYTES"} if is_text else {"enum": list(DTYPES)},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 1}, *({"const": size} for size in sizes)],
                "items": False,
                "minItems": len(tensor.shape),
            },
            "data": values | {"description": "As many values as the shape says, of the datatype."},
        }
    )


def _infer_response(description: ModelDescription) -> Json:
    outputs = [
        object_of(
            {
                "name": {"const": tensor.name},
                "datatype": {"const": tensor.datatype},
                "shape": _SHAPE,
                "data": array_of({"type": "number"} if tensor.datatype == "FP32" else _STRING),
            }
        )
        for tensor in description.outputs
    ]
    return object_of(
        {
            "model_name": _STRING,
            "model_version": {"const": description.digest},
            "outputs": array_of({"anyOf": outputs}),
        },
        {"id": _STRING},
    )


def examples_of(name: str, description: ModelDescription, golden: Golden) -> dict[str, Json]:
    """Returns golden rows as requests and answers, by the names of their schemas."""
    rows = golden.instances[:_EXAMPLE_ROWS]
    labels, scores = golden.labels[: len(rows)], golden.scores[: len(rows)]
    inputs = []
    for tensor in description.inputs:
        values = [row[tensor.name] for row in rows]
        shape = [len(rows), *tensor.shape[1:]]
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": values})
    flat = [float(str(np.float32(score))) for row in scores for score in row]  # v2 writes no more digits
    outputs = [
        {"name": "scores", "datatype": "FP32", "shape": [len(rows), len(description.label_names)], "data": flat},
        {"name": "label", "datatype": "BYTES", "shape": [len(rows)], "data": list(labels)},
    ]
    predictions = [
        {"label": label, "scores": dict(zip(description.label_names, row, strict=True))}
        for label, row in zip(labels, scores, strict=True)
    ]
    return {
        "Instances": {"instances": list(rows)},
        "Predictions": {"predictions": predictions},
        "InferRequest": {"inputs": inputs},
        "InferResponse": {"model_name": name, "model_version": description.digest, "outputs": outputs},
    }
