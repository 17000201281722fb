"""What every protocol turns its bodies into, and how."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from shipway.serving.engines.engine import Answer

__all__ = ["Codec", "InferRequest"]


class InferRequest(NamedTuple):
    """A decoded request.

    Attributes:
        tensors: By feature, as the engine takes them.
        rows: How many rows they have.
        id: The client's, which the answer repeats; None where it gave none.
        outputs: The outputs asked for, in the client's order, each with whether it is wanted as binary data.
    """

    tensors: dict[str, NDArray[Any]]
    rows: int
    id: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()


class Codec(Protocol):
    """Reads and writes the bodies of one protocol for one model.

    Attributes:
        protocol: ``v1``, ``v2`` or ``grpc``; a label of the metrics.
    """

    protocol: str

    def decode(self, body: bytes, header_length: str | None = None) -> InferRequest:
        """Returns a request.

        Args:
            body: As it came.
            header_length: How long the JSON before binary tensors is, as the client's header says.

        Raises:
            BadRequest: When the model cannot answer it.
        """

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, int | None]:
        """Returns the body of an answer, and how long its JSON is where binary tensors follow."""
