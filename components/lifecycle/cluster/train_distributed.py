"""One training on several nodes, from a request to a Model directory on this machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shipway.components.common import storage
from shipway.components.common.artifacts import directory_digest, new_directory
from shipway.components.common.errors import InputError, ObjectNotFound
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.storage.manifests import MANIFEST
from shipway.components.common.storage.uris import shown
from shipway.components.common.training.networks import network_digest
from shipway.components.common.training.request import TrainingRequest
from shipway.components.lifecycle.cluster.api import Api
from shipway.components.lifecycle.cluster.local import train_locally
from shipway.components.lifecycle.cluster.manifests import job_name, train_job
from shipway.components.lifecycle.cluster.pods import tracking_of_pods
from shipway.components.lifecycle.cluster.settings import Cluster, checked_framework
from shipway.components.lifecycle.cluster.trainjob import TrainJob

__all__ = ["pod_uri", "train_distributed", "train_on_kubernetes"]

_LOG = logging.getLogger(__name__)
_WEB_SCHEMES = ("s3", "gs")


def train_distributed(
    request: TrainingRequest,
    framework: str,
    target: str,
    cluster: Cluster,
    uris: Mapping[str, str] | None = None,
    output_uri: str = "",
    delete_on_stop: bool = False,
) -> ModelDescription:
    """Trains, and leaves the model and the page of curves where the request says; returns ``model.json``.

    Args:
        request: What to train; its places are on this machine.
        framework: ``pytorch`` or ``tensorflow``.
        target: ``kubernetes``: a TrainJob; ``local``: ``nodes x devices_per_node`` processes of this machine.
        cluster: Where and how large.
        uris: Where a cluster finds ``train``, ``validation`` and ``network_code``.
        output_uri: Directory in a store that the cluster's workers leave the model and their checkpoints in.
        delete_on_stop: Whether a stop deletes the TrainJob.

    Raises:
        InputError: When a value cannot be, or the training ended with one.
        Preempted, ShipwayError: As :meth:`.trainjob.TrainJob.wait` or
            :func:`shipway.components.common.training.launching.launch`.
    """
    checked_framework(framework)
    if target == "local":
        processes = cluster.nodes * cluster.devices_per_node
        train_locally(replace(request, devices=processes), framework, processes)
        return verify_files(request.model)
    if target != "kubernetes":
        raise InputError(f"target is {target!r}, it must be kubernetes or local")
    api = Api(cluster.namespace)
    return train_on_kubernetes(request, framework, cluster, uris or {}, output_uri, api, delete_on_stop)


def train_on_kubernetes(
    request: TrainingRequest,
    framework: str,
    cluster: Cluster,
    uris: Mapping[str, str],
    output_uri: str,
    api: Api,
    delete_on_stop: bool = False,
    poll_seconds: float = 3.0,
) -> ModelDescription:
    """Trains by a TrainJob, and collects the model that its first worker published.

    A request is found again by what it asks for, the data that lie here included: a TrainJob that runs is waited for, a
    model that it left is collected.

    Raises:
        InputError, Preempted, ShipwayError: As :func:`train_distributed`.
    """
    remote = _for_pods(request, cluster, uris, output_uri)
    cluster.check_devices(framework, request.accelerator)
    name = job_name(remote, framework, cluster, _contents(request))
    results = f"{pod_uri(output_uri, 'output_uri')}/{name}"
    remote = replace(remote, model=results, curves=f"{results}-curves.html")
    if not _published(results):
        manifest = train_job(name, remote, framework, replace(cluster, namespace=api.namespace))
        job = TrainJob(api, name, poll_seconds)
        job.submit(manifest)
        job.wait(cluster.timeout_seconds, delete_on_stop)
    return _collect(remote, request)


def pod_uri(uri: str, what: str) -> str:
    """Returns a URI as a cluster's pods reach it, without a slash behind it.

    Args:
        uri: Of an artifact, or a directory in a store; Kubeflow Pipelines writes ``minio://`` for its own S3 store.
        what: What it is, for the message.

    Raises:
        InputError: When it is on this machine, or of a store that several writers cannot share.
    """
    scheme, separator, rest = uri.rstrip("/").partition("://")
    if separator and rest and scheme in (*_WEB_SCHEMES, "minio"):
        return f"{'s3' if scheme == 'minio' else scheme}://{rest}"
    raise InputError(
        f"{what} is {shown(uri)!r}; a cluster's pods do not see the files of this machine, and its nodes share no disk:"
        " it must be in a store, s3:// or gs:// (or train with target=local)"
    )


def _for_pods(request: TrainingRequest, cluster: Cluster, uris: Mapping[str, str], output_uri: str) -> TrainingRequest:
    """Returns the request with places that the pods reach; what has none by default stays below ``output_uri``."""
    if request.accelerator == "auto":
        raise InputError("accelerator is 'auto'; pods have what they are given: say cpu or gpu")
    output = pod_uri(output_uri, "output_uri")
    code = request.network_code and pod_uri(uris.get("network_code", request.network_code), "network_code")
    return replace(
        request,
        train=pod_uri(uris.get("train", request.train), "train"),
        validation=pod_uri(uris.get("validation", request.validation), "validation"),
        network_code=code,
        devices=cluster.devices_per_node,
        checkpoint_uri=pod_uri(request.checkpoint_uri or f"{output}/checkpoints", "checkpoint_uri"),
        tracking_uri=tracking_of_pods(request),
    )


def _contents(request: TrainingRequest) -> dict[str, str]:
    """Returns the digests of the splits and the code that are here: other data may come to lie below the same URI."""
    splits = {
        name: directory_digest(path)
        for name in ("train", "validation")
        if Path(path := getattr(request, name)).is_dir()
    }
    code = request.network_code if Path(request.network_code).exists() else ""
    return {**splits, "network": network_digest(request.network, code)}


def _published(uri: str) -> bool:
    try:
        storage.read_manifest(uri)
    except ObjectNotFound:
        return False
    _LOG.info("the model of this training is there already: %s", uri)
    return True


def _collect(remote: TrainingRequest, request: TrainingRequest) -> ModelDescription:
    with new_directory(request.model) as directory:
        storage.download(f"{remote.model}/", directory)
        (directory / MANIFEST).unlink()
        description = verify_files(directory)
    storage.download(remote.curves, request.curves)
    return description
