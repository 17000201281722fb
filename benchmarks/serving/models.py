"""The models that are served, made once."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import BENCH
from benchmarks.serving.interpreters import family_python, variables

__all__ = ["SMALL", "SMALL_TOO", "WIDE", "ServedNetwork"]


@dataclass(frozen=True)
class ServedNetwork:
    """A network, as every server takes it.

    Attributes:
        name: In the URLs.
        width: Of its hidden layers.
        layers: How many of them.
        seed: Of its weights.
    """

    name: str
    width: int
    layers: int
    seed: int = 6

    @property
    def model(self) -> Path:
        """The Model directory, made now if it is not there."""
        return self._directory / "model"

    @property
    def onnx(self) -> Path:
        """The file for those who run ONNX."""
        return self.model / "model.onnx"

    @property
    def torchscript(self) -> Path:
        """The same weights as TorchScript."""
        return self._directory / "network.pt"

    @property
    def _directory(self) -> Path:
        directory = BENCH.absolute() / "serving-models" / f"{self.name}-{self.width}x{self.layers}-{self.seed}"
        if not directory.is_dir():
            directory.parent.mkdir(parents=True, exist_ok=True)
            command = [family_python("pytorch"), "-m", "benchmarks.serving.model_case", str(directory)]
            numbers = [str(self.width), str(self.layers), str(self.seed)]
            subprocess.run([*command, *numbers], check=True, env=variables())
        return directory


SMALL = ServedNetwork("small", 64, 1)
SMALL_TOO = ServedNetwork("small", 64, 1, seed=7)
"""Takes what the other small one takes, and answers something else."""
WIDE = ServedNetwork("wide", 2048, 3)
