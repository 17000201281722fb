"""A runtime for MLServer, as its documentation has one written."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

__all__ = ["Network"]


class Network(MLModel):
    """Serves the file at ``parameters.uri``."""

    async def load(self) -> bool:
        """Loads the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores a request."""
        x = NumpyCodec.decode_input(payload.inputs[0])
        scores, labels = self._session.run(["scores", "label"], {"x": x})
        outputs = [
            NumpyCodec.encode_output("scores", scores),
            StringCodec.encode_output("label", labels.tolist()),
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
