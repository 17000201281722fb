"""A handler for TorchServe: TorchScript behind KServe's v1 bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["Handler"]

LABELS = ("cat", "dog", "fox")


class Handler:
    """Answers the requests that TorchServe hands over together in one forward pass."""

    def initialize(self, context: Any) -> None:
        """Loads the model."""
        torch.set_num_threads(1)
        self._network = torch.jit.load(str(Path(context.system_properties["model_dir"]) / "network.pt"))

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:  # noqa: ARG002
        """Scores requests, whose JSON TorchServe has parsed."""
        requests = [[row["x"] for row in part["body"]["instances"]] for part in data]
        with torch.inference_mode():
            scores = self._network(torch.tensor([row for rows in requests for row in rows]))
        winners = scores.argmax(1).tolist()
        predictions = [
            {"label": LABELS[winner], "scores": dict(zip(LABELS, row, strict=True))}
            for winner, row in zip(winners, scores.tolist(), strict=True)
        ]
        answers, start = [], 0
        for rows in requests:
            answers.append({"predictions": predictions[start : start + len(rows)]})
            start += len(rows)
        return answers
