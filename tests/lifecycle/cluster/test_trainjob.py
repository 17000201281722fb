from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes_double import JOBS, NAMESPACE, PODS, KubernetesDouble, Story
from test_manifests import REQUEST

from shipway.components.common.errors import (
    ConflictError,
    DataRejected,
    InputError,
    Preempted,
    ShipwayError,
    TransientError,
)
from shipway.components.common.process import step
from shipway.components.lifecycle.cluster.api import Api
from shipway.components.lifecycle.cluster.manifests import train_job
from shipway.components.lifecycle.cluster.settings import Cluster
from shipway.components.lifecycle.cluster.trainjob import TrainJob

NAME = "late-1"
Double = KubernetesDouble
Job = dict[str, Any]


def manifest() -> Job:
    return train_job(NAME, REQUEST, "pytorch", Cluster(namespace=NAMESPACE))


def train_job_at(double: Double, patience: float = 20.0, stuck: float = 180.0) -> TrainJob:
    return TrainJob(Api(NAMESPACE, double.client(), patience), NAME, poll_seconds=0.01, stuck_seconds=stuck)


def submitted(double: Double, story: Story, **settings: Any) -> TrainJob:
    job = train_job_at(double, **settings)
    assert job.submit(manifest())
    double.story.extend(story)
    return job


def started(double: Double, job: Job) -> None:
    for index in (1, 0):
        double.pod(NAME, index)


def says(*lines: str, index: int = 0) -> Callable[[Double, Job], None]:
    return lambda double, _job: double.say(node(double, index), *lines)


def node(double: Double, index: int) -> Job:
    label = "batch.kubernetes.io/job-completion-index"
    return [pod for pod in double.pods.values() if pod["metadata"]["labels"][label] == str(index)][-1]


def completes(double: Double, job: Job) -> None:
    double.condition(job, "Complete", "AllJobsCompleted", "jobset completed successfully")


def fails(double: Double, job: Job) -> None:
    double.condition(job, "Failed", "FailedJobs", "jobset failed due to one or more job failures")


def ends(index: int, code: int, word: Any = "", **more: Any) -> Callable[[Double, Job], None]:
    return lambda double, _job: double.end(node(double, index), code, word, **more)


