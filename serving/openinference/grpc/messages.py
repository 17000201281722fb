"""The messages of ``open_inference.proto``, made from its compiled description.

They live in a pool of their own, so that they meet no messages of the same names that a client library of the protocol
has brought into the process.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["REQUESTS", "RESPONSES", "SERVICE", "ModelInferRequest", "ModelInferResponse", "ModelReadyRequest"]

SERVICE = "inference.GRPCInferenceService"

_pool = DescriptorPool()
for _file in FileDescriptorSet.FromString(files(__package__).joinpath("open_inference.binpb").read_bytes()).file:
    _pool.AddSerializedFile(_file.SerializeToString())
_methods = _pool.FindServiceByName(SERVICE).methods

REQUESTS: dict[str, Any] = {method.name: GetMessageClass(method.input_type) for method in _methods}
"""What each call takes, by its name."""
RESPONSES: dict[str, Any] = {method.name: GetMessageClass(method.output_type) for method in _methods}
"""What each call answers, by its name."""

ModelInferRequest, ModelInferResponse = REQUESTS["ModelInfer"], RESPONSES["ModelInfer"]
ModelReadyRequest = REQUESTS["ModelReady"]
