"""What a training loses that is killed or stopped and run again: time, and nothing else."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.training.claims import Claim, claim
from benchmarks.training.processes import FRAMEWORKS, request, run, start

__all__ = ["resume_claims"]

_INTERVAL_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
# One of three is a SIGTERM, which saves; the others are kills.
_STOPPED_EVERY = 3


def resume_claims(place: Path, quick: bool) -> list[Claim]:
    """Trains once in peace and once with interruptions; returns the claims."""
    listed = []
    for framework in FRAMEWORKS:
        whole, broken = (_Training(framework, place / "resume" / f"{framework}-{way}", quick) for way in ("a", "b"))
        whole.end()
        broken.interrupt(3 if quick else 6, whole.seconds)
        broken.end()
        losses = broken.losses()
        text = f"{framework}: the largest loss of {len(losses)} interruptions, in checkpoint intervals of 2 s"
        samples = {"ours": [round(loss, 3) for loss in losses], "signals": broken.signals}
        listed.append(claim(text, "s", max(losses, default=0.0), _INTERVAL_SECONDS, "at most 1", samples))
        if framework == "pytorch":
            files, others = broken.files(), whole.files()
            differing = [name for name in others if files.get(name) != others[name]]
            text = f"{framework}: weights of an interrupted training: files that differ from those of another one's"
            listed.append(
                claim(text, "files", len(differing), 0, "at most 0", {"found": differing, "compared": list(others)})
            )
        text = f"{framework}: metrics of an interrupted training: the largest difference to another one's, in 1e-6"
        difference = max(abs(a - b) for a, b in zip(whole.metrics(), broken.metrics(), strict=True))
        listed.append(claim(text, "", difference, 1e-6, "at most 1", {"ours": [difference]}))
    return listed


class _Training:
    def __init__(self, framework: str, place: Path, quick: bool) -> None:
        self.framework, self.place = framework, place
        self.signals: list[str] = []
        self._runs: list[list[tuple[int, float]]] = []
        self._asked = request(
            place,
            "small",
            hyperparameters={"epochs": 2 if quick else 3, "hidden_units": [1024]},
            checkpoint_interval_seconds=_INTERVAL_SECONDS,
        )

    @property
    def seconds(self) -> float:
        """From the first step to the last, where nothing interrupts."""
        steps = self._runs[0]
        return steps[-1][1] - steps[0][1]

    def end(self) -> None:
        """Trains what is left to train."""
        if not (self.place / "model").exists():
            run(f"{self.framework} resume", *self._command(), self._steps_file)
            self._runs.append(self._steps())

    def interrupt(self, times: int, seconds: float) -> None:
        """Trains and is interrupted at random moments, most of them within so many seconds of steps."""
        moments = random.Random(0)  # noqa: S311
        while len(self.signals) < times:
            process = start(f"{self.framework} resume", *self._command(), self._steps_file)
            while process.poll() is None and not self._steps():
                time.sleep(_PAUSE_SECONDS)
            time.sleep(moments.uniform(0, 1.6 * seconds / (times + 1)))
            stopped = len(self.signals) % _STOPPED_EVERY == _STOPPED_EVERY - 1
            chosen = signal.SIGTERM if stopped else signal.SIGKILL
            process.send_signal(chosen)
            code = process.wait()
            if code and not self._steps():
                raise RuntimeError(f"{self.framework} did not get to a step; see the log {self.framework}-resume")
            self._runs.append(self._steps())
            if not code:
                return
            self.signals.append(chosen.name)

    def losses(self) -> list[float]:
        """Returns for each interruption how many seconds of work were done again."""
        return [_lost(*runs) for runs in itertools.pairwise(self._runs)]

    def files(self) -> dict[str, str]:
        """Returns the digests of the model's files of weights."""
        found = (path for path in (self.place / "model").rglob("*") if path.suffix in (".onnx", ".pt", ".pt2"))
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def metrics(self) -> list[float]:
        """Returns the metrics of all epochs."""
        history: list[dict[str, Any]] = json.loads((self.place / "model" / "model.json").read_text())["history"]
        return [float(value) for epoch in history for value in epoch.values()]

    @property
    def _steps_file(self) -> Path:
        return self.place / f"steps-{len(self._runs)}"

    def _command(self) -> tuple[str, str, str, Path]:
        return self.framework, "whole_case", self.framework, self._asked

    def _steps(self) -> list[tuple[int, float]]:
        text = self._steps_file.read_text() if self._steps_file.exists() else ""
        lines = [line.split() for line in text.splitlines()]
        return [(int(number), float(moment)) for number, moment in lines]


def _lost(killed: list[tuple[int, float]], following: list[tuple[int, float]]) -> float:
    """Returns the seconds from what was kept to the last step done; a run that has no steps left to do lost none."""
    last, end = killed[-1]
    kept = following[0][0] if following else last
    return 0.0 if kept >= last else end - dict(killed).get(kept, killed[0][1])
