"""What a training on a cluster is given: nodes, devices, memory, and the names of what must be there already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shipway.components.common.errors import InputError
from shipway.components.common.training.launching import WORKERS

__all__ = ["STORAGE_SECRET", "Cluster", "checked_framework", "checked_name"]

STORAGE_SECRET = "shipway-storage"  # noqa: S105 - a name
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


@dataclass(frozen=True)
class Cluster:
    """Where and how large.

    Attributes:
        namespace: Of the TrainJob, its runtime and its Secret; "" for the one that the client is in.
        nodes: Pods that train together.
        devices_per_node: Processes of a node with PyTorch, one on each device; with TensorFlow one process has them
            all.
        gpu_resource: What a node's GPUs are called: ``nvidia.com/gpu``, or ``nvidia.com/mig-1g.5gb``.
        cpu: Of a node, as Kubernetes writes it: ``4``, ``500m``.
        memory: Of a node: ``16Gi``.
        runtime: Name of the TrainingRuntime; "" for that of ``manifests/training``, ``shipway-<framework>``.
        image: What to run in place of the runtime's image; "" for that one.
        storage_secret: Secret whose keys are variables for an S3 store and for MLflow; it may be missing.
        timeout_seconds: How long a TrainJob may run, and be waited for.

    Raises:
        InputError: When a value cannot be.
    """

    namespace: str = ""
    nodes: int = 2
    devices_per_node: int = 1
    gpu_resource: str = "nvidia.com/gpu"
    cpu: str = "4"
    memory: str = "16Gi"
    runtime: str = ""
    image: str = ""
    storage_secret: str = STORAGE_SECRET
    timeout_seconds: int = 86_400

    def __post_init__(self) -> None:
        for name in ("nodes", "devices_per_node", "timeout_seconds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, it must be at least 1")
        for name in ("cpu", "memory"):
            if not _QUANTITY.fullmatch(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)!r}; write it as Kubernetes does: 4, 500m, 16Gi")
        for name in ("namespace", "runtime", "storage_secret"):
            if value := getattr(self, name):
                checked_name(value, name)

    @classmethod
    def of(
        cls, settings: Mapping[str, str], namespace: str, nodes: int, devices_per_node: int, timeout_seconds: int
    ) -> Cluster:
        """Returns what a pipeline's parameters say; ``settings`` holds the attributes that are not given here.

        Raises:
            InputError: When there is no such attribute, or a value cannot be.
        """
        known = ("gpu_resource", "cpu", "memory", "runtime", "image", "storage_secret")
        if odd := [name for name in settings if name not in known]:
            raise InputError(f"cluster has no {odd[0]!r}; it can have {', '.join(known)}")
        values = {name: str(value) for name, value in settings.items()}
        return cls(namespace, nodes, devices_per_node, timeout_seconds=timeout_seconds, **values)

    def resources(self, gpu: bool) -> dict[str, dict[str, str]]:
        """Returns a node's requests and limits; ``gpu`` tells whether its devices are GPUs."""
        gpus = {self.gpu_resource: str(self.devices_per_node)} if gpu else {}
        return {
            "requests": {"cpu": self.cpu, "memory": self.memory, **gpus},
            "limits": {"memory": self.memory, **gpus},
        }

    def check_devices(self, framework: str, accelerator: str) -> None:
        """Checks that every device of a node would be used.

        Raises:
            InputError: When it would not.
        """
        if framework == "tensorflow" and accelerator != "gpu" and self.devices_per_node > 1:
            raise InputError(
                f"devices_per_node is {self.devices_per_node}; with TensorFlow a node's CPUs are one device: ask for"
                " more nodes, or for more cpu"
            )


def checked_name(name: str, what: str) -> str:
    """Returns a name that a cluster takes.

    Raises:
        InputError: When it would not.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{what} is {name!r}; in a cluster it must start with a-z and have up to 63 of a-z, 0-9 and -")
    return name


def checked_framework(framework: str) -> str:
    """Returns the framework's name.

    Raises:
        InputError: When there is no such framework here.
    """
    if framework not in WORKERS:
        raise InputError(f"framework is {framework!r}, it must be {' or '.join(WORKERS)}")
    return framework
