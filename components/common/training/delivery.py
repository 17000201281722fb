"""What brings records to MLflow in its own time.

Records wait in memory for a thread, which alone imports MLflow and talks to it. What fails is tried again every half
minute until the end, which goes twice more through what is left, as long as the caller's patience lasts, and says in
one warning what was lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from shipway.components.common.state import state_directory
from shipway.components.common.storage.uris import shown

__all__ = ["Delivery", "Run", "Send"]

# Importing MLflow takes a second or two of the interpreter, which the first steps need for themselves.
HEAD_START_SECONDS = 20.0
RETRY_SECONDS = 30.0
LAST_ROUNDS, LAST_PAUSE_SECONDS = 2, 1.0
FAILURES_OF_A_ROUND = 2
IDENTITY_TAG = "shipway.training"

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """An MLflow run.

    Attributes:
        client: The ``MlflowClient`` that reaches it.
        id: The run's.
        parameters: Names of those it has had since before this process.
        steps: Steps of the curves it has had since before this process.
    """

    client: Any
    id: str
    parameters: set[str] = field(default_factory=set)
    steps: set[int] = field(default_factory=set)


Send = Callable[[Run], object]


@dataclass(eq=False)
class _Record:
    what: str
    send: Send
    fault: str = ""  # the first: later ones may be about what it left behind


class Delivery:
    """The thread, what waits for it, and its way to MLflow.

    Args:
        uri: MLflow's tracking URI; "" for an SQLite file in this user's state directory.
        experiment: The experiment's name; made if there is none.
        tags: Of the run, if a new one is made.
        identity: What an unfinished run that is to be continued is found by; "" makes a new one.
    """

    def __init__(self, uri: str, experiment: str, tags: Mapping[str, str], identity: str) -> None:
        self._uri, self._experiment, self._identity = uri, experiment, identity
        self._tags = {**tags, IDENTITY_TAG: identity} if identity else dict(tags)
        self._pending: list[_Record] = []
        self._run: Run | None = None
        self._begun, self._news, self._closing, self._given_up = (threading.Event() for _ in range(4))
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def add(self, what: str, send: Send) -> None:
        """Takes a record; the first epoch's sets the thread to work."""
        self._pending.append(_Record(what, send))
        self._news.set()
        if what.startswith("epoch "):
            self._begun.set()

    def close(self, status: str, seconds: float) -> None:
        """Ends the run, waits at most so long for the thread, and warns of what it could not deliver."""
        self.add(f"the status {status}", lambda run: run.client.set_terminated(run.id, status))
        for event in (self._closing, self._begun, self._news):
            event.set()
        self._thread.join(seconds)
        self._given_up.set()
        if lost := tuple(self._pending):
            where = shown(self._uri).partition("?")[0] or "its default place"
            fault = next((record.fault for record in lost if record.fault), "no answer in time")
            logger.warning(
                "MLflow at %s was not told %s (%s); the training itself is not affected. Check tracking_uri, or set"
                ' it to "none"',
                *(where, _listed([record.what for record in lost]), _redacted(fault, self._uri)),
            )

    def _work(self) -> None:
        self._begun.wait(HEAD_START_SECONDS)
        rounds = LAST_ROUNDS
        while not self._given_up.is_set():
            closing = self._closing.is_set()
            self._news.clear()
            complete = self._deliver()
            rounds -= closing
            if closing and (complete or not rounds):
                return
            if closing:
                time.sleep(LAST_PAUSE_SECONDS)
            elif complete:
                self._news.wait()
            else:
                self._closing.wait(RETRY_SECONDS)

    def _deliver(self) -> bool:
        """Sends what is pending; returns whether nothing is left. What fails stays, for the next round."""
        failures = 0
        for record in tuple(self._pending):
            if failures >= FAILURES_OF_A_ROUND or self._given_up.is_set():
                break
            try:
                self._run = self._run or self._open()
                record.send(self._run)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the training
                record.fault = record.fault or f"{type(error).__name__}: {error}"
                failures += 1 if self._run else FAILURES_OF_A_ROUND
            else:
                self._pending.remove(record)
        return not self._pending

    def _open(self) -> Run:
        """Finds the run of this training that did not finish, or makes one."""
        from mlflow.tracking import MlflowClient

        self._uri = self._uri or f"sqlite:///{state_directory()}/mlflow.db"
        artifacts = _artifacts_beside(self._uri)
        client = MlflowClient(self._uri)
        found = client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else client.create_experiment(self._experiment, artifacts)
        if self._identity:
            for run in client.search_runs([experiment], f"tags.`{IDENTITY_TAG}` = '{self._identity}'", max_results=1):
                if run.info.status != "FINISHED":
                    client.update_run(run.info.run_id, status="RUNNING")
                    steps = {point.step for point in client.get_metric_history(run.info.run_id, "loss")}
                    return Run(client, run.info.run_id, set(run.data.params), steps)
        return Run(client, client.create_run(experiment, tags=self._tags).info.run_id)


def _artifacts_beside(uri: str) -> str | None:
    """Returns where an SQLite file's artifacts go; None where the server knows."""
    scheme, _, path = uri.partition(":///")
    if not scheme.startswith("sqlite"):
        return None
    database = Path(path.partition("?")[0]).absolute()
    database.parent.mkdir(parents=True, exist_ok=True)
    return str(database.with_name(f"{database.stem}-artifacts"))


def _listed(whats: list[str]) -> str:
    """Returns ``the parameters, epochs 3 to 5, the status FINISHED``."""
    epochs = [what for what in whats if what.startswith("epoch ")]
    both = [epochs[0].replace("epoch", "epochs"), epochs[-1].removeprefix("epoch ")] if len(epochs) > 1 else epochs
    return ", ".join(dict.fromkeys(" to ".join(both) if what in epochs else what for what in whats))


def _redacted(text: str, uri: str) -> str:
    """Returns the first line of a text without the credentials of a URI."""
    user = uri.partition("://")[2].partition("/")[0].rpartition("@")[0]
    password = user.partition(":")[2]
    for secret in (f"{user}@" if user else "", password, unquote(password), uri.partition("?")[2]):
        text = text.replace(secret, "") if secret else text
    return text.strip().partition("\n")[0][:300]
