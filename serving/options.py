"""The model server's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from shipway.components.common.errors import InputError
from shipway.serving.observability.options import add_options, check_options

__all__ = ["parsed_options", "server_parser"]

_MOST_WORKERS = 256


def parsed_options(
    arguments: Sequence[str] | None, parser: argparse.ArgumentParser | None = None
) -> argparse.Namespace:
    """Returns the options.

    Args:
        arguments: The command line; None takes the process's.
        parser: Of :func:`server_parser`, with options of its own.

    Raises:
        InputError: When one is out of range, or two do not go together.
    """
    options = (parser or server_parser()).parse_args(arguments)
    _check(options)
    return options


def server_parser() -> argparse.ArgumentParser:
    """Returns what reads the server's options."""
    parser = argparse.ArgumentParser(
        prog="python -m shipway.serving.server",
        description="Serves models over KServe's protocols, v1 and v2 over REST and v2 over gRPC. SIGTERM drains.",
    )
    add = parser.add_argument
    add("--model-dir", required=True, help="a Model or Release directory, or one whose subdirectories are such")
    add("--name", default="", help="the only model's name in the URLs (default: its own)")
    add("--host", default="127.0.0.1", help="an IPv4 address; 0.0.0.0 serves every interface (default: %(default)s)")
    add("--port", type=int, default=8080, help="REST; 0 takes a free one (default: %(default)s)")
    add("--grpc-port", type=int, help="gRPC; 0 takes a free one (default: no gRPC)")
    engine = parser.add_argument_group("the model")
    add = engine.add_argument
    add(
        "--engine",
        choices=("auto", "onnxruntime", "torch", "torchscript", "tensorflow"),
        default="auto",
        help="what runs it; auto takes what is fastest of what the model holds and is installed (default: %(default)s)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add("--threads", type=int, default=1, help="of one forward pass (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes that share the ports (default: %(default)s)")
    add("--allow-repository-changes", action="store_true", help="let clients load (again) and unload models")
    limits = parser.add_argument_group("batches and limits")
    add = limits.add_argument
    add("--max-batch-rows", type=int, default=1024, help="1 runs every request alone (default: %(default)s)")
    add("--max-waiting-rows", type=int, default=8192, help="per model; more are refused, 429 (default: %(default)s)")
    add("--batch-delay-seconds", type=float, default=0.0, help="wait for more requests (default: %(default)s)")
    add("--timeout-seconds", type=float, default=60.0, help="of a request in the queue (default: %(default)s)")
    add("--max-body-mib", type=int, default=64, help="larger ones are refused, 413 (default: %(default)s)")
    add("--cache-mib", type=int, default=0, help="keep former answers, by body and model (default: none)")
    process = parser.add_argument_group("the process")
    add = process.add_argument
    add("--reuse-port", action="store_true", help="take the port over from the process that has it")
    add("--drain-seconds", type=float, default=0.5, help="take requests after SIGTERM (default: %(default)s)")
    add("--ready-file", help="written, as JSON, when requests are answered")
    add_options(parser)
    # What a server with several workers tells each of them.
    add("--worker-directory", help=argparse.SUPPRESS)
    add("--socket", type=int, help=argparse.SUPPRESS)
    return parser


def _check(options: argparse.Namespace) -> None:
    ranges = {
        "port": (0, 65535),
        "grpc_port": (0, 65535),
        "threads": (0, 1024),
        "workers": (1, _MOST_WORKERS),
        "max_batch_rows": (1, 1 << 20),
        "max_waiting_rows": (1, 1 << 24),
        "batch_delay_seconds": (0, 10),
        "timeout_seconds": (0.001, 3600),
        "drain_seconds": (0, 3600),
        "max_body_mib": (1, 1024),
        "cache_mib": (0, 1 << 20),
    }
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be from {low} to {high}")
    check_options(options)
    if options.workers > 1 and options.allow_repository_changes:
        raise InputError("--allow-repository-changes goes with one worker: the others would not hear of a change")
    if options.workers > 1 and options.reuse_port:
        raise InputError("--reuse-port goes with one worker; start further servers behind a router instead")
