"""Runs a compiled pipeline on this machine: kfp.local orchestrates, each step runs in its image's environment."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import yaml
from kfp import local
from kfp.components import load_component_from_text

from shipway.components.common.errors import InputError, Preempted, ShipwayError, error_named
from shipway.pipelines.arguments import digest_imports, families_inside
from shipway.pipelines.code import code_snapshot
from shipway.pipelines.environments import make_environments
from shipway.pipelines.families import FAMILIES, Family
from shipway.pipelines.journal import CACHED, CANCELLED, FAILED, RUNNING, SUCCEEDED, Journal, TaskState
from shipway.pipelines.progress import Progress
from shipway.pipelines.records import expected_seconds, publish_run, run_record
from shipway.pipelines.spec import parse_parameters, rewrite, tasks_of
from shipway.pipelines.task import RUN_DIRECTORY_VARIABLE, log_file

__all__ = ["ROOT_VARIABLE", "Run", "run_pipeline"]

ROOT_VARIABLE = "SHIPWAY_ROOT"
_QUOTED_LINES = 15


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that came to its end.

    Attributes:
        directory: Its directory below the root.
        record: The content of its ``run.json``.
        error: Why it did not succeed.
    """

    directory: Path
    record: dict[str, Any]
    error: ShipwayError | None


def run_pipeline(
    spec: dict[str, Any],
    parameters: Mapping[str, Any],
    root: Path,
    caching: bool = True,
    stream: TextIO = sys.stderr,
) -> Run:
    """Runs a pipeline to its end.

    Args:
        spec: The compiled pipeline, as read from its YAML.
        parameters: Values for its parameters; texts are read as the parameter's type asks.
        root: Directory of runs, releases and the cache; made if missing.
        caching: Whether finished steps of earlier runs under ``root`` are reused.
        stream: Where progress is printed.

    Returns:
        The run, failed or not; ``run.json`` and ``report.html`` are in its directory.

    Raises:
        InputError: For wrong parameters or an unusable root, before anything runs.
        EnvironmentFailed: When an environment cannot be made.
    """
    arguments = parse_parameters(spec, parameters)
    tasks = tasks_of(spec)
    root = _usable_root(root)
    snapshot = code_snapshot()
    families = {*(task.family for task in tasks), *families_inside(spec, arguments)}
    variables = _step_variables(families, root, snapshot, stream)
    started = time.time()
    directory = _new_run_directory(root, spec["pipelineInfo"]["name"])
    progress = Progress(len(tasks), expected_seconds(root, tasks), stream)
    cache_directory = root / ".cache"
    journal = Journal(tasks, directory, cache_directory, progress.changed)
    _print(stream, f"run {directory.name}: {len(tasks)} tasks, logs in {directory / 'logs'}")
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(directory / "artifacts"),
        workspace_root=str(directory / "workspace"),
        enable_caching=caching,
        cache_root=str(cache_directory),
    )
    error: ShipwayError | None = None
    with _environment({**variables, RUN_DIRECTORY_VARIABLE: str(directory)}), journal, _cancelling(journal):
        try:
            local_spec = rewrite(spec, snapshot)
            digest_imports(local_spec, arguments)
            _orchestrate(local_spec, arguments, directory)
        except KeyboardInterrupt:
            error = Preempted("the run was cancelled; run it again: finished steps are reused")
        except (RuntimeError, ValueError, LookupError, OSError) as failure:
            error = ShipwayError(f"kfp.local stopped the run: {failure}; its own log is {directory / 'kfp.log'}")
    progress.close()
    states = list(journal.states.values())
    _settle(states, isinstance(error, Preempted))
    if not isinstance(error, Preempted):
        error = _first_failure(states, directory) or error
    record = run_record(spec, arguments, states, directory, snapshot, started, error)
    publish_run(root, directory, record)
    return Run(directory, record, error)


def _orchestrate(spec: dict[str, Any], arguments: dict[str, Any], directory: Path) -> None:
    pipeline = load_component_from_text(yaml.safe_dump(spec, sort_keys=False))
    with (
        (directory / "kfp.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # an image name without "python" in it
        warnings.simplefilter("ignore", UserWarning)  # resources and accelerators have no effect here
        pipeline(**arguments)


def _usable_root(root: Path) -> Path:
    root = root.absolute()
    if "python3" in str(root):
        raise InputError(f"{root} cannot hold runs: kfp.local replaces 'python3' in paths; choose another --root")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root} cannot hold runs: {error}; choose another --root") from error
    return root


def _new_run_directory(root: Path, pipeline: str) -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for name in (f"{pipeline}-{stamp}", f"{pipeline}-{stamp}-{os.getpid()}"):
        with contextlib.suppress(FileExistsError):
            (root / name).mkdir()
            return root / name
    raise InputError(f"{root / pipeline}-{stamp} exists already; run again")


def _step_variables(families: set[Family], root: Path, snapshot: Path, stream: TextIO) -> dict[str, str]:
    """Makes the environments and returns what a step finds in its environment besides the user's own variables."""
    served = {FAMILIES["serving"]} if FAMILIES["lifecycle"] in families else set()
    environments = make_environments(families | served, lambda line: _print(stream, line))
    interpreters = {
        environment.family.interpreter_variable: str(environment.python) for environment in environments.values()
    }
    return {
        **interpreters,
        ROOT_VARIABLE: str(root),
        "PYTHONPATH": str(snapshot),
        "PYTHONNOUSERSITE": "1",
    }


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _cancelling(journal: Journal) -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the steps under way before they end the run."""

    def cancel(_signal: int, _frame: FrameType | None) -> NoReturn:
        for state in journal.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.process_id or 0, signal.SIGTERM)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_failure(states: list[TaskState], directory: Path) -> ShipwayError | None:
    failed = [state for state in states if state.status == FAILED]
    if not failed:
        return None
    state = min(failed, key=lambda state: state.started)
    log = log_file(directory, state.task.name)
    if state.error:
        return error_named(state.error["type"])(f"task {state.task.name}: {state.error['message']}\nits log: {log}")
    how = f"ended with exit code {state.exit_code}" if state.exit_code is not None else "was killed"
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-_QUOTED_LINES:]
    quoted = "\n".join(f"  {line}" for line in lines)
    return ShipwayError(f"task {state.task.name} {how}; its last lines:\n{quoted}\nits log: {log}")


def _settle(states: list[TaskState], cancelled: bool) -> None:
    """Gives every task its last state; one that never told of its end has failed."""
    for state in states:
        if cancelled and state.status not in (SUCCEEDED, CACHED):
            state.status = CANCELLED
        elif state.status == RUNNING:
            state.status = FAILED


def _print(stream: TextIO, line: str) -> None:
    print(line, file=stream, flush=True)
