"""What is known of a run while it goes on: the state of each task, told by events and by kfp's own log."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shipway.pipelines.spec import Task
from shipway.pipelines.task import EVENTS_FILE, log_file

__all__ = ["CACHED", "CANCELLED", "FAILED", "RUNNING", "SKIPPED", "SUCCEEDED", "Journal", "TaskState"]

SUCCEEDED, FAILED, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLED"
CACHED, RUNNING, SKIPPED = "CACHED", "RUNNING", "SKIPPED"

_POLL_SECONDS = 0.05
# kfp 2.17's words for a step whose earlier result it takes (kfp/local/orchestrator/task_executor.py).
_CACHE_HIT = re.compile(r"Task (\S+) cache hit \(key=([0-9a-f]+)\)")


@dataclasses.dataclass
class TaskState:
    """One task of a run.

    Attributes:
        task: The task.
        status: ``SUCCEEDED``, ``FAILED``, ``CACHED`` (an earlier result was taken), ``SKIPPED`` (its condition was
            false, or what it needs failed), ``CANCELLED``, or ``RUNNING``.
        seconds: From the start of its process to its end; 0 for a cached or skipped task.
        outputs: Its parameters, and its artifacts as ``{"uri", "type", "metadata"}``.
        error: ``{"type", "message"}`` of a failure that Shipway raised on purpose.
        exit_code: Of its process.
        process_id: Of its process.
    """

    task: Task
    status: str = SKIPPED
    seconds: float = 0.0
    outputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: dict[str, str] | None = None
    exit_code: int | None = None
    process_id: int | None = None
    started: float = 0.0

    def record(self, run_directory: Path) -> dict[str, Any]:
        """Returns the task's entry in ``run.json``."""
        ran = self.started > 0
        return {
            "name": self.task.name,
            "display_name": self.task.display_name,
            "image": self.task.image,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "depends_on": list(self.task.depends_on),
            "outputs": self.outputs,
            "error": self.error,
            "log": str(log_file(run_directory, self.task.name)) if ran else None,
        }


class Journal(logging.Handler):
    """Follows a run's events in a thread of its own, and kfp's log as a handler of the root logger.

    Args:
        tasks: The run's tasks.
        run_directory: Where ``events.jsonl`` is written.
        cache_directory: kfp.local's cache.
        changed: Called with a task's state after each change, one call at a time.
    """

    def __init__(
        self, tasks: Iterable[Task], run_directory: Path, cache_directory: Path, changed: Callable[[TaskState], None]
    ) -> None:
        super().__init__(logging.INFO)
        self.states = {task.name: TaskState(task) for task in tasks}
        self._events = run_directory / EVENTS_FILE
        self._cache_directory = cache_directory
        self._changed = changed
        self._position = 0
        self._ended = threading.Event()
        self._changing = threading.RLock()  # the thread's and kfp's own news come one at a time, in their order
        self._thread = threading.Thread(target=self._follow, name="journal", daemon=True)

    def __enter__(self) -> Journal:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.INFO)
        root.addHandler(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)

    def running(self) -> list[TaskState]:
        """Returns the tasks that are under way."""
        return [state for state in self.states.values() if state.status == RUNNING]

    def emit(self, record: logging.LogRecord) -> None:
        """Notes a cache hit that kfp logs."""
        hit = _CACHE_HIT.match(record.getMessage())
        if not hit:
            return
        with self._changing:
            self._read_events()
            state = self.states[hit[1]]
            state.status, state.outputs = CACHED, self._cached_outputs(hit[2])
            self._changed(state)

    def _cached_outputs(self, key: str) -> dict[str, Any]:
        (entry,) = self._cache_directory.glob(f"{key}*.json")
        outputs = json.loads(entry.read_text(encoding="utf-8"))
        return {name: _artifact(value) if isinstance(value, dict) else value for name, value in outputs.items()}

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self._read_events()
        self._read_events()

    def _read_events(self) -> None:
        if not self._events.exists():
            return
        with self._changing, self._events.open(encoding="utf-8") as file:
            file.seek(self._position)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self._position = file.tell()
                self._apply(json.loads(line))

    def _apply(self, event: dict[str, Any]) -> None:
        state = self.states[event["task"]]
        if event["event"] == "started":
            state.status, state.started, state.process_id = RUNNING, event["time"], event["pid"]
        else:
            state.status = SUCCEEDED if event["exit_code"] == 0 else FAILED
            state.seconds = event["time"] - state.started
            state.outputs, state.error, state.exit_code = event["outputs"], event["error"], event["exit_code"]
        self._changed(state)

    def elapsed_seconds(self, state: TaskState) -> float:
        """Returns how long a running task has been running."""
        return time.time() - state.started


def _artifact(value: dict[str, Any]) -> dict[str, Any]:
    if "__kfp_artifact__" not in value:
        return value
    return {"uri": value["uri"], "type": value["schema_title"], "metadata": value["metadata"]}
