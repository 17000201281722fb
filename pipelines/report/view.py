"""The report's sections, each from what was found, each left out where nothing was."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from shipway.components.common.reports import (
    bar_chart,
    duration,
    histogram,
    interval,
    number,
    percent,
    slug,
    style_sheet,
)
from shipway.pipelines.report import models
from shipway.pipelines.report.collect import Candidate, Findings, Json, collect, log_tail
from shipway.pipelines.report.graph import STATES, family, task_graph

__all__ = ["render"]

logger = logging.getLogger(__name__)

_BARS_OF_A_COLUMN = 5
# What reading an artifact of an unexpected shape raises.
_WRONG_SHAPE = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)


def render(run: Json) -> str:
    """Returns the report of a run as an HTML document."""
    found = collect(run)
    makers: list[tuple[str, Callable[[Json, Findings], Markup | None]]] = [
        ("What went wrong", _failure),
        ("Pipeline", _pipeline),
        ("Data", _data),
        ("Training", _training),
        ("Quality", _quality),
        ("Gate", _gate),
        ("Release", _release),
        ("Endpoint", _endpoint),
        ("Reproduce", _reproduce),
    ]
    sections = []
    for title, make in makers:
        content = _made(title, make, run, found)
        if content:
            sections.append({"id": slug(title), "title": title, "content": content})
    headline = _headline(run, found)
    return str(
        _fill("report.html.j2", run=run, headline=headline, sections=sections, style=style_sheet(), state=_state(run))
    )


def _made(title: str, make: Callable[[Json, Findings], Markup | None], run: Json, found: Findings) -> Markup | None:
    """Returns a section; a note in its place where an artifact has a shape of its own, which must not end a run."""
    try:
        return make(run, found)
    except _WRONG_SHAPE as error:
        logger.warning("the report's section %s is left out: %s: %s", title, type(error).__name__, error)
        return _fill("unreadable.html.j2", error=f"{type(error).__name__}: {error}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, duration=duration, interval=interval, short=_short)
    return environment


def _fill(name: str, **values: Any) -> Markup:
    return Markup(_environment().get_template(name).render(**values))  # noqa: S704  rendered with autoescape


def _short(digest: object) -> str:
    """Returns the first twelve digits of a digest."""
    return str(digest).removeprefix("sha256:")[:12]


def _state(run: Json) -> tuple[str, str, str]:
    return STATES.get(str(run.get("status")), ("idle", "?", str(run.get("status")).lower()))


def _headline(run: Json, found: Findings) -> Json:
    """Returns what the head of the page says: the released or best model, its rivals, how much ran."""
    tasks = run.get("tasks") or []
    leader = models.leader(found.candidates)
    return {
        "leader": leader,
        "auc": models.overall(leader).get("roc_auc") if leader else None,
        "rivals": models.rivals(found),
        "cached": sum(task.get("status") == "CACHED" for task in tasks),
        "tasks": len(tasks),
        "rows": found.statistics[0].content.get("rows") if found.statistics else None,
    }


def _failure(run: Json, _found: Findings) -> Markup | None:
    failed = [task for task in run.get("tasks") or [] if task.get("status") == "FAILED"]
    if not failed and not run.get("error"):
        return None
    entries = [{"task": task, "log": log_tail(task.get("log"))} for task in failed]
    shown = {(task.get("error") or {}).get("message") for task in failed}
    error = run.get("error") or {}
    return _fill("failure.html.j2", entries=entries, error=error if error.get("message") not in shown else None)


def _pipeline(run: Json, _found: Findings) -> Markup | None:
    tasks = run.get("tasks") or []
    if not tasks:
        return None
    rows = [{**task, "state": STATES.get(str(task.get("status")), ("idle", "?", "unknown"))} for task in tasks]
    for row in rows:
        row["family"], row["title"] = family(row.get("image")), row.get("display_name") or row["name"]
    total = sum(row.get("seconds") or 0 for row in rows)
    longest = max((row.get("seconds") or 0 for row in rows), default=0) or 1
    return _fill("pipeline.html.j2", graph=task_graph(tasks), rows=rows, longest=longest, total=total, run=run)


def _data(_run: Json, found: Findings) -> Markup | None:
    if not found.statistics and not found.anomalies:
        return None
    tables = [
        {"title": item.title, "rows": item.content.get("rows"), "columns": [*map(_column, item.content["columns"])]}
        for item in found.statistics
    ]
    anomalies = [
        {"title": item.title, "rows": item.content.get("rows"), "found": item.content.get("anomalies") or []}
        for item in found.anomalies
    ]
    return _fill("data.html.j2", tables=tables, anomalies=anomalies)


def _column(column: Json) -> Json:
    """Returns what a column's card shows; ``summary.json`` may leave any value out."""
    top = [(str(value.get("value")), value.get("count")) for value in column.get("top_values") or []]
    chart = None
    if column.get("histogram"):
        chart = histogram(column["histogram"])
    elif top:
        chart = bar_chart(top[:_BARS_OF_A_COLUMN])
    known = ("name", "type", "missing_fraction", "unique", "mean", "std", "min", "median", "max")
    return {**{key: column.get(key) for key in known}, "chart": chart}


