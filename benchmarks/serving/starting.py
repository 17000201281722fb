"""How long a server takes until it answers, and what memory it holds after a thousand requests."""

from __future__ import annotations

import statistics
import urllib.request

from benchmarks.serving.contenders import FASTAPI, KSERVE, MLSERVER, OURS, OURS_REST, TORCHSERVE
from benchmarks.serving.models import SMALL
from benchmarks.serving.sample import memory_of
from benchmarks.serving.servers import Contender, Running, asked, started, wait_for, wait_until_it_answers
from benchmarks.training.claims import Claim, claim

__all__ = ["start_claims"]

_ROUNDS = 5
_REQUESTS = 1000
_SERVERS = (OURS_REST, OURS, KSERVE, MLSERVER, FASTAPI, TORCHSERVE[0])


def start_claims(quick: bool) -> list[Claim]:
    """Starts every server some times and prints a table; returns the claims."""
    samples: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in _SERVERS}
    for contender in _SERVERS:
        _start(contender)  # fills the system's cache of files
    for _ in range(1 if quick else _ROUNDS):
        for contender in _SERVERS:
            samples[contender.name].append(_start(contender))
    print(f"\n| server | ready s | first answer s | after {_REQUESTS:,} requests: resident MiB | proportional MiB |")
    print("|---|--:|--:|--:|--:|")
    for name, runs in samples.items():
        medians = {what: statistics.median(run[what] for run in runs) for what in runs[0]}
        ready = f"{medians['ready']:.2f}" if "ready" in medians else ""
        print(f"| {name} | {ready} | {medians['answer']:.2f} | {medians['rss']:.0f} | {medians['pss']:.0f} |")
    goals = {
        "ready": ("seconds from the process's start until it is ready", "s", "at most 2"),
        "answer": ("seconds from the process's start to the first answer", "s", ""),
        "rss": ("resident MiB after 1,000 requests", "MiB", "at most 120"),
        "pss": ("proportional MiB after 1,000 requests", "MiB", "at most 120"),
    }
    return [
        claim(f"{name}: {text}", unit, statistics.median(run[what] for run in samples[name]), 0, goal,
              {other: [run[what] for run in runs if what in run] for other, runs in samples.items()})
        for name in (OURS_REST.name, OURS.name)
        for what, (text, unit, goal) in goals.items()
    ]  # fmt: skip


def _start(contender: Contender) -> dict[str, float]:
    """Starts a server alone; returns what took how long, and its memory."""
    found = {}
    with started(contender, SMALL) as server:
        if "v2 JSON" in contender.protocols:
            found["ready"] = wait_for(server, lambda: _is_ready(server))
        found["answer"] = wait_until_it_answers(server)
        asked(server.job(contender.protocols[0], 1, requests=_REQUESTS))
        memory = memory_of(server.process.pid)
    return found | {"rss": memory.resident, "pss": memory.proportional}


def _is_ready(server: Running) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.rest}/v2/health/ready", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
