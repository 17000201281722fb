"""The processes that are measured: each in its family's environment, with the project's code as it was at the start."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.environments import BENCH
from shipway.pipelines.code import code_snapshot
from shipway.pipelines.demo import demo_parameters, write_tables
from shipway.pipelines.environments import make_environments
from shipway.pipelines.families import FAMILIES

__all__ = ["FRAMEWORKS", "datasets", "log_file", "request", "run", "start"]

FRAMEWORKS = ("pytorch", "tensorflow")
_TIMES = 10


def run(name: str, family: str, module: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Runs a module of this package and returns the JSON object on the last line of what it prints.

    Raises:
        RuntimeError: When it fails, with where its last words are.
    """
    process = start(name, family, module, *arguments, options=options)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}; see {log_file(name)}")
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


def start(
    name: str, family: str, module: str, *arguments: str | Path, options: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Starts a module of this package.

    Args:
        name: What its log is called.
        family: Whose environment it runs in.
        module: Its name in this package.
        arguments: Its arguments.
        options: The interpreter's own.
    """
    command = [_python(family), *options, "-m", f"benchmarks.training.{module}", *map(str, arguments)]
    # Python may write bytecode whatever this process was told, so that a second run finds it.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    places = {"PYTHONPATH": str(_code()), "SHIPWAY_STATE_DIR": str(BENCH.absolute() / "state")}
    log = log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=variables | places, text=True)


def datasets() -> Path:
    """Returns the directory of the Datasets that :mod:`.flights` describes, made now if it is not there.

    Raises:
        EnvironmentFailed: When the data's package or the data family's environment cannot be installed.
    """
    directory = BENCH.absolute() / "training-data"
    if not directory.is_dir():
        write_tables(BENCH / "tables")
        parameters = json.dumps(demo_parameters(), default=str)
        process = start("flights", "data", "flights", BENCH.absolute() / "tables", directory, parameters, str(_TIMES))
        if process.wait():
            raise RuntimeError(f"the flights could not be prepared; see {log_file('flights')}")
    return directory


def request(place: Path, train: str, **changes: Any) -> Path:
    """Writes a training's request, to learn from one of the Datasets, and returns its file.

    Args:
        place: Directory for the request and all that comes of it.
        train: The Dataset's name.
        changes: What is not as it usually is.
    """
    place.mkdir(parents=True, exist_ok=True)
    asked = {
        "train": str(datasets() / train),
        "validation": str(datasets() / "validation"),
        "model": str(place / "model"),
        "curves": str(place / "curves.html"),
        "label": str(demo_parameters()["label"]),
        "model_name": "flights",
        "accelerator": "cpu",
        "devices": 1,
        "checkpoint_uri": str(place / "checkpoints"),
        "tracking_uri": "none",
    }
    file = place / "request.json"
    file.write_text(json.dumps(asked | changes))
    return file


def log_file(name: str) -> Path:
    """Returns where the standard error of a measured process goes."""
    return BENCH / "logs" / f"training-{name.replace(' ', '-')}.log"


@functools.cache
def _python(family: str) -> str:
    return str(make_environments([FAMILIES[family]], print)[family].python)


@functools.cache
def _code() -> Path:
    return code_snapshot()
