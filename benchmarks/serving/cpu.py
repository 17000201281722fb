"""What a request costs: every server with the same model, client and bodies, in turn."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence

from benchmarks.serving.contenders import BARE, BARE_GRPC, CONTENDERS, KSERVE, OURS
from benchmarks.serving.models import SMALL
from benchmarks.serving.questions import PROTOCOLS
from benchmarks.serving.sample import Sample
from benchmarks.serving.servers import Running, asked, started, wait_until_it_answers
from benchmarks.training.claims import Claim, claim, compared

__all__ = ["cpu_claims"]

_ROUNDS = 5
_SECONDS = 2.0
_ROWS = (1, 64)
_CELLS = [(protocol, rows) for protocol in PROTOCOLS for rows in _ROWS]
_TO_KSERVE = {("v2 JSON", 1): "at most 0.125", ("v1 JSON", 1): "at most 0.2", ("v2 binary", 64): "at most 0.1"}

_Cell = tuple[str, int]
_Samples = dict[_Cell, dict[str, list[Sample]]]


def cpu_claims(quick: bool) -> list[Claim]:
    """Measures every server in every cell and prints a table of each; returns the claims."""
    samples: _Samples = {cell: {} for cell in _CELLS}
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(started(contender, SMALL)) for contender in CONTENDERS]
        for server in running:
            wait_until_it_answers(server)
        able = {cell: [server for server in running if _answers_right(server, *cell)] for cell in _CELLS}
        for turn in range(1 if quick else _ROUNDS):
            for cell, servers in able.items():
                for server in servers:
                    sample = asked(server.job(*cell, seconds=_SECONDS / 2 if quick else _SECONDS))
                    samples[cell].setdefault(server.contender.name, []).append(sample)
            print(f"round {turn + 1} is done", flush=True)
    for cell, found in samples.items():
        print(_table(cell, found), flush=True)
    return [listed for cell, found in samples.items() for listed in _claims(cell, found)]


def _answers_right(server: Running, protocol: str, rows: int) -> bool:
    """Whether a server has the protocol and answers every question of the cell as the model does."""
    if protocol not in server.contender.protocols:
        return False
    failed = asked(server.job(protocol, rows, connections=1, requests=32)).failed
    for reason, times in failed.items():
        print(f"{server.contender.name}, {protocol}, batch {rows}: {times} of 32 requests failed: {reason}", flush=True)
    return not failed


def _claims(cell: _Cell, found: dict[str, list[Sample]]) -> list[Claim]:
    named = f"{cell[0]}, batch {cell[1]}"
    if OURS.name not in found:
        return [claim(f"{named}: cells that {OURS.name} does not answer right", "cells", 1, 0, "at most 0", {})]
    listed = []
    for name, samples in found.items():
        if name == OURS.name:
            continue
        goal = _goal(cell, name)
        ours = [sample.cpu_microseconds for sample in found[OURS.name]]
        theirs = [sample.cpu_microseconds for sample in samples]
        listed.append(compared(f"{named}: CPU time of a request to that of {name}", "µs", ours, theirs, goal))
        if name not in (BARE.name, BARE_GRPC.name):
            ours = [sample.requests_per_second for sample in found[OURS.name]]
            theirs = [sample.requests_per_second for sample in samples]
            text = f"{named}: requests per second to those of {name}"
            listed.append(compared(text, "requests/s", ours, theirs, "at least 1"))
    return listed


def _goal(cell: _Cell, name: str) -> str:
    if name == BARE.name:
        return "at most 1.5"
    if name == BARE_GRPC.name:
        return "at most 1.3"
    return _TO_KSERVE.get(cell, "at most 1") if name == KSERVE.name else "at most 1"


def _table(cell: _Cell, found: dict[str, list[Sample]]) -> str:
    lines = [
        f"\n| {cell[0]}, batch {cell[1]} | CPU µs/request (least to most) | requests/s | p50 ms | p99 ms | peak MiB"
        " | server busy | client busy |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, samples in sorted(found.items(), key=lambda item: _median(item[1], "cpu_microseconds")):
        cpu = [sample.cpu_microseconds for sample in samples]
        failed = sum(sum(sample.failed.values()) for sample in samples)
        busy = [statistics.median(s.cpu_seconds / s.seconds for s in samples) * 100]
        busy.append(statistics.median(s.client_cpu_seconds / s.seconds for s in samples) * 100)
        lines.append(
            f"| {name}{f' ({failed} failed)' if failed else ''} | {statistics.median(cpu):.0f}"
            f" ({min(cpu):.0f} to {max(cpu):.0f}) | {_median(samples, 'requests_per_second'):,.0f}"
            f" | {_median(samples, 'p50_milliseconds'):.2f} | {_median(samples, 'p99_milliseconds'):.2f}"
            f" | {max(sample.memory_mib for sample in samples):.0f} | {busy[0]:.0f} % | {busy[1]:.0f} % |"
        )
    return "\n".join(lines)


def _median(samples: Sequence[Sample], of: str) -> float:
    return statistics.median(getattr(sample, of) for sample in samples)
