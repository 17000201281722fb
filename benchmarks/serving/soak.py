"""Minutes of mixed load at saturation, while releases are swapped and an arm behind the router is killed.

Every answer is looked at. What a server cannot take at the moment it may refuse (429, 503).
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from benchmarks.environments import BENCH
from benchmarks.serving.load import Job
from benchmarks.serving.malformed import MALFORMED
from benchmarks.serving.models import SMALL_TOO
from benchmarks.serving.picture import line_picture
from benchmarks.serving.questions import PROTOCOLS
from benchmarks.serving.sample import memory_of
from benchmarks.serving.servers import Running, asked
from benchmarks.serving.soak_servers import KilledArm, routed, surviving_arm, swapped_server
from benchmarks.training.claims import Claim, claim

__all__ = ["soak_claims"]

_SLICE_SECONDS = 10.0
_SWAP_SECONDS = 2.0
_KILL_SECONDS = 15.0
_SAMPLE_SECONDS = 2.0
_CONNECTIONS = 8
_BACK_PRESSURE = ("429:", "503:", "RESOURCE_EXHAUSTED:")
_SERVER_ERRORS = ("5", "INTERNAL:", "UNKNOWN:")

_Memory = dict[str, list[tuple[float, float]]]


@dataclasses.dataclass
class _Tally:
    """What one kind of load came to: right answers, and what was said instead."""

    right: int = 0
    failed: Counter[str] = dataclasses.field(default_factory=Counter)

    def count(self, *beginnings: str) -> int:
        return sum(times for reason, times in self.failed.items() if reason.startswith(beginnings))


def soak_claims(minutes: float) -> list[Claim]:
    """Loads for so many minutes and prints tables; returns the claims, and draws ``build/bench/serving-soak.svg``."""
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    memory: _Memory = defaultdict(list)
    done: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        server, surviving = stack.enter_context(swapped_server()), stack.enter_context(surviving_arm())
        killed = stack.enter_context(KilledArm())
        port = stack.enter_context(routed(surviving, killed.running))
        jobs = {f"direct, {protocol}": _job(server.running, protocol) for protocol in (*PROTOCOLS, MALFORMED)}
        for protocol in PROTOCOLS[:3]:
            jobs[f"routed, {protocol}"] = dataclasses.replace(_job(surviving, protocol), port=port)
        until = time.monotonic() + minutes * 60
        actions: list[tuple[float, str, Callable[[], None]]] = [
            (0.0, name, lambda job=job, tally=tallies[name]: _load(job, tally)) for name, job in jobs.items()
        ]
        actions.append((_SWAP_SECONDS, "releases swapped", server.swap))
        actions.append((_KILL_SECONDS, "arms killed", killed.kill))
        watched = {"swapped server": server.running, "surviving arm": surviving}
        actions.append((_SAMPLE_SECONDS, "memory read", lambda: _watch(watched, memory, until - minutes * 60)))
        failures: list[BaseException] = []
        threads = [threading.Thread(target=_repeat, args=(*action, until, done, failures)) for action in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    print(_tables(tallies, done), flush=True)
    (BENCH / "serving-soak.svg").write_text(line_picture(memory, "minutes", "MiB"))
    return _claims(tallies, memory)


def _job(running: Running, protocol: str) -> Job:
    return dataclasses.replace(running.job(protocol, 1, _CONNECTIONS, _SLICE_SECONDS), other=str(SMALL_TOO.model))


def _repeat(
    pause: float,
    name: str,
    action: Callable[[], None],
    until: float,
    done: Counter[str],
    failures: list[BaseException],
) -> None:
    try:
        while time.monotonic() + pause < until:
            time.sleep(pause)
            action()
            done[name] += 1
    except BaseException as error:  # noqa: BLE001 - told when all have ended
        failures.append(error)


def _load(job: Job, tally: _Tally) -> None:
    sample = asked(job)
    tally.right += sample.requests
    tally.failed.update(sample.failed)


def _watch(watched: Mapping[str, Running], memory: _Memory, started: float) -> None:
    for name, running in watched.items():
        memory[name].append(((time.monotonic() - started) / 60, memory_of(running.process.pid).anonymous))


def _claims(tallies: Mapping[str, _Tally], memory: _Memory) -> list[Claim]:
    said = {name: {"right": tally.right, **tally.failed} for name, tally in tallies.items()}
    every = tallies.values()
    errors = sum(tally.count(*_SERVER_ERRORS) - tally.count("503:") for tally in every)
    routed_tallies = [tally for name, tally in tallies.items() if name.startswith("routed")]
    failed = [sum(tally.failed.values()) for tally in tallies.values()]
    listed = [
        claim("soak: wrong answers", "requests", sum(t.count("wrong:") for t in every), 0, "at most 0", said),
        claim("soak: 5xx other than 503", "requests", errors, 0, "at most 0", said),
        claim("soak: requests without success but for back-pressure", "requests",
              sum(failed) - sum(t.count(*_BACK_PRESSURE) for t in every), 0, "at most 0", said),
        claim("soak: requests refused by back-pressure", "requests", sum(t.count(*_BACK_PRESSURE) for t in every), 0,
              "", said),
        claim("soak: failed requests through the router", "requests",
              sum(sum(t.failed.values()) for t in routed_tallies), 0, "at most 0", said),
    ]  # fmt: skip
    for name, points in memory.items():
        part = max(1, len(points) // 5)
        sizes = [size for _, size in points]
        # The first fifth is the warm-up.
        second, last = statistics.median(sizes[part : 2 * part] or sizes), statistics.median(sizes[-part:])
        text = f"soak: {name}: MiB (without files) in the last fifth of the time to those in the second"
        listed.append(claim(text, "MiB", last, second, "at most 1.05", {"minutes and MiB": points}))
    return listed


def _tables(tallies: Mapping[str, _Tally], done: Counter[str]) -> str:
    lines = ["\n| load | as wanted | not | what was said instead |", "|---|--:|--:|---|"]
    for name, tally in tallies.items():
        said = "; ".join(f"{times} x {reason[:120]}" for reason, times in tally.failed.most_common(3))
        lines.append(f"| {name} | {tally.right:,} | {sum(tally.failed.values()):,} | {said} |")
    lines.append("\n" + ", ".join(f"{name}: {done[name]}" for name in ("releases swapped", "arms killed")))
    return "\n".join(lines)
