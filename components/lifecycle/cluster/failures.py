"""Why a TrainJob failed, or cannot start, read from its pods: the error of this project's tree to raise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shipway.components.common.errors import InputError, Preempted, ShipwayError, TransientError, error_named

__all__ = ["NEVER_STARTS", "failure", "hindrance", "rank_of"]

Pod = Mapping[str, Any]

NEVER_STARTS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"}
)
"""What a container waits for that does not come by waiting."""

_INDEX = "batch.kubernetes.io/job-completion-index"
_OUT_OF_MEMORY = 137


def rank_of(pod: Pod) -> int:
    """Returns the number of the node that a pod is."""
    metadata = pod.get("metadata", {})
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return int(labels.get(_INDEX, annotations.get(_INDEX, 0)))


def hindrance(pod: Pod) -> tuple[str, str]:
    """Returns why a pod does not start, as reason and message; "" and "" where it does."""
    for status in _container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in NEVER_STARTS:
            return waiting["reason"], waiting.get("message", "")
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("reason") == "Unschedulable" and condition.get("status") == "False":
            return "Unschedulable", condition.get("message", "")
    return "", ""


def failure(name: str, condition: Mapping[str, Any], pods: Sequence[Pod]) -> ShipwayError:
    """Returns what made a TrainJob fail.

    A worker's own word counts most, except that it was stopped: the workers of a failed training are stopped too. Then
    memory that ran out, then whichever pod ended first.

    Args:
        name: Of the TrainJob.
        condition: Its condition ``Failed``.
        pods: Those that are still there, of its last start.
    """
    if condition.get("reason") == "DeadlineExceeded":
        return Preempted(
            f"TrainJob {name} did not end in the time it was given; run again to go on from its checkpoints, with a"
            " longer timeout_seconds"
        )
    ends = sorted(_ends(pods), key=lambda end: end.order)
    if not ends:
        reason, message = condition.get("reason", "Failed"), condition.get("message", "")
        return TransientError(f"TrainJob {name} failed, and none of its pods is left to tell why: {reason}: {message}")
    return ends[0].error(name)


class _End:
    """How one pod ended."""

    def __init__(self, pod: Pod, terminated: Mapping[str, Any]) -> None:
        self.rank = rank_of(pod)
        self.code = int(terminated.get("exitCode", 1))
        self.reason = str(terminated.get("reason", ""))
        self.time = str(terminated.get("finishedAt", ""))
        self.word = str(terminated.get("message", "")).strip()
        self.told = _told(self.word)
        self.disrupted = _disruption(pod)

    @property
    def preempted(self) -> bool:
        return bool(self.disrupted) or self.code == Preempted.exit_code or isinstance(self.told, Preempted)

    @property
    def order(self) -> tuple[bool, bool, str, bool]:
        own_word = self.told is not None and not self.preempted
        return (not own_word, self.reason != "OOMKilled", self.time, self.preempted)

    def error(self, name: str) -> ShipwayError:
        where = f"node {self.rank} of TrainJob {name}"
        if self.told is not None:
            return type(self.told)(f"{where}: {self.told}")
        if self.reason == "OOMKilled":
            return InputError(f"{where} ran out of memory; give it more memory, or a smaller batch_size")
        if self.preempted:
            return Preempted(f"{where} was stopped ({self.disrupted or 'SIGTERM'}); run again to resume")
        if self.code == _OUT_OF_MEMORY:
            return InputError(f"{where} was killed (exit code 137): most often memory runs out; give it more memory")
        said = f": {self.word[-500:]}" if self.word else "; its log says more"
        return _class_of(self.code)(f"{where} ended with exit code {self.code}{said}")


def _ends(pods: Sequence[Pod]) -> Iterable[_End]:
    for pod in pods:
        for status in _container_statuses(pod):
            terminated = (status.get("state") or {}).get("terminated") or {}
            if terminated.get("exitCode"):
                yield _End(pod, terminated)
        if pod.get("status", {}).get("phase") == "Failed" and not _container_statuses(pod):  # lost with its node
            yield _End(pod, {"reason": pod["status"].get("reason", ""), "message": pod["status"].get("message", "")})


def _container_statuses(pod: Pod) -> list[Mapping[str, Any]]:
    return pod.get("status", {}).get("containerStatuses") or []


def _disruption(pod: Pod) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("reason") or "DisruptionTarget")
    return "Evicted" if status.get("reason") == "Evicted" else ""


def _told(word: str) -> ShipwayError | None:
    try:
        value = json.loads(word)
        return error_named(value["type"])(value["message"])
    except (ValueError, KeyError, TypeError):
        return None


def _class_of(code: int) -> type[ShipwayError]:
    pending = [ShipwayError]
    while pending:
        cls = pending.pop(0)
        if cls.exit_code == code:
            return cls
        pending.extend(cls.__subclasses__())
    return ShipwayError