def _training(_run: Json, found: Findings) -> Markup | None:
    trained = [candidate for candidate in found.candidates if candidate.model]
    if not trained:
        return None
    return _fill("training.html.j2", curves=models.curves(trained), facts=models.training_facts(trained))


def _quality(_run: Json, found: Findings) -> Markup | None:
    if not models.scores(found):
        return None
    return _fill("quality.html.j2", **models.quality(found))


def _gate(_run: Json, found: Findings) -> Markup | None:
    judged = [candidate for candidate in found.candidates if candidate.blessing]
    if not judged:
        return None
    return _fill("gate.html.j2", candidates=judged, titles=models.CHECK_TITLES)


def _release(run: Json, found: Findings) -> Markup | None:
    released = run.get("release")
    if not released:
        judged = any(candidate.blessing for candidate in found.candidates)
        return _fill("release.html.j2", release=None, manifest={}, candidate=None) if judged else None
    candidate = next((candidate for candidate in found.candidates if candidate.released), None)
    return _fill("release.html.j2", release=released, manifest=found.manifest, candidate=candidate)


def _endpoint(run: Json, found: Findings) -> Markup | None:
    endpoint = {**found.endpoint, **{key: value for key, value in (run.get("endpoint") or {}).items() if value}}
    if not endpoint.get("name"):
        return None
    name = shlex.quote(str(endpoint["name"]))
    commands = [
        ("list", "shipway endpoints"),
        ("stop", f"shipway endpoints stop {name}"),
        ("roll back", endpoint.get("undo") or f"shipway rollback {name}"),
    ]
    call = _call(endpoint.get("predict_url"), models.leader(found.candidates))
    return _fill("endpoint.html.j2", endpoint=endpoint, commands=commands, call=call)


def _call(predict_url: object, candidate: Candidate | None) -> Json | None:
    """Returns a ready ``curl`` command with the most complete golden row, and the answer to expect."""
    instances = (candidate.golden.get("instances") if candidate else None) or []
    if not predict_url or not instances or candidate is None:
        return None
    best = min(range(len(instances)), key=lambda i: (sum(value is None for value in instances[i].values()), i))
    body = json.dumps({"instances": [instances[best]]}, ensure_ascii=False)
    command = f"curl -s {shlex.quote(str(predict_url))} \\\n  -H 'Content-Type: application/json'"
    command += f" \\\n  -d {shlex.quote(body)}"
    labels, scores = candidate.golden.get("labels") or [], candidate.golden.get("scores") or []
    names = candidate.model.get("label_names") or []
    answer = list(zip(names, scores[best], strict=False)) if best < len(scores) else []
    return {"command": command, "label": labels[best] if best < len(labels) else None, "scores": answer}


def _reproduce(run: Json, found: Findings) -> Markup | None:
    digests = [*_flat(run.get("digests") or {}), *((f"model {c.title}", c.digest) for c in found.candidates)]
    parameters = sorted((run.get("parameters") or {}).items())
    if not digests and not parameters:
        return None
    values = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in parameters
    ]
    return _fill("reproduce.html.j2", digests=digests, parameters=values)


def _flat(values: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested digests as rows: ``code data``, ``locks pytorch`` and so on."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(values.items()):
        title = f"{prefix} {name}".strip()
        rows += _flat(value, title) if isinstance(value, dict) else [(title, str(value))] * (value is not None)
    return rows