def nothing(_double: Double, _job: Job) -> None:
    pass


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_training_is_submitted_heard_and_seen_to_its_end(kubernetes: Double, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    story = [started, says("epoch 1", "epoch 2"), nothing, says("epoch 2", "epoch 3"), says("other", index=1)]
    job = submitted(kubernetes, [*story, completes])
    job.wait(20)
    heard = [text for text in messages(caplog) if text.startswith("epoch") or text == "other"]
    assert heard == ["epoch 1", "epoch 2", "epoch 2", "epoch 3"]
    assert any("Complete: AllJobsCompleted" in text for text in messages(caplog))
    assert {request.replace(NAME, "*").partition("?")[0] for request in kubernetes.requests} <= {
        f"GET {JOBS}/*",
        f"POST {JOBS}",
        f"GET {PODS}",
        *(f"GET {PODS}/{name.replace(NAME, '*')}/log" for name in kubernetes.pods),
    }


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_log_that_cannot_be_had_is_told_once_and_waited_for_no_longer(
    kubernetes: Double, caplog: pytest.LogCaptureFixture, status: int
):
    caplog.set_level(logging.INFO)
    kubernetes.log_status = status
    job = submitted(kubernetes, [started, nothing, nothing, completes], patience=0.1)
    job.wait(20)
    told = [text for text in messages(caplog) if "the log of node 0 cannot be had" in text]
    assert len(told) == 1
    assert ("manifests/training" in told[0]) == (status == 403)


def test_a_retried_step_finds_its_training(kubernetes: Double):
    submitted(kubernetes, [started])
    again = train_job_at(kubernetes)
    assert not again.submit(manifest())
    kubernetes.story.append(completes)
    again.wait(20)
    assert sum(request.startswith("POST") for request in kubernetes.requests) == 1
    assert train_job_at(kubernetes).submit(manifest()), "who submits a complete one has not found its model"


def test_a_failed_training_is_started_anew(kubernetes: Double):
    kubernetes.looks_until_gone = 3
    submitted(kubernetes, [started, fails])
    first = kubernetes.jobs[NAME]["metadata"]["uid"]
    again = train_job_at(kubernetes)
    assert not again.submit(manifest()), "it was running still"
    assert again.submit(manifest())
    assert kubernetes.jobs[NAME]["metadata"]["uid"] != first


def test_an_answer_that_was_lost_makes_no_second_training(kubernetes: Double):
    kubernetes.faults.extend([None, "lose"])  # the look for it is answered, its creation is not
    assert not train_job_at(kubernetes).submit(manifest())
    assert len(kubernetes.jobs) == 1


@pytest.mark.parametrize("fault", [429, 500, 503, "drop", "lose"])
def test_a_servers_bad_moments_pass(kubernetes: Double, fault: int | str, caplog: pytest.LogCaptureFixture):
    def breaks(double: Double, _job: Job) -> None:
        double.faults.extend([fault] * 2)

    job = submitted(kubernetes, [started, breaks, says("epoch 1"), breaks, says("epoch 2"), completes])
    caplog.set_level(logging.INFO)
    job.wait(30)
    assert [text for text in messages(caplog) if text.startswith("epoch")] == ["epoch 1", "epoch 2"]
    assert any("asking again" in text for text in messages(caplog))


def test_a_server_that_stays_away_is_worth_another_try(kubernetes: Double):
    job = submitted(kubernetes, [started], patience=0.2)
    kubernetes.faults.extend([503] * 50)
    with pytest.raises(TransientError, match=r"has not answered GET .*503"):
        job.wait(20)


@pytest.mark.parametrize(
    ("status", "words"), [(403, "the Role in manifests/training"), (401, "Role"), (422, "refused")]
)
def test_a_refusal_says_what_is_missing(kubernetes: Double, status: int, words: str):
    kubernetes.faults.append(status)
    with pytest.raises(InputError, match=words):
        train_job_at(kubernetes).submit(manifest())


def test_a_cluster_without_trainer_is_told(kubernetes: Double):
    job = TrainJob(Api("elsewhere", kubernetes.client()), NAME)
    with pytest.raises(InputError, match="Kubeflow Trainer v2"):
        job.submit(manifest())


FAILURES = [
    (
        [ends(0, 2, {"type": "InputError", "message": "label has one class"})],
        InputError,
        "node 0 of TrainJob late-1: label has one class",
    ),
    (
        # The others of a failed training are stopped, and say so.
        [
            ends(0, 143, {"type": "Preempted", "message": "stopped"}, second=3),
            ends(1, 3, {"type": "DataRejected", "message": "no"}, second=4),
        ],
        DataRejected,
        "node 1",
    ),
    (
        [ends(0, 143, {"type": "Preempted", "message": "step 12 is saved in s3://c"}, second=1), ends(1, 1, second=2)],
        Preempted,
        "step 12 is saved",
    ),
    ([ends(1, 1, "RuntimeError: bug", second=1), ends(0, 143, second=2)], ShipwayError, "node 1 .*exit code 1.*bug"),
    ([ends(1, 143, second=1), ends(0, 1, second=2)], Preempted, "was stopped"),
    ([ends(0, 1, second=1), ends(1, 137, reason="OOMKilled", second=2)], InputError, "node 1 .* ran out of memory"),
    ([ends(1, 137)], InputError, "killed .exit code 137"),
    ([ends(0, 75)], TransientError, "exit code 75"),
    ([ends(0, 99)], ShipwayError, "exit code 99; its log says more"),
]


@pytest.mark.parametrize(("story", "kind", "words"), FAILURES)
def test_a_failure_becomes_the_error_that_its_worker_ended_with(
    kubernetes: Double, story: Story, kind: type[ShipwayError], words: str, caplog: pytest.LogCaptureFixture
):
    def together(double: Double, job: Job) -> None:
        for chapter in story:
            chapter(double, job)
        fails(double, job)

    job = submitted(kubernetes, [started, says("the end of node 1", index=1), together])
    with pytest.raises(ShipwayError, match=words) as caught:
        job.wait(20)
    assert type(caught.value) is kind
    assert any("last lines of node 1:\nthe end of node 1" in text for text in messages(caplog))


def test_a_pod_that_its_node_took_away_is_no_fault_of_memory(kubernetes: Double):
    def disrupted(double: Double, _job: Job) -> None:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        node(double, 1)["status"]["conditions"] = [condition]

    job = submitted(kubernetes, [started, ends(1, 137), disrupted, fails])
    with pytest.raises(Preempted, match="PreemptionByScheduler"):
        job.wait(20)


def test_a_pod_that_went_with_its_node_left_no_container(kubernetes: Double):
    def lost(double: Double, _job: Job) -> None:
        node(double, 0)["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}

    job = submitted(kubernetes, [started, lost, fails])
    with pytest.raises(Preempted, match="Evicted"):
        job.wait(20)


def test_a_failure_without_pods_says_what_the_condition_says(kubernetes: Double):
    job = submitted(kubernetes, [fails])
    with pytest.raises(TransientError, match=r"none of its pods is left.*FailedJobs"):
        job.wait(20)


def test_a_training_that_takes_too_long_goes_on_from_its_checkpoints(kubernetes: Double):
    def overdue(double: Double, job: Job) -> None:
        double.condition(job, "Failed", "DeadlineExceeded", "too long")

    job = submitted(kubernetes, [started, ends(0, 143), overdue])
    with pytest.raises(Preempted, match="longer timeout_seconds"):
        job.wait(20)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CreateContainerConfigError"])
def test_what_never_starts_is_not_waited_for(kubernetes: Double, reason: str):
    def stuck(double: Double, _job: Job) -> None:
        state = {"waiting": {"reason": reason, "message": "no such thing: shipway/x:1"}}
        double.pod(NAME, 0, phase="Pending", containerStatuses=[{"name": "node", "state": state}])

    job = submitted(kubernetes, [stuck], stuck=0.1)
    with pytest.raises(InputError, match=f"{reason}: no such thing"):
        job.wait(20)
    assert f"DELETE {JOBS}/{NAME}" in kubernetes.requests


def test_an_image_may_come_late(kubernetes: Double):
    def stuck(double: Double, _job: Job) -> None:
        state = {"waiting": {"reason": "ErrImagePull", "message": "the registry restarts"}}
        double.pod(NAME, 0, phase="Pending", containerStatuses=[{"name": "node", "state": state}])

    def comes(double: Double, _job: Job) -> None:
        node(double, 0)["status"] = {"phase": "Running"}

    submitted(kubernetes, [stuck, nothing, comes, completes]).wait(20)


def test_a_cluster_without_room_is_waited_for_and_then_told(kubernetes: Double, caplog: pytest.LogCaptureFixture):
    def unschedulable(double: Double, _job: Job) -> None:
        message = "0/3 nodes are available: insufficient nvidia.com/gpu"
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        double.pod(NAME, 0, phase="Pending", conditions=[condition])

    caplog.set_level(logging.INFO)
    job = submitted(kubernetes, [unschedulable], stuck=0.0)
    with pytest.raises(TransientError, match="not started within 0 s: Unschedulable: 0/3 nodes"):
        job.wait(0.3)
    assert sum("node 0 waits: Unschedulable" in text for text in messages(caplog)) == 1
    assert NAME in kubernetes.jobs


def test_time_that_is_up_leaves_the_training_running(kubernetes: Double):
    job = submitted(kubernetes, [started])
    with pytest.raises(Preempted, match="run again to wait for it"):
        job.wait(0.1, delete_on_stop=True)
    assert NAME in kubernetes.jobs


def test_a_training_that_starts_anew_is_heard_again(kubernetes: Double, caplog: pytest.LogCaptureFixture):
    def restarts(double: Double, _job: Job) -> None:
        double.end(node(double, 1), 143)
        double.pods.clear()
        for index in range(2):
            double.say(double.pod(NAME, index, attempt=1), f"node {index} resumes")

    caplog.set_level(logging.INFO)
    submitted(kubernetes, [started, says("epoch 1"), restarts, nothing, completes]).wait(20)
    assert [text for text in messages(caplog) if text in ("epoch 1", "node 0 resumes")] == ["epoch 1", "node 0 resumes"]
    assert any("started anew for the 1. time" in text for text in messages(caplog))


def test_a_training_that_somebody_deleted_is_told(kubernetes: Double):
    job = submitted(kubernetes, [started, lambda double, _job: double.jobs.clear()])
    with pytest.raises(ConflictError, match="somebody deleted it"):
        job.wait(20)


@pytest.mark.parametrize("delete", [False, True])
def test_a_stopped_step_leaves_or_takes_its_training(kubernetes: Double, delete: bool):
    def stops(_double: Double, _job: Job) -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()

    job = submitted(kubernetes, [started, stops])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught, step():
            job.wait(20, delete_on_stop=delete)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == Preempted.exit_code
    assert (f"DELETE {JOBS}/{NAME}" in kubernetes.requests) is delete
