"""A study in a directory, which goes on where it was stopped, however that happened.

``journal.log`` is Optuna's journal: what is in it has happened. One process writes it and holds a lock meanwhile, so
that a trial found running when the journal is opened is one whose process is gone: it is run again, under its number,
from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from shipway.components.common.errors import ConflictError, InputError
from shipway.components.common.model import Epoch
from shipway.components.common.storage.backends.local_files import file_errors
from shipway.components.common.tuning.places import JOURNAL_FILE
from shipway.components.common.tuning.records import Goal, Outcome, State, Trial
from shipway.components.common.tuning.samplers import STUDY_NAME, next_values, pruner_of
from shipway.components.common.tuning.search_space import Value
from shipway.components.common.tuning.settings import TuningSettings

__all__ = ["Journal", "locked"]

LOCK_SECONDS = 60.0
# How often a trial's process may die before the trial has had an epoch.
DEATHS = 3

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Holds a study's directory, which is made when it is not there; yields the lock's descriptor.

    Processes that inherit the descriptor hold the lock too: what a killed tuning left running is waited for.

    Raises:
        ConflictError: When another process holds it for so many seconds.
        StorageError: When it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with file_errors(str(directory), directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock: IO[str] = stack.enter_context((directory / "lock").open("a"))
        until = time.monotonic() + seconds
        while not _taken(lock):
            if time.monotonic() > until:
                raise ConflictError(
                    f"another process is tuning in {directory}: wait until it ends, or name another study_uri"
                )
            time.sleep(0.1)
        yield lock.fileno()


class Journal:
    """The study: what to try next, how trials go, and how they ended."""

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        goal: Goal,
        settings: TuningSettings,
        given: Mapping[str, Value],
        epochs: Callable[[Mapping[str, Any]], int],
    ) -> None:
        """Opens the study in a directory that this process has locked.

        Args:
            directory: Where it is, or will be.
            identity: What makes it this study, as JSON.
            goal: What trials are judged by.
            settings: How to tune.
            given: The values of the first trial, as Optuna keeps them.
            epochs: Returns how many epochs a trial with such values has.

        Raises:
            InputError: When another study is there, or what is there is damaged.
        """
        self._goal, self._settings, self._given, self._epochs = goal, settings, dict(given), epochs
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = directory / JOURNAL_FILE
        _end_at_a_line(path)
        try:
            self._storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock()))
            self._study = optuna.create_study(
                storage=self._storage, study_name=STUDY_NAME, direction=goal.direction, load_if_exists=True
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); delete {directory} to begin anew") from error
        self._id = self._storage.get_study_id_from_name(STUDY_NAME)
        _same_study(self._study, identity, directory)
        self._pruner = pruner_of(settings, max(map(epochs, [given, *self._ends()])))
        self._begun: set[int] = set()

    def begin(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the number and the values, as Optuna keeps them, of a trial to run now; None when there is none."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and trial.number not in self._begun and self._again(trial):
                self._begun.add(trial.number)
                return trial.number, trial.params
        number = len(self._trials())
        values = self._next(number) if number < self._settings.trials else None
        if values is None:
            return None
        distributions = {p.name: p.distribution() for p in self._settings.space.parameters}
        trial = create_trial(
            state=TrialState.RUNNING, params=values, distributions=distributions, user_attrs={"deaths": 1}
        )
        trial.datetime_start = datetime.datetime.now()
        self._study.add_trial(trial)
        self._begun.add(number)
        return number, values

    def report(self, number: int, epoch: Epoch) -> bool:
        """Keeps an epoch of a trial; returns whether to stop it there. Trial 0 is never stopped.

        Raises:
            InputError: When the epoch has no value to judge by.
        """
        value, trial, key = self._goal.of_epoch(epoch), self._trial(number), self._key(number)
        if epoch.epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(key, epoch.epoch, value)
        if trial.user_attrs["deaths"]:
            self._storage.set_trial_user_attr(key, "deaths", 0)
        last = epoch.epoch >= self._epochs(trial.params)
        pruned = self._pruner.prune(self._study, self._trial(number)) and number > 0 and not last
        if pruned:
            self._storage.set_trial_user_attr(key, "pruned", True)
        return pruned

    def end(self, number: int, outcome: Outcome) -> Trial:
        """Keeps how a trial ended; returns it."""
        self._storage.set_trial_user_attr(self._key(number), "seconds", round(outcome.seconds, 3))
        try:
            if outcome.error:
                self._fail(number, outcome.error)
            elif self._trial(number).user_attrs.get("pruned"):
                self._study.tell(number, state=TrialState.PRUNED)
            else:
                self._study.tell(number, self._goal.of_metrics(outcome.metrics))
        except InputError as undefined:
            self._fail(number, str(undefined))
        trial = self.trials[number]
        self._log(trial)
        return trial

    def interrupted(self) -> None:
        """Says of the running trials that it is not their fault that their processes end now."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                self._storage.set_trial_user_attr(self._key(trial.number), "deaths", 0)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in order."""
        return tuple(self._record(trial) for trial in self._trials())

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, of equals the first."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        sign = 1 if self._goal.direction == "maximize" else -1
        return max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    @property
    def study(self) -> optuna.Study:
        """The study as Optuna has it."""
        return self._study

    def _ends(self) -> Iterator[dict[str, Any]]:
        """Yields values with each end of what the number of epochs may be."""
        for parameter in self._settings.space.parameters:
            if parameter.name == "epochs":
                ends = parameter.choices() if parameter.kind == "categorical" else [parameter.low, parameter.high]
                yield from ({**self._given, "epochs": end} for end in ends)

    def _next(self, number: int) -> dict[str, Any] | None:
        return next_values(self._study, self._settings) if number else self._given

    def _again(self, trial: FrozenTrial) -> bool:
        """Returns whether to run a trial again whose process is gone; otherwise it is over."""
        if trial.user_attrs.get("pruned"):
            self._study.tell(trial.number, state=TrialState.PRUNED)
            return False
        deaths = trial.user_attrs["deaths"]
        if deaths >= DEATHS:
            self._fail(trial.number, f"its process ended {deaths} times before the first epoch: is memory too small?")
            return False
        self._storage.set_trial_user_attr(self._key(trial.number), "deaths", deaths + 1)
        logger.info("trial %d was stopped and goes on", trial.number)
        return True

    def _fail(self, number: int, error: str) -> None:
        self._storage.set_trial_user_attr(self._key(number), "error", error)
        self._study.tell(number, state=TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        return trials

    def _trial(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _key(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._id, number))

    def _record(self, trial: FrozenTrial) -> Trial:
        return Trial(
            number=trial.number,
            state=_STATES[trial.state],
            values=self._settings.space.decoded(trial.params),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            curve=tuple(sorted(trial.intermediate_values.items())),
            seconds=trial.user_attrs.get("seconds"),
            error=trial.user_attrs.get("error", ""),
        )

    def _log(self, trial: Trial) -> None:
        best = self.best
        how = trial.state if trial.value is None else f"{self._goal.words} {trial.value:.4f}"
        reason = f" ({trial.error})" if trial.error else ""
        so_far = f"; the best is trial {best.number} with {best.value:.4f}" if best else ""
        ended = sum(other.state != "running" for other in self.trials)
        logger.info("trial %d: %s%s%s; %d of %d", trial.number, how, reason, so_far, ended, self._settings.trials)


class _NoLock:
    """Optuna's own lock outlives a killed process by half a minute; :func:`locked` does not."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_at_a_line(path: Path) -> None:
    """Cuts off the half line that a kill may have left, which Optuna would go on to write after."""
    if path.exists():
        with file_errors(str(path), path), path.open("rb+") as file:
            text = file.read()
            if text and not text.endswith(b"\n"):
                os.truncate(file.fileno(), text.rfind(b"\n") + 1)


def _same_study(study: optuna.Study, identity: Mapping[str, Any], directory: Path) -> None:
    there = study.user_attrs.get("identity")
    if there is None:
        study.set_user_attr("identity", dict(identity))
        return
    names = sorted(name for name in {*there, *identity} if there.get(name) != identity.get(name))
    if names:
        words = [f"{name} is {_shown(there, name)} there and {_shown(identity, name)} here" for name in names]
        raise InputError(
            f"{directory} holds another study: {'; '.join(words)}. Name another study_uri, or delete it to begin anew"
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = json.dumps(values[name], sort_keys=True) if name in values else "not set"
    return text if len(text) <= 200 else f"{text[:200]}…"
