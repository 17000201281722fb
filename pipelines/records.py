"""What a run leaves: ``run.json`` for machines, ``report.html`` for people, ``latest`` pointing at the newest run."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shipway.components.common.artifacts import read_json, write_json
from shipway.components.common.errors import Preempted, ShipwayError
from shipway.pipelines.code import family_code_digest
from shipway.pipelines.families import FAMILIES, family_of_image
from shipway.pipelines.journal import CANCELLED, FAILED, SUCCEEDED, TaskState
from shipway.pipelines.report import write_report
from shipway.pipelines.spec import Task

__all__ = ["LATEST", "RUN_FILE", "expected_seconds", "publish_run", "run_record"]

RUN_FILE = "run.json"
REPORT_FILE = "report.html"
LATEST = "latest"


def run_record(
    spec: dict[str, Any],
    parameters: dict[str, Any],
    states: list[TaskState],
    directory: Path,
    snapshot: Path,
    started: float,
    error: ShipwayError | None,
) -> dict[str, Any]:
    """Returns the content of ``run.json``.

    ``pipeline``, ``run_id``, ``status`` (``SUCCEEDED|FAILED|CANCELLED``), ``started`` (ISO 8601, UTC), ``seconds``,
    ``parameters``, ``digests``, ``tasks``, ``release`` (``name``, ``digest``, ``uri``) or null, ``endpoint`` (``name``,
    ``url``, ``predict_url``) or null, ``error`` or null, ``report``.
    """
    status = SUCCEEDED if error is None else CANCELLED if isinstance(error, Preempted) else FAILED
    return {
        "pipeline": spec["pipelineInfo"]["name"],
        "run_id": directory.name,
        "status": status,
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 3),
        "parameters": {name: _shown(value) for name, value in {**_defaults(spec), **parameters}.items()},
        "digests": _digests(states, snapshot),
        "tasks": [state.record(directory) for state in states],
        "release": _published(states, "release.json", ("name", "digest", "uri")),
        "endpoint": _published(states, "endpoint.json", ("name", "url", "predict_url")),
        "error": {"type": type(error).__name__, "message": str(error)} if error else None,
        "report": str(directory / REPORT_FILE),
    }


def publish_run(root: Path, directory: Path, record: dict[str, Any]) -> None:
    """Writes the record and the report, then points ``latest`` at the run."""
    write_report(record, directory / REPORT_FILE)
    write_json(directory / RUN_FILE, record)
    aside = root / f".{LATEST}.{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(directory.name)
    aside.replace(root / LATEST)


def expected_seconds(root: Path, tasks: Iterable[Task]) -> dict[str, float]:
    """Returns what each task took in the newest run that ran it; empty for a first run."""
    latest = root / LATEST / RUN_FILE
    if not latest.exists():
        return {}
    names = {task.name for task in tasks}
    return {task["name"]: task["seconds"] for task in read_json(latest)["tasks"] if task["name"] in names}


def _defaults(spec: dict[str, Any]) -> dict[str, Any]:
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    given = {name: definition for name, definition in inputs.items() if "defaultValue" in definition}
    return {
        # The compiler writes every number as a float.
        name: int(value["defaultValue"]) if value["parameterType"] == "NUMBER_INTEGER" else value["defaultValue"]
        for name, value in given.items()
    }


def _shown(value: Any) -> Any:
    """Returns a parameter without what may be a secret: a web address's user, password, query and fragment."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return value
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _digests(states: list[TaskState], snapshot: Path) -> dict[str, Any]:
    families = {family_of_image(state.task.image).name for state in states}
    resolved = [state.outputs.get("Output") for state in states if state.task.name == "resolve-data"]
    return {
        "code": {name: family_code_digest(FAMILIES[name], snapshot) for name in sorted(families)},
        "locks": {name: FAMILIES[name].lock_digest for name in sorted(families)},
        "data": next(iter(resolved), None),
    }


def _published(states: list[TaskState], file: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    for state in states:
        for output in state.outputs.values():
            path = Path(output["uri"]) / file if isinstance(output, dict) and "uri" in output else None
            if path and path.is_file():
                content = read_json(path)
                return {key: content.get(key) for key in keys}
    return None
