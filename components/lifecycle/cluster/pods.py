"""The pod that trains, with no right that it does not need: the same in TrainingRuntimes and in Katib's trials."""

from __future__ import annotations

from typing import Any

from shipway.components.common.errors import InputError
from shipway.components.common.process import ERROR_FILE_VARIABLE
from shipway.components.common.storage.uris import shown
from shipway.components.common.training.launching import REQUEST_VARIABLE, STOP_SECONDS
from shipway.components.common.training.request import TrainingRequest
from shipway.components.lifecycle.cluster.settings import STORAGE_SECRET

__all__ = [
    "CONTAINER",
    "FINAL_EXIT_CODES",
    "SERVICE_ACCOUNT",
    "environment_text",
    "pod_failure_policy",
    "pod_spec",
    "request_variable",
    "storage_variables",
    "tracking_of_pods",
]

CONTAINER = "node"
"""What Kubeflow Trainer calls the container that trains."""

SERVICE_ACCOUNT = "shipway-training"

FINAL_EXIT_CODES = (2, 3, 4, 7, 137)
"""What no retry mends: InputError, DataRejected, ConflictError, EnvironmentFailed; and memory that ran out."""

_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "S3_ENDPOINT",
    "S3_USE_HTTPS",
    "S3_VERIFY_SSL",
    "S3_USER_VIRTUAL_BUCKET",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
_USER = 1000
_CONFIGURATION = "/etc/xdg"


def pod_spec(
    framework: str,
    image: str,
    storage_secret: str = STORAGE_SECRET,
    service_account: str = SERVICE_ACCOUNT,
    scratch: str = "50Gi",
    shared_memory: str = "2Gi",
) -> dict[str, Any]:
    """Returns the spec of a pod that runs one node's part of a training.

    It has no token of its ServiceAccount, no root, no capabilities and no writable disk but ``/tmp`` and ``/dev/shm``
    (Kubernetes gives 64 MB there, too little for data loaders and NCCL). Where the Secret has a ``storage.yaml``, that
    is the file of storage profiles, beside the files that it names; see ``docs/storage-profiles.md``.

    Args:
        framework: ``pytorch`` or ``tensorflow``.
        image: That framework's image.
        storage_secret: Name of the Secret; it may be missing.
        service_account: Who the pod is; for stores that know a pod by its role.
        scratch: Most that ``/tmp`` may hold: the splits, the model.
        shared_memory: Most that ``/dev/shm`` may hold; it counts as memory.
    """
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "command": ["python", "-m", "shipway.components.common.training.launching", framework],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "XDG_CONFIG_HOME", "value": _CONFIGURATION},
            # What goes there is the container's last word, which its status repeats.
            {"name": ERROR_FILE_VARIABLE, "value": "/dev/termination-log"},
        ],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "8Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
            {"name": "storage", "mountPath": f"{_CONFIGURATION}/shipway", "readOnly": True},
        ],
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 2 * STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": scratch}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
            {"name": "storage", "secret": {"secretName": storage_secret, "optional": True, "defaultMode": 0o440}},
        ],
    }


def pod_failure_policy() -> dict[str, Any]:
    """Returns a Job's ``podFailurePolicy``: what fails it at once, for the reason ``PodFailurePolicy``.

    A pod that its node took away counts as any other failure, whatever it ended with: on the way out it may have been
    killed, and 137 would not mean that memory ran out.
    """
    return {
        "rules": [
            {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(FINAL_EXIT_CODES)},
            },
        ]
    }


def request_variable(request: TrainingRequest) -> dict[str, str]:
    """Returns the environment variable by which a pod is told what to train."""
    return {"name": REQUEST_VARIABLE, "value": environment_text(request.to_json())}


def storage_variables(secret: str) -> list[dict[str, Any]]:
    """Returns the variables for S3 and MLflow that a Secret may have, by reference; those that it lacks stay unset."""
    keys = [{"name": secret, "key": key, "optional": True} for key in _SECRET_VARIABLES]
    return [{"name": key["key"], "valueFrom": {"secretKeyRef": key}} for key in keys]


def tracking_of_pods(request: TrainingRequest) -> str:
    """Returns the MLflow server that pods log to: none unless one is asked for.

    Raises:
        InputError: When its URI holds what an object of the cluster, which many may read, must not show.
    """
    uri = request.tracking_uri or "none"
    if shown(uri) != uri:
        raise InputError(
            f"tracking_uri holds more than {shown(uri)}, and whoever may read the manifest would see it: put"
            " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, into the storage Secret"
        )
    return uri


def environment_text(text: str) -> str:
    """Returns text that a container finds as it is here: Kubernetes replaces ``$(NAME)`` and makes ``$$`` one ``$``."""
    return text.replace("$", "$$")
