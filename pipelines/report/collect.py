"""What a run left behind: its tasks' artifacts, recognised by the files they hold.

Nothing here knows a pipeline: whatever is absent, unreadable or of another shape is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Candidate", "Findings", "Titled", "collect", "log_tail"]

Json = dict[str, Any]

_FRAMEWORKS = {"pytorch": "PyTorch", "tensorflow": "TensorFlow", "sklearn": "scikit-learn"}
_LOG_BYTES, _LOG_LINES = 1 << 16, 24
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclasses.dataclass
class Candidate:
    """A trained model and what is known of it.

    Attributes:
        title: Its framework; with its task's name where two candidates share one.
        task: The task that made it.
        digest: Of the model.
        model: Content of ``model.json``, or empty.
        golden: Content of ``golden.json``, or empty.
        metrics: Content of ``metrics.json``, or empty.
        blessing: Content of ``blessing.json``, or empty.
        selected: Whether a later task took it.
        released: Whether it is what the run released.
    """

    title: str
    task: str
    digest: str
    model: Json = dataclasses.field(default_factory=dict)
    golden: Json = dataclasses.field(default_factory=dict)
    metrics: Json = dataclasses.field(default_factory=dict)
    blessing: Json = dataclasses.field(default_factory=dict)
    selected: bool = False
    released: bool = False


@dataclasses.dataclass(frozen=True)
class Titled:
    """An artifact's content with the name of the task that made it."""

    title: str
    content: Json


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything found among a run's artifacts, in the order of its tasks."""

    candidates: list[Candidate]
    statistics: list[Titled]
    anomalies: list[Titled]
    baselines: list[Json]
    endpoint: Json
    manifest: Json


def collect(run: Json) -> Findings:
    """Reads the artifacts that the tasks of a run record point at."""
    statistics: list[Titled] = []
    anomalies: list[Titled] = []
    baselines: list[Json] = []
    endpoint: Json = {}
    candidates: dict[str, Candidate] = {}
    for task, path in _artifacts(run):
        title = str(task.get("display_name") or task["name"])
        model, metrics = _object(path / "model.json"), _object(path / "metrics.json")
        if model:
            _add_model(candidates, task["name"], model, _object(path / "golden.json"))
        elif isinstance(metrics.get("baselines"), list):
            baselines += [baseline for baseline in metrics["baselines"] if isinstance(baseline, dict)]
        elif isinstance(metrics.get("model"), dict):
            _add_evaluation(candidates, task["name"], metrics, _object(path / "blessing.json"))
        elif summary := _object(path / "summary.json"):
            statistics.append(Titled(title, summary))
        elif found := _object(path / "anomalies.json"):
            anomalies.append(Titled(title, found))
        endpoint = endpoint or _object(path / "endpoint.json")
    release = run.get("release") or {}
    place = _local(release.get("uri"))
    manifest = _object(place / "MANIFEST.json") if place else {}
    _mark(list(candidates.values()), manifest, place)
    return Findings(list(candidates.values()), statistics, anomalies, baselines, endpoint, manifest)


def log_tail(path: object) -> str:
    """Returns the last lines of a task's log without terminal codes; empty where there is none."""
    if not isinstance(path, str):
        return ""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _LOG_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [_TERMINAL_CODES.sub("", line.rsplit("\r", 1)[-1]) for line in text.rstrip().split("\n")]
    return "\n".join(lines[-_LOG_LINES:])


def _artifacts(run: Json) -> Iterator[tuple[Json, Path]]:
    for task in run.get("tasks") or []:
        for output in (task.get("outputs") or {}).values():
            path = _local(output.get("uri")) if isinstance(output, dict) else None
            if path and path.is_dir():
                yield task, path


def _local(uri: object) -> Path | None:
    """Returns the path behind a plain path or a ``file://`` URI; ``None`` for any other."""
    if not isinstance(uri, str) or not uri:
        return None
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri else Path(uri)


def _object(path: Path) -> Json:
    """Returns the JSON object in a file; an empty one where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _candidate(candidates: dict[str, Candidate], task: str, digest: str, framework: object) -> Candidate:
    """Returns the candidate of this digest, a new one where there is none."""
    if digest not in candidates:
        title = _FRAMEWORKS.get(str(framework), str(framework or task))
        if any(other.title == title for other in candidates.values()):
            title = f"{title} ({task})"
        candidates[digest] = Candidate(title, task, digest)
    return candidates[digest]


def _add_model(candidates: dict[str, Candidate], task: str, model: Json, golden: Json) -> None:
    candidate = _candidate(candidates, task, str(model.get("digest")), model.get("framework"))
    candidate.selected = bool(candidate.model)
    candidate.model = candidate.model or model
    candidate.golden = candidate.golden or golden


def _add_evaluation(candidates: dict[str, Candidate], task: str, metrics: Json, blessing: Json) -> None:
    model = metrics["model"]
    candidate = _candidate(candidates, task, str(model.get("digest")), model.get("framework"))
    candidate.metrics = candidate.metrics or metrics
    candidate.blessing = candidate.blessing or blessing


def _mark(candidates: list[Candidate], manifest: Json, release: Path | None) -> None:
    """Marks the candidate that was released: by the manifest's model digest, else by the release's name."""
    for candidate in candidates:
        hexadecimal = candidate.digest.removeprefix("sha256:")
        if manifest:
            candidate.released = candidate.digest == manifest.get("model_digest")
        elif release:
            candidate.released = bool(release.name) and hexadecimal.startswith(release.name)
        candidate.selected = candidate.selected or candidate.released
