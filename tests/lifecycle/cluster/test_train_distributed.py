from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_double import JOBS, NAMESPACE, KubernetesDouble
from serving_support import FIXTURES
from test_manifests import REQUEST, variables

from shipway.components.common import storage
from shipway.components.common.errors import InputError, ObjectNotFound
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.training.request import TrainingRequest
from shipway.components.lifecycle.cluster.api import Api
from shipway.components.lifecycle.cluster.settings import Cluster
from shipway.components.lifecycle.cluster.train_distributed import pod_uri, train_distributed, train_on_kubernetes

Repositories = Callable[[str], str]


def asked(directory: Path) -> TrainingRequest:
    """Returns a request as a pipeline's step has it: with places on this machine."""
    here = {name: str(directory / name) for name in ("train", "validation", "model", "curves")}
    return replace(REQUEST, **here)


def received(job: dict[str, Any]) -> TrainingRequest:
    text = variables(job["spec"]["trainer"])["SHIPWAY_TRAINING_REQUEST"]
    return TrainingRequest.from_json(text.replace("$$", "$"))


def trains(double: KubernetesDouble, job: dict[str, Any]) -> None:
    """Does what the first of a TrainJob's workers does at its end."""
    request = received(job)
    page = Path(os.environ["WORK"]) / "page.html"
    page.write_text("<p>curves</p>")
    storage.upload(page, request.curves)
    storage.publish_version(FIXTURES / "binary", request.model)
    double.condition(job, "Complete", "AllJobsCompleted")


@pytest.fixture
def train(kubernetes: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("WORK", str(tmp_path))

    def run(output: str, request: TrainingRequest | None = None, **uris: str) -> ModelDescription:
        places = {"train": "minio://mlpipeline/v2/train", "validation": "gs://data/validation/", **uris}
        api = Api(NAMESPACE, kubernetes.client())
        given = request or asked(tmp_path / "step")
        return train_on_kubernetes(given, "pytorch", Cluster(nodes=2), places, output, api, poll_seconds=0.01)

    return run


def test_a_cluster_trains_and_the_step_has_the_model(
    kubernetes: KubernetesDouble, train: Callable[..., Any], repositories: Repositories, tmp_path: Path
):
    output = repositories("s3")
    kubernetes.story.append(trains)
    description = train(output)
    assert description == verify_files(tmp_path / "step" / "model") == verify_files(FIXTURES / "binary")
    assert (tmp_path / "step" / "curves").read_text() == "<p>curves</p>"
    (job,) = kubernetes.jobs.values()
    request = received(job)
    assert (request.train, request.validation) == ("s3://mlpipeline/v2/train", "gs://data/validation")
    assert request.model == f"{output}/{job['metadata']['name']}"
    assert request.checkpoint_uri == f"{output}/checkpoints"
    assert request.tracking_uri == "none"
    assert job["metadata"]["namespace"] == NAMESPACE


def test_a_model_that_is_there_is_collected_again(
    kubernetes: KubernetesDouble, train: Callable[..., Any], repositories: Repositories
):
    output = repositories("s3")
    kubernetes.story.append(trains)
    first = train(output)
    kubernetes.jobs.clear()
    assert train(output) == first
    assert kubernetes.requests.count(f"POST {JOBS}") == 1


def test_other_data_below_the_same_uri_are_trained_on(
    kubernetes: KubernetesDouble, train: Callable[..., Any], repositories: Repositories, tmp_path: Path
):
    output = repositories("s3")
    split = tmp_path / "step" / "train" / "part-00000.parquet"
    split.parent.mkdir(parents=True)
    for content in ("yesterday's", "today's"):
        split.write_text(content)
        kubernetes.story.append(trains)
        train(output)
    assert kubernetes.requests.count(f"POST {JOBS}") == 2


def test_a_password_does_not_come_into_a_manifest(train: Callable[..., Any], tmp_path: Path):
    asks = replace(asked(tmp_path), tracking_uri="https://me:secret@mlflow.example")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as raised:
        train("s3://models/late", request=asks)
    assert "secret" not in str(raised.value).replace("Secret", "")


def test_a_training_that_left_no_model_is_told_and_trained_again(
    kubernetes: KubernetesDouble, train: Callable[..., Any], repositories: Repositories
):
    output = repositories("s3")
    kubernetes.story.append(lambda double, job: double.condition(job, "Complete"))
    with pytest.raises(ObjectNotFound):
        train(output)
    kubernetes.story.extend([lambda _double, _job: None, trains])
    assert train(output) == verify_files(FIXTURES / "binary")


@pytest.mark.parametrize("place", ["/data/train", "file:///data/train", "pvc://claim/train", "https://data/train", ""])
def test_what_pods_cannot_read_is_refused_before_anything_is_asked(
    kubernetes: KubernetesDouble, train: Callable[..., Any], place: str
):
    with pytest.raises(InputError, match=r"train is .*: it must be in a store, s3:// or gs://"):
        train("s3://models/late", train=place)
    with pytest.raises(InputError, match=r"output_uri is .*"):
        train(place)
    assert kubernetes.requests == []


def test_the_networks_code_and_the_device_must_be_told(train: Callable[..., Any], tmp_path: Path):
    code = replace(asked(tmp_path), network="mine:build", network_code=str(tmp_path / "mine.py"))
    with pytest.raises(InputError, match="network_code is"):
        train("s3://models/late", request=code)
    with pytest.raises(InputError, match="say cpu or gpu"):
        train("s3://models/late", request=replace(asked(tmp_path), accelerator="auto"))


def test_uris_are_those_that_pods_reach():
    assert pod_uri("minio://bucket/a/", "x") == "s3://bucket/a"
    assert pod_uri("gs://bucket/a", "x") == "gs://bucket/a"
    for wrong in ("s3://", "S3:/bucket", "bucket/a"):
        with pytest.raises(InputError):
            pod_uri(wrong, "x")


def test_another_target_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="target is 'moon'"):
        train_distributed(asked(tmp_path), "pytorch", "moon", Cluster())


def test_without_the_frameworks_environment_nothing_trains_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SHIPWAY_PYTHON_TENSORFLOW", raising=False)
    with pytest.raises(InputError, match="SHIPWAY_PYTHON_TENSORFLOW does not name an interpreter"):
        train_distributed(asked(tmp_path), "tensorflow", "local", Cluster())


def test_without_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="no Kubernetes cluster is configured"):
        train_distributed(asked(tmp_path), "pytorch", "kubernetes", Cluster())


def test_the_same_code_trains_here_in_several_processes(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    request = replace(asked(tmp_path), train=str(dataset), validation=str(dataset), tracking_uri="none")
    description = train_distributed(request, "pytorch", "local", Cluster(nodes=2))
    assert description == verify_files(tmp_path / "model")
    assert description.training["devices"] == 2
    assert (tmp_path / "curves").is_file()
