"""TorchServe's ``config.properties``, hardened: what its own defaults leave open is closed.

The model API (registering models from a URL runs their code), settings from the environment and requirements
installed by archives are off; archives come from the model store only; all addresses are this machine's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from shipway.components.common.errors import InputError

__all__ = ["Addresses", "Workers", "config_properties"]

_MOST_BYTES = 1 << 30
# TorchServe counts in minutes and has no "never": about nine years.
_TOKEN_MINUTES = 5_000_000


@dataclass(frozen=True)
class Addresses:
    """Where TorchServe listens.

    Attributes:
        inference: ``http://127.0.0.1:<port>`` or ``unix:<path>``; the next two as well.
        management: Of the models' state.
        metrics: Of Prometheus' metrics.
        grpc_inference_port: On the loopback interface; gRPC cannot be turned off.
        grpc_management_port: The same.
    """

    inference: str = "http://127.0.0.1:8085"
    management: str = "http://127.0.0.1:8086"
    metrics: str = "http://127.0.0.1:8082"
    grpc_inference_port: int = 7070
    grpc_management_port: int = 7071


@dataclass(frozen=True)
class Workers:
    """How a model is run.

    Attributes:
        count: Processes.
        batch_size: Requests that are handed over together at most.
        batch_delay_milliseconds: How long the first of them waits for others.
        response_timeout_seconds: A worker that has not answered by then is replaced.
    """

    count: int = 1
    batch_size: int = 16
    batch_delay_milliseconds: int = 1
    response_timeout_seconds: int = 60

    def __post_init__(self) -> None:
        least = {"count": 1, "batch_size": 1, "batch_delay_milliseconds": 0, "response_timeout_seconds": 1}
        for name, low in least.items():
            if (value := getattr(self, name)) < low:
                raise InputError(f"{name} of TorchServe's workers is {value}; it must be at least {low}")


def config_properties(
    name: str, model_store: str | Path, addresses: Addresses, workers: Workers, *, tokens: bool
) -> str:
    """Returns the file's text for one model, which is loaded at the start.

    Args:
        name: The model's; its archive is ``<name>.mar``.
        model_store: The directory of the archive.
        addresses: Where to listen.
        workers: How it is run.
        tokens: Whether every request needs a token out of ``key_file.json``, which TorchServe writes at its start.
    """
    model = {
        "defaultVersion": True,
        "marName": f"{name}.mar",
        "minWorkers": workers.count,
        "maxWorkers": workers.count,
        "batchSize": workers.batch_size,
        "maxBatchDelay": workers.batch_delay_milliseconds,
        "responseTimeout": workers.response_timeout_seconds,
    }
    settings = {
        "inference_address": addresses.inference,
        "management_address": addresses.management,
        "metrics_address": addresses.metrics,
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": addresses.grpc_inference_port,
        "grpc_management_port": addresses.grpc_management_port,
        "enable_model_api": "false",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "use_env_allowed_urls": "false",
        "allowed_urls": f"file://{model_store}/.*",
        "disable_token_authorization": "false" if tokens else "true",
        "token_expiration_min": _TOKEN_MINUTES,
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
        "decode_input_request": "false",
        "max_request_size": _MOST_BYTES,
        "max_response_size": _MOST_BYTES,
        "model_store": model_store,
        "load_models": f"{name}.mar",
        "models": json.dumps({name: {"1.0": model}}, sort_keys=True),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
