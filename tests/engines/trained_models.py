"""Models of a family's own trainer, in that family's environment."""

import importlib.util
from importlib.util import find_spec
from pathlib import Path

FRAMEWORK = "pytorch" if find_spec("torch") else "tensorflow" if find_spec("tensorflow") else ""
"""The framework whose environment this is; empty where it is none's."""


def trained_models(root: Path, count: int) -> list[Path]:
    """Trains so many small Models on the same data, which answer differently."""
    conftest = Path(__file__).parents[1] / FRAMEWORK / "conftest.py"
    spec = importlib.util.spec_from_file_location("trainers", conftest)
    trainers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trainers)
    trainers.write(trainers.flowers(600, 0), root / "train")
    trainers.write(trainers.flowers(200, 1), root / "validation")
    return [trainers.train(root, f"model_{seed}", epochs=2, seed=seed) for seed in range(count)]
