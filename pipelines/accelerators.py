"""Gives a pipeline's task GPUs on a cluster: the resource, the nodes that have it, and shared memory for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kfp import dsl, kubernetes

from shipway.components.common.errors import InputError

__all__ = ["with_accelerator"]

GPU_TOLERATION: Mapping[str, Any] = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
_TOLERATION_FIELDS = {
    "key": "key",
    "operator": "operator",
    "value": "value",
    "effect": "effect",
    "tolerationSeconds": "toleration_seconds",
}


def with_accelerator(
    task: dsl.PipelineTask,
    accelerator_type: str = "nvidia.com/gpu",
    count: int = 1,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] | None = None,
    shm_size_gib: float = 1.0,
) -> dsl.PipelineTask:
    """Asks a cluster for accelerators for a task; returns the task. Runs on this machine take no notice.

    >>> task = with_accelerator(train_pytorch(...), count=2, node_selector={"nvidia.com/gpu.product": "NVIDIA-L4"})

    Args:
        task: The task, such as one that trains; give it ``accelerator="gpu"``, so that it fails where it got none.
        accelerator_type: The resource that the cluster's device plugin offers: ``nvidia.com/gpu``, or a MIG profile's
            such as ``nvidia.com/mig-1g.5gb``.
        count: How many, at least 1; with MIG 1, as a process uses one slice.
        node_selector: Labels that the node must have.
        tolerations: Of taints, in a pod spec's words (``key``, ``operator``, ``value``, ``effect``,
            ``tolerationSeconds``). By default of the taint ``nvidia.com/gpu`` with the effect ``NoSchedule``, which GKE
            puts on its nodes with GPUs, and others by convention; ``[]`` for none.
        shm_size_gib: Size limit of ``/dev/shm``, in GiB; 0 leaves the container runtime's 64 MiB. NCCL's documentation
            asks for 1 GiB, which GPUs without NVLink exchange gradients through; a network that is fed by a
            ``DataLoader`` with workers may need more. It is memory: what is written there counts against the task's
            memory limit.

    Raises:
        InputError: When a value is out of range, or a toleration has an unknown field.
    """
    if "/" not in accelerator_type:
        raise InputError(f"accelerator_type is {accelerator_type!r}; it must be a resource like nvidia.com/gpu")
    if count < 1:
        raise InputError(f"count is {count}, it must be at least 1; a task without accelerators needs no call")
    if shm_size_gib < 0:
        raise InputError(f"shm_size_gib is {shm_size_gib}, it must be at least 0")
    tolerated = [_toleration(one) for one in (tolerations if tolerations is not None else [GPU_TOLERATION])]
    task.set_accelerator_type(accelerator_type).set_accelerator_limit(count)
    for key, value in (node_selector or {}).items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in tolerated:
        kubernetes.add_toleration(task, **toleration)
    if shm_size_gib:
        size = f"{round(shm_size_gib * 1024)}Mi"
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=size)  # noqa: S108
    return task


def _toleration(given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(given.keys() - _TOLERATION_FIELDS.keys()):
        raise InputError(f"a toleration has no {', '.join(unknown)}; it may have {', '.join(_TOLERATION_FIELDS)}")
    return {_TOLERATION_FIELDS[name]: value for name, value in given.items()}
