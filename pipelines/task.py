"""Runs one step of a local run and writes down what became of it (started by the rewritten spec, never by hand).

``python -S -m shipway.pipelines.task NAME COMMAND…`` appends two lines of JSON to the run's ``events.jsonl``,
``{"event": "started", "task", "time", "pid"}`` and ``{"event": "finished", "task", "time", "exit_code", "error",
"outputs"}``; the step's own output goes to ``logs/NAME.log``. Standard library only: it runs before any step.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shipway.components.common.process import ERROR_FILE_VARIABLE

__all__ = ["EVENTS_FILE", "RUN_DIRECTORY_VARIABLE", "log_file", "main"]

RUN_DIRECTORY_VARIABLE = "SHIPWAY_RUN_DIRECTORY"
EVENTS_FILE = "events.jsonl"
_PR_SET_PDEATHSIG = 1


def log_file(run_directory: Path, task: str) -> Path:
    """Returns where a task's output is kept."""
    return run_directory / "logs" / f"{task}.log"


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    task, *command = arguments
    run_directory = Path(os.environ[RUN_DIRECTORY_VARIABLE])
    _end_with_parent()
    _append(run_directory, {"event": "started", "task": task, "time": time.time(), "pid": os.getpid()})
    error_file = run_directory / "errors" / f"{task}.json"
    error_file.parent.mkdir(exist_ok=True)
    error_file.unlink(missing_ok=True)
    # kfp's command leaves a directory behind; so it gets one that goes when the step ends.
    with tempfile.TemporaryDirectory(prefix="shipway-") as temporary:
        variables = {ERROR_FILE_VARIABLE: str(error_file), "TMPDIR": temporary}
        exit_code = _run(command, log_file(run_directory, task), variables)
    event = {
        "event": "finished",
        "task": task,
        "time": time.time(),
        "exit_code": exit_code,
        "error": _read_json(error_file),
        "outputs": _outputs(command) if exit_code == 0 else {},
    }
    _append(run_directory, event)
    return exit_code


def _run(command: list[str], log: Path, variables: dict[str, str]) -> int:
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        # A group of its own, so that a signal reaches the shell and the interpreter below it.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _signal_group(child.pid))
        code = child.wait()
    return code if code >= 0 else 128 - code


def _signal_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)


def _end_with_parent() -> None:
    """Asks the kernel for SIGTERM when the run's process is gone, however it went (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _append(run_directory: Path, event: dict[str, Any]) -> None:
    with (run_directory / EVENTS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def _outputs(command: list[str]) -> dict[str, Any]:
    """Reads a step's outputs the way kfp.local does: from the executor's output file, else from the declared places."""
    declared = json.loads(command[command.index("--executor_input") + 1])["outputs"]
    written = _read_json(Path(declared["outputFile"])) or {}
    outputs: dict[str, Any] = dict(written.get("parameterValues", {}))
    for name, planned in declared.get("artifacts", {}).items():
        artifact = {**planned["artifacts"][0]}
        artifact.update(*written.get("artifacts", {}).get(name, {}).get("artifacts", [])[:1])
        _ensure_exists(artifact["uri"])
        outputs[name] = {
            "uri": artifact["uri"],
            "type": artifact["type"]["schemaTitle"],
            "metadata": artifact.get("metadata", {}),
        }
    return outputs


def _ensure_exists(uri: str) -> None:
    """Gives an artifact of metadata alone, such as Metrics, a file: kfp.local reuses no result that lacks one."""
    if "://" not in uri and not Path(uri).exists():
        Path(uri).touch()


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
