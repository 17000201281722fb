"""Whether servers answer a model's golden requests as it did after training, over every protocol that they speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.model import Golden, ModelDescription, read_golden, read_model
from shipway.serving.client import Answer, EndpointClient
from shipway.serving.engines.engine import model_directory

__all__ = ["PROTOCOLS", "Agreement", "Server", "check_parity"]

PROTOCOLS = ("v1", "v2", "v2 (binary)")
"""What every server of this project speaks over REST."""
_SCORES_SHOWN = 5


@dataclass(frozen=True)
class Server:
    """A server that is to be asked.

    Attributes:
        url: Where it answers over REST, ``http://host:port``.
        model: The model's name in its URLs.
        name: What it is called in reports; empty takes the URL.
        protocols: What it is asked over, of :data:`PROTOCOLS`.
        grpc_address: Where it answers over gRPC, ``host:port``; empty where it does not.
    """

    url: str
    model: str
    name: str = ""
    protocols: Sequence[str] = PROTOCOLS
    grpc_address: str = ""


@dataclass(frozen=True)
class Agreement:
    """How far a server's answers are from the golden ones over one protocol: within the tolerance.

    Attributes:
        server: Its name.
        protocol: One of :data:`PROTOCOLS`, or ``grpc``.
        largest_difference: Of any score.
    """

    server: str
    protocol: str
    largest_difference: float


def check_parity(path: str | Path, servers: Sequence[Server]) -> list[Agreement]:
    """Has servers answer a model's golden requests.

    Args:
        path: A Model or Release directory.
        servers: Who is asked.

    Raises:
        InputError: When there is no such model or protocol, or gRPC's library is missing.
        DeploymentError: When a server does not answer, or otherwise than the golden answers within their tolerance;
            the message names it, the protocol and the row.
    """
    directory = model_directory(path)
    description, golden = read_model(directory), read_golden(directory)
    found = []
    for server in servers:
        name = server.name or server.url
        for protocol, ask in _asked(server, description, golden):
            found.append(Agreement(name, protocol, _difference(f"{name} over {protocol}", ask(), golden)))
    return found


def _asked(server: Server, description: ModelDescription, golden: Golden) -> Iterator[tuple[str, Callable[[], Answer]]]:
    client, instances = EndpointClient(server.url, server.model), golden.instances
    ways = {
        "v1": lambda: client.predict(instances, description.label_names),
        "v2": lambda: client.infer(instances, description.inputs),
        "v2 (binary)": lambda: client.infer_binary(instances, description.inputs),
    }
    for protocol in server.protocols:
        if protocol not in ways:
            raise InputError(f"there is no protocol {protocol!r}; it can be {', '.join(PROTOCOLS)}")
        yield protocol, ways[protocol]
    if server.grpc_address:
        yield "grpc", lambda: _infer_grpc(server, description, golden)


def _infer_grpc(server: Server, description: ModelDescription, golden: Golden) -> Answer:
    try:
        from shipway.serving.grpc_client import infer_grpc
    except ImportError as error:
        raise InputError(f"asking {server.grpc_address} needs {error.name}: install grpcio and protobuf") from error
    return infer_grpc(server.grpc_address, server.model, golden.instances, description.inputs)


def _difference(who: str, answer: Answer, golden: Golden) -> float:
    if [len(row) for row in answer.scores] != [len(row) for row in golden.scores]:
        raise DeploymentError(f"{who} answers with other rows or classes than the golden requests have")
    if len(answer.labels) != len(golden.labels):
        raise DeploymentError(f"{who} answers with {len(answer.labels)} labels for {len(golden.labels)} rows")
    largest = 0.0
    for row, (scores, expected) in enumerate(zip(answer.scores, golden.scores, strict=True)):
        differences = [abs(a - b) for a, b in zip(scores, expected, strict=True)]
        # Each is compared, and the way round that NaN fails: max() may pass over one.
        close = all(difference <= golden.tolerance for difference in differences)
        if not close or answer.labels[row] != golden.labels[row]:
            raise DeploymentError(
                f"{who} answers the golden request {row} otherwise than after training: {answer.labels[row]!r} with the"
                f" scores {_shown(scores)} instead of {golden.labels[row]!r} with {_shown(expected)}; a score may be"
                f" off by {golden.tolerance:g}"
            )
        largest = max(largest, *differences)
    return largest


def _shown(scores: Sequence[float]) -> str:
    few = ", ".join(f"{score:.6g}" for score in scores[:_SCORES_SHOWN])
    return f"[{few}, …]" if len(scores) > _SCORES_SHOWN else f"[{few}]"
