"""The files that TensorFlow Serving is configured by."""

from __future__ import annotations

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

__all__ = [
    "BATCHING_FILE",
    "BATCHING_PARAMETERS",
    "MODELS_FILE",
    "MONITORING_CONFIG",
    "MONITORING_FILE",
    "models_config",
]

MODELS_FILE = "models.config"
MONITORING_FILE = "monitoring.config"
BATCHING_FILE = "batching_parameters.txt"

MONITORING_CONFIG = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'
"""For ``--monitoring_config_file``."""

BATCHING_PARAMETERS = """\
max_batch_size { value: 1024 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 64 }
"""
"""For ``--enable_batching --batching_parameters_file``: what waits is answered together, nothing waits for more."""


def models_config(name: str, base_path: str, version: int) -> str:
    """Returns the content for ``--model_config_file``: one model in one version.

    Args:
        name: The model's in URLs.
        base_path: Where the server finds the version's directory.
        version: Its number.
    """
    config = ModelServerConfig()
    model = config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    model.model_version_policy.specific.versions.append(version)
    return str(text_format.MessageToString(config))
