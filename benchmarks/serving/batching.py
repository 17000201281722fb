"""What dynamic batching gains where a batch costs little more than a row, and that it loses nothing elsewhere."""

from __future__ import annotations

import contextlib
import statistics

from benchmarks.serving.contenders import OURS_REST, ours
from benchmarks.serving.models import SMALL, WIDE
from benchmarks.serving.servers import asked, started, wait_until_it_answers
from benchmarks.training.claims import Claim, compared

__all__ = ["batching_claims"]

_ROUNDS = 5
_CONNECTIONS = (16, 32, 64)
_PROTOCOL = "v2 binary"
_ALONE = ours("shipway, one by one", "--max-batch-rows=1", protocols=OURS_REST.protocols)
_GOALS = {WIDE: "at least 4", SMALL: "at least 1"}


def batching_claims(quick: bool) -> list[Claim]:
    """Measures with batches and without, and prints a table; returns the claims."""
    listed = []
    print("\n| model | connections | requests/s with batches | without | times | p99 ms with | without |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for network, goal in _GOALS.items():
        with contextlib.ExitStack() as stack:
            both = [stack.enter_context(started(contender, network)) for contender in (OURS_REST, _ALONE)]
            for server in both:
                wait_until_it_answers(server)
            for connections in _CONNECTIONS:
                samples = [
                    [asked(server.job(_PROTOCOL, 1, connections, 1.0 if quick else 2.0)) for server in both]
                    for _ in range(1 if quick else _ROUNDS)
                ]
                rates = [[sample.requests_per_second for sample in turn] for turn in zip(*samples, strict=True)]
                slow = [statistics.median(s.p99_milliseconds for s in turn) for turn in zip(*samples, strict=True)]
                text = f"{network.name} model, {connections} connections: requests per second with batches to without"
                listed.append(compared(text, "requests/s", *rates, goal))
                medians = [statistics.median(rate) for rate in rates]
                print(
                    f"| {network.name} | {connections} | {medians[0]:,.0f} | {medians[1]:,.0f}"
                    f" | {medians[0] / medians[1]:.2f} | {slow[0]:.1f} | {slow[1]:.1f} |",
                    flush=True,
                )
    return listed
