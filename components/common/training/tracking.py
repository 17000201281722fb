"""Telling MLflow about a training, which neither waits for it nor fails with it; :mod:`.delivery` sees to that."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from shipway.components.common.errors import Preempted
from shipway.components.common.model import Epoch, ModelDescription
from shipway.components.common.training.delivery import Delivery, Run, Send
from shipway.components.common.training.request import TrainingRequest

__all__ = ["Tracker", "tracked"]

WAIT_SECONDS = 30.0
# Of the 30 seconds that Kubernetes grants after SIGTERM most belong to the checkpoint.
PREEMPTED_WAIT_SECONDS = 5.0
LONGEST_KEY, LONGEST_PARAMETER, LONGEST_TAG = 250, 6000, 5000  # older servers take tags of 5000 characters, not 8000

# Only where the user has not set them. Delivery itself tries again, so MLflow need not.
_SETTINGS = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def tracked(
    request: TrainingRequest, framework: str, identity_digest: str = "", wait_seconds: float = WAIT_SECONDS
) -> Iterator[Tracker]:
    """Yields what a training tells its MLflow run, which ends as the block does: FINISHED, FAILED or KILLED.

    The run is in the experiment with the model's name. No error comes out of this but the block's own.

    Args:
        request: What is trained; its ``tracking_uri`` says where to log.
        framework: ``pytorch`` or ``tensorflow``.
        identity_digest: What tells trainings apart. An unfinished run of the same one is continued; "" starts a new
            run.
        wait_seconds: How long the end may wait for what is not logged yet; after a preemption at most 5 seconds.
    """
    if request.tracking_uri == "none":
        yield Tracker(lambda *_: None, request)
        return
    tags = {"shipway.framework": framework, "shipway.network": request.network}
    with _environment(_SETTINGS):
        delivery = Delivery(request.tracking_uri, request.model_name, tags, identity_digest)
        try:
            yield Tracker(delivery.add, request)
        except BaseException as error:
            killed = isinstance(error, Preempted | KeyboardInterrupt)
            delivery.add("the error", partial(_send_tags, {"shipway.error": f"{type(error).__name__}: {error}"}))
            delivery.close(
                "KILLED" if killed else "FAILED", min(wait_seconds, PREEMPTED_WAIT_SECONDS) if killed else wait_seconds
            )
            raise
        delivery.close("FINISHED", wait_seconds)


class Tracker:
    """Takes what a training has to tell; every method returns at once."""

    def __init__(self, add: Callable[[str, Send], None], request: TrainingRequest) -> None:
        self._add, self._request = add, request

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Logs parameters; those in a mapping are named ``outer.inner``, long ones are cut.

        A run that is continued keeps the values it has.
        """
        self._add("the parameters", partial(_send_parameters, dict(values)))

    def epoch(self, epoch: Epoch, rows_per_second: float | None = None) -> None:
        """Logs an epoch's numbers as a step of the curves; one that a continued run has already is left out."""
        values = {**asdict(epoch), "rows_per_second": rows_per_second}
        step = values.pop("epoch")
        send = partial(_send_metrics, values, step, _milliseconds())
        self._add(f"epoch {step}", lambda run: None if step in run.steps else send(run))

    def model(self, description: ModelDescription, directory: Path) -> None:
        """Logs the model's metrics, digests and files, and the page of curves.

        Args:
            description: What ``model.json`` says.
            directory: The Model directory, which must stay until the training's block ends.
        """
        known = asdict(self._request.hyperparameters)
        circumstances = {name: value for name, value in description.training.items() if name not in known}
        numbers = {f"training/{name}": value for name, value in circumstances.items()}
        numbers |= {f"model/{name}": value for name, value in description.metrics.items()}
        tags = {name: value for name, value in circumstances.items() if isinstance(value, str)}
        tags |= {f"{name}_digest": value for name, value in asdict(description.digests).items()}
        tags["model_digest"] = description.digest
        self._add("the model's metrics", partial(_send_metrics, numbers, len(description.history), _milliseconds()))
        self._add("the model's digests", partial(_send_tags, {f"shipway.{n}": value for n, value in tags.items()}))
        for file in sorted(path for path in directory.rglob("*") if path.is_file() and self._wanted(path)):
            folder = Path("model", file.relative_to(directory).parent).as_posix()
            self._add("the model's files", partial(_send_file, file, folder))
        self._add("the page of curves", partial(_send_page, Path(self._request.curves)))

    def _wanted(self, file: Path) -> bool:
        """Of every training, this user's own database keeps the documents only: the model itself is the step's."""
        return bool(self._request.tracking_uri) or file.suffix == ".json"


def _send_parameters(values: Mapping[str, Any], run: Run) -> None:
    from mlflow.entities import Param

    new = [Param(name, text) for name, text in _flat(values) if name not in run.parameters]
    run.client.log_batch(run.id, params=new)


def _send_metrics(values: Mapping[str, Any], step: int, milliseconds: int, run: Run) -> None:
    from mlflow.entities import Metric

    numbers = {_key(n): v for n, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    known = [Metric(name, float(v), milliseconds, step) for name, v in numbers.items() if abs(v) < float("inf")]
    run.client.log_batch(run.id, metrics=known)


def _send_tags(tags: Mapping[str, str], run: Run) -> None:
    from mlflow.entities import RunTag

    run.client.log_batch(run.id, tags=[RunTag(_key(name), value[:LONGEST_TAG]) for name, value in tags.items()])


def _send_file(file: Path, folder: str, run: Run) -> None:
    run.client.log_artifact(run.id, str(file), folder)


def _send_page(page: Path, run: Run) -> None:
    run.client.log_text(run.id, page.read_text(encoding="utf-8"), "curves.html")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            cut = text if len(text) <= LONGEST_PARAMETER else f"{text[: LONGEST_PARAMETER - 1]}…"
            yield _key(f"{prefix}{name}"), cut


def _key(name: str) -> str:
    """Returns a name with only the characters that MLflow takes."""
    return re.sub(r"[^/\w.\- :]", "_", name)[:LONGEST_KEY]


def _milliseconds() -> int:
    return int(time.time() * 1000)


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables that are not set, for the length of the block."""
    new = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
