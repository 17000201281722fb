"""A TrainJob from its submission to its end: found again by its name, heard while it runs, its failure explained."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shipway.components.common.errors import ConflictError, InputError, Preempted, ShipwayError, TransientError
from shipway.components.lifecycle.cluster.api import Api
from shipway.components.lifecycle.cluster.failures import NEVER_STARTS, Pod, failure, hindrance, rank_of
from shipway.components.lifecycle.cluster.manifests import GROUP, JOBSET_LABEL, VERSION
from shipway.components.lifecycle.cluster.pods import CONTAINER

__all__ = ["TrainJob"]

_LOG = logging.getLogger(__name__)
_RESTART = "jobset.sigs.k8s.io/restart-attempt"
_LAST_LINES = 20
_DELETION_SECONDS = 300
# Of a log's request, in case clocks differ and requests fail; lines that were shown are known by their time.
_OVERLAP_SECONDS = 120


class TrainJob:
    """A TrainJob of a cluster.

    Args:
        api: The cluster.
        name: Of the TrainJob.
        poll_seconds: How often to look.
        stuck_seconds: How long a pod may wait for an image or a Secret that are not there: a registry may come back.
    """

    def __init__(self, api: Api, name: str, poll_seconds: float = 3.0, stuck_seconds: float = 180.0) -> None:
        self.name = name
        self._api = api
        self._poll = poll_seconds
        self._stuck = stuck_seconds
        self._jobs = f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainjobs"
        self._pods = f"/api/v1/namespaces/{api.namespace}/pods"
        self._shown: dict[str, str] = {}
        self._read_at: dict[str, float] = {}
        self._told: set[str] = set()

    def submit(self, manifest: Mapping[str, Any]) -> bool:
        """Creates the TrainJob, or finds the one of its name; one that has ended is replaced.

        Returns:
            Whether it was created.

        Raises:
            InputError: When the cluster refuses it.
            ConflictError: When the one that has ended does not go.
            TransientError: When the cluster cannot be reached.
        """
        deadline = time.monotonic() + _DELETION_SECONDS
        while found := self._api.get(self._path):
            if time.monotonic() > deadline:
                raise ConflictError(f"TrainJob {self.name} is being deleted and does not go; delete it and run again")
            if not found["metadata"].get("deletionTimestamp"):
                if not (_condition(found, "Failed") or _condition(found, "Complete")):
                    _LOG.info("TrainJob %s is there already", self.name)
                    return False
                _LOG.info("TrainJob %s ended before, and its model is not there; starting it anew", self.name)
                self.delete()
            time.sleep(self._poll)
        with contextlib.suppress(ConflictError):  # this very request, whose answer was lost, or a twin's
            self._api.create(self._jobs, manifest)
            _LOG.info("TrainJob %s/%s was created", self._api.namespace, self.name)
            return True
        return False

    def wait(self, timeout_seconds: float, delete_on_stop: bool = False) -> None:
        """Returns when the TrainJob is complete; meanwhile logs what node 0 prints and what changes.

        Args:
            timeout_seconds: How long to wait; the TrainJob goes on after that, up to its own deadline.
            delete_on_stop: Whether to delete the TrainJob when this process is stopped; else a retry finds it again.

        Raises:
            InputError: When it cannot start, or ended with one.
            Preempted: When it was stopped from outside, or time is up; submitted again it resumes.
            ConflictError: When somebody deleted it.
            TransientError: When no node had room for it, or the cluster cannot be reached.
            ShipwayError: What its workers ended with, by its class.
        """
        with self._deleted_on_stop(delete_on_stop):
            error = self._watch(timeout_seconds)
        if error:
            raise error

    def delete(self) -> None:
        """Deletes the TrainJob, its pods included."""
        self._api.delete(self._path)

    @property
    def _path(self) -> str:
        return f"{self._jobs}/{self.name}"

    def _watch(self, timeout_seconds: float) -> ShipwayError | None:
        """Returns when the TrainJob is complete, or why it never will be or is not yet."""
        deadline, stuck_since = time.monotonic() + timeout_seconds, 0.0
        while True:
            job, pods = self._look()
            self._report(job, pods)
            if _condition(job, "Complete"):
                return None
            if condition := _condition(job, "Failed"):
                self._show_ends(pods)
                return failure(self.name, condition, pods)
            reason, message = self._hindrance(pods)
            stuck_since = (stuck_since or time.monotonic()) if reason in NEVER_STARTS else 0.0
            if stuck_since and time.monotonic() - stuck_since >= self._stuck:
                self.delete()
                return InputError(
                    f"TrainJob {self.name} cannot start and was deleted: {reason}: {message}; are the image and the"
                    " Secrets that it names there?"
                )
            if time.monotonic() > deadline:
                return self._overdue(timeout_seconds, reason, message)
            time.sleep(self._poll)

    @contextlib.contextmanager
    def _deleted_on_stop(self, wanted: bool) -> Iterator[None]:
        try:
            yield
        except (Preempted, KeyboardInterrupt):
            if wanted:
                _LOG.info("deleting TrainJob %s", self.name)
                self.delete()
            raise

    def _look(self) -> tuple[Mapping[str, Any], list[Pod]]:
        """Returns the TrainJob and the pods of its last start."""
        job = self._api.get(self._path)
        if job is None:
            raise ConflictError(f"TrainJob {self._api.namespace}/{self.name} is gone: somebody deleted it; run again")
        found = self._api.get(self._pods, {"labelSelector": f"{JOBSET_LABEL}={self.name}"}) or {}
        pods = found.get("items") or []
        last = max((_attempt(pod) for pod in pods), default=0)
        return job, sorted((pod for pod in pods if _attempt(pod) == last), key=rank_of)

    def _report(self, job: Mapping[str, Any], pods: Sequence[Pod]) -> None:
        for condition in job.get("status", {}).get("conditions") or []:
            if condition.get("status") == "True":
                self._say(f"{condition['type']}: {condition.get('reason', '')}: {condition.get('message', '')}")
        for pod in pods:
            if _attempt(pod):
                self._say(f"started anew for the {_attempt(pod)}. time")
            reason, message = hindrance(pod)
            if reason:
                self._say(f"node {rank_of(pod)} waits: {reason}: {message}")
            if rank_of(pod) == 0:
                self._show(pod)

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _LOG.info("TrainJob %s: %s", self.name, text)

    def _show(self, pod: Pod) -> None:
        """Logs what a pod has printed since the last time."""
        uid = pod["metadata"]["uid"]
        query: dict[str, Any] = {"timestamps": "true"}
        now = time.monotonic()
        if uid in self._read_at:
            query["sinceSeconds"] = int(now - self._read_at[uid]) + _OVERLAP_SECONDS
        text = self._log(pod, query)
        if text is None:
            return
        self._read_at[uid] = now
        for line in text.splitlines():
            stamp, _, said = line.partition(" ")
            if stamp > self._shown.get(uid, ""):
                self._shown[uid] = stamp
                _LOG.info("%s", said)

    def _show_ends(self, pods: Sequence[Pod]) -> None:
        """Logs the last lines of every node."""
        for pod in pods:
            if text := self._log(pod, {"tailLines": _LAST_LINES}):
                _LOG.error("the last lines of node %d:\n%s", rank_of(pod), text.rstrip())

    def _log(self, pod: Pod, query: Mapping[str, Any]) -> str | None:
        """Returns what a pod has printed; says why, and returns None, where that cannot be had."""
        try:
            return self._api.text(f"{self._pods}/{pod['metadata']['name']}/log", {"container": CONTAINER, **query})
        except (InputError, TransientError) as error:
            self._say(f"the log of node {rank_of(pod)} cannot be had: {error}")
            return None

    def _hindrance(self, pods: Sequence[Pod]) -> tuple[str, str]:
        """Returns what keeps the training from starting; what does not pass by waiting comes first."""
        found = [why for pod in pods if (why := hindrance(pod))[0]]
        return min(found, key=lambda why: why[0] not in NEVER_STARTS, default=("", ""))

    def _overdue(self, seconds: float, reason: str, message: str) -> ShipwayError:
        if reason:
            return TransientError(
                f"TrainJob {self.name} has not started within {seconds:.0f} s: {reason}: {message}; ask for less, or"
                " try when there is room"
            )
        return Preempted(
            f"TrainJob {self.name} has not ended within {seconds:.0f} s; run again to wait for it, or with a longer"
            " timeout_seconds"
        )


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    for condition in job.get("status", {}).get("conditions") or []:
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def _attempt(pod: Pod) -> int:
    labels = pod["metadata"].get("labels") or {}
    return int(labels.get(_RESTART, 0))
