"""Tuning: trials of hyperparameters, the best one's model, and whether it is better than the given ones."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import new_directory, write_json
from shipway.components.common.errors import InputError, Preempted
from shipway.components.common.model import ModelDescription, digests_of, verify_files
from shipway.components.common.training.interruption import Stop, interruptions
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.tuning.comparison import Comparison, compare, scored
from shipway.components.common.tuning.journal import Journal, locked
from shipway.components.common.tuning.learning_curve import learning_curve
from shipway.components.common.tuning.places import Copies, StudyPlace
from shipway.components.common.tuning.records import Goal, Train, Trial, attempt
from shipway.components.common.tuning.report import report_page
from shipway.components.common.tuning.results import TuningResult, importances_of
from shipway.components.common.tuning.settings import TuningSettings
from shipway.components.common.tuning.workers import Workers

__all__ = ["tune", "write_trials"]

# So many failures with the same words, and no success, are the fault of what all trials have in common.
ALIKE = 3
logger = logging.getLogger(__name__)


def tune(request: TrainingRequest, train: Train, settings: TuningSettings) -> TuningResult:
    """Tries hyperparameters, and leaves the best trial's model as ``request.model`` and a report as ``request.curves``.

    The first trial has the request's own hyperparameters. Stopped at any moment and called again, the study goes on:
    what is finished is not repeated, what was running goes on from its last checkpoint. One process finds the same
    with the same seed, stopped or not.

    Args:
        request: What is trained. Trials run on one device each unless ``devices`` says more, log nothing to MLflow
            and keep their checkpoints with the study.
        train: The trainer, ``train(request, on_epoch)``; a module's function when trials run in parallel.
        settings: How to tune.

    Raises:
        InputError: When the given hyperparameters are not in the space, the study's directory holds another study, or
            every trial failed: the first one's error.
        ConflictError: When another process is at work in the study's directory.
        Preempted: When it was stopped.
    """
    return _Tuning(request, train, settings).run()


def write_trials(directory: str | Path, result: TuningResult) -> None:
    """Writes ``trials.json``, everything that was found, to a new directory."""
    with new_directory(directory) as aside:
        write_json(aside / "trials.json", result.to_json())


class _Tuning:
    """One call of :func:`tune`."""

    def __init__(self, request: TrainingRequest, train: Train, settings: TuningSettings) -> None:
        if request.devices > 1 and settings.pruning != "none":
            raise InputError(
                f"a training on {request.devices} devices tells nothing of its epochs: set pruning to none, or devices"
                " to 1 and use them for parallel_trials"
            )
        self.request, self.train, self.settings = request, train, settings
        self.goal = Goal(request.hyperparameters.best_metric)
        self.given = settings.space.given(request.hyperparameters)
        self.identity = _identity(request, train, settings)
        self.place = StudyPlace.of(settings.study_uri, self.identity)
        self.copies = Copies(self.place, self.identity)
        self.started = time.monotonic()

    def run(self) -> TuningResult:
        directory = self.place.directory
        logger.info("the study is in %s", directory)
        with interruptions() as stop, locked(directory) as lock:
            self.copies.fetch()
            journal = Journal(
                directory, self.identity, self.goal, self.settings, self.given, lambda v: self._changed(v).epochs
            )
            try:
                self._run_trials(journal, lock, stop)
                return self._result(journal)
            except Preempted:
                journal.interrupted()
                raise

    def _run_trials(self, journal: Journal, lock: int, stop: Stop) -> None:
        def attend() -> None:
            if stop.requested:
                ended = sum(trial.state != "running" for trial in journal.trials)
                raise stop.preempted(f"{ended} trials are finished, in {self.place.directory}")

        def begin() -> tuple[int, TrainingRequest] | None:
            attend()
            _raise_if_hopeless(journal.trials)
            late = self.settings.timeout_seconds and time.monotonic() - self.started > self.settings.timeout_seconds
            trial = None if late and journal.trials else journal.begin()
            return trial and (trial[0], self._request_of(*trial))

        def end(number: int, outcome: Any) -> None:
            journal.end(number, outcome)
            self._delete_models(journal)
            self.place.delete_checkpoints(number)
            self.copies.save(sum(trial.state != "running" for trial in journal.trials))

        self._delete_models(journal)
        if self.settings.parallel_trials == 1:
            while task := begin():
                end(task[0], attempt(self.train, task[1], _reporter(journal, task[0])))
            return
        with Workers(self.train, self.settings.parallel_trials, lock, self.request.accelerator) as workers:
            workers.run(attend, begin, journal.report, end)

    def _result(self, journal: Journal) -> TuningResult:
        trials, best = journal.trials, journal.best
        if best is None:
            errors = [trial.error for trial in trials if trial.error]
            if not errors:
                raise InputError("no trial came to an end within timeout_seconds: allow more, and the study goes on")
            raise InputError(
                f"none of {len(trials)} trials came to an end, {len(errors)} of them failed; the first: {errors[0]}."
                f" Delete {self.place.uri or self.place.directory} to try again"
            )
        description = self._model(best)
        request = self._request_of(best.number, self.settings.space.encoded(best.values))
        fractions, test = self.settings.learning_curve_fractions, self.settings.test
        parts = self.place.directory / "rows"
        result = TuningResult(
            self.goal,
            request.hyperparameters,
            best.number,
            description,
            trials,
            importances_of(journal.study, trials),
            self._comparison(best, trials[0]) if test else None,
            learning_curve(self.train, request, description, fractions, parts, test, self.goal) if fractions else None,
        )
        with new_directory(self.request.model) as directory:
            shutil.copytree(request.model, directory, dirs_exist_ok=True)
        page = Path(self.request.curves)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(report_page(result, self.request, self.settings), encoding="utf-8")
        return result

    def _comparison(self, best: Trial, given: Trial) -> Comparison | None:
        if given.state != "complete":
            return None
        self._model(given)
        one, other = (scored(self.place.trial(trial.number) / "model", self.settings.test) for trial in (best, given))
        return compare(one, other)

    def _model(self, trial: Trial) -> ModelDescription:
        """Returns what a kept model says; one that was lost is trained again."""
        model = self.place.trial(trial.number) / "model"
        try:
            return verify_files(model)
        except InputError as error:
            logger.warning("trial %d is trained again: %s", trial.number, error)
            return self.train(self._request_of(trial.number, self.settings.space.encoded(trial.values)), None)

    def _changed(self, values: Mapping[str, Any]) -> Any:
        return self.settings.space.changed(self.request.hyperparameters, values)

    def _request_of(self, number: int, values: Mapping[str, Any]) -> TrainingRequest:
        place = self.place.trial(number)
        return replace(
            self.request,
            hyperparameters=self._changed(values),
            model=str(place / "model"),
            curves=str(place / "curves.html"),
            checkpoint_uri=self.place.checkpoints(number),
            tracking_uri="none",
            devices=self.request.devices or 1,
        )

    def _delete_models(self, journal: Journal) -> None:
        """Deletes what trials left, but for the first one's, the best one's and the running ones'."""
        best = journal.best
        kept = {0, best.number if best else 0, *(t.number for t in journal.trials if t.state == "running")}
        for place in (self.place.directory / "trials").glob("*"):
            if int(place.name) not in kept:
                shutil.rmtree(place, ignore_errors=True)


def _reporter(journal: Journal, number: int) -> Callable[[Any], bool]:
    return lambda epoch: journal.report(number, epoch)


def _identity(request: TrainingRequest, train: Train, settings: TuningSettings) -> dict[str, Any]:
    """Returns what must be the same for a study to go on: what trials are, and how they are chosen."""
    digests = digests_of(request.train)
    return {
        **request.identity(f"{getattr(train, '__module__', '')}.{getattr(train, '__qualname__', '')}"),
        "precision": request.precision,
        "code": digests.code,
        "environment": digests.environment,
        "space": settings.space.to_json(),
        "sampler": settings.sampler,
        "pruning": settings.pruning,
        "tuning_seed": settings.seed,
    }


def _raise_if_hopeless(trials: tuple[Trial, ...]) -> None:
    ended = [trial.error for trial in trials if trial.state != "running"]
    if len(ended) >= ALIKE and ended[0] and len(set(ended)) == 1:
        raise InputError(f"the first {len(ended)} trials failed alike: {ended[0]}")
