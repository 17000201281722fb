"""A runtime for MLServer, and so for Seldon Core: ``model-settings.json`` names :class:`ShipwayRuntime`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, RequestInput, ResponseOutput
from mlserver.utils import get_model_uri

from shipway.serving.engines.choice import load_engine
from shipway.serving.engines.engine import Answer, model_directory
from shipway.serving.openinference.door import BadRequest, InputTensor, tensors_of_inputs

__all__ = ["ShipwayRuntime"]


class ShipwayRuntime(MLModel):
    """Serves the Model or Release directory at ``parameters.uri``.

    Requests are checked as our own server checks them; what the model cannot answer is MLServer's ``InferenceError``.
    """

    async def load(self) -> bool:
        """Loads the model, and has it answer its golden requests.

        Raises:
            InputError: When there is no model, or its files are not those that it names.
            DeploymentError: When it does not answer as it did after training.
        """
        directory = model_directory(await get_model_uri(self.settings))
        self._engine = await asyncio.to_thread(load_engine, directory)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers a request of the v2 protocol.

        Raises:
            InferenceError: When the model cannot answer it.
        """
        description = self._engine.description
        known = {output.name for output in description.outputs}
        asked = [output.name for output in payload.outputs] if payload.outputs else None
        if unknown := set(asked or ()) - known:
            raise InferenceError(f"the model has no output {', '.join(sorted(unknown))}")
        try:
            tensors = tensors_of_inputs(description.inputs, [_tensor(given) for given in payload.inputs])
        except BadRequest as error:
            raise InferenceError(str(error)) from error
        outputs = {output.name: output for output in _outputs(self._engine.run(tensors))}
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=description.digest,
            outputs=[outputs[name] for name in asked or outputs],
        )


def _tensor(given: RequestInput) -> InputTensor:
    data = given.data.root
    if isinstance(data, list):  # strings come as bytes over gRPC
        data = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in data]
    return InputTensor(given.name, Datatype(given.datatype).value, given.shape, data)


def _outputs(answer: Answer) -> Iterator[ResponseOutput]:
    scores, labels = answer
    yield ResponseOutput(name="scores", shape=list(scores.shape), datatype="FP32", data=scores.ravel().tolist())
    texts = [label.encode() for label in labels]  # MLServer makes text of them in JSON
    yield ResponseOutput(name="label", shape=list(labels.shape), datatype="BYTES", data=texts)
