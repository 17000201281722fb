"""Data and calls for the trainers' tests; the other family's folder links here, so that both pass the same ones."""

import importlib
import os
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.model import read_model
from shipway.components.common.training import Hyperparameters, TrainingRequest

FRAMEWORK = "pytorch" if find_spec("torch") else "tensorflow"
OPTIONS = {field.name for field in fields(TrainingRequest)} - {"hyperparameters"}


def flowers(rows, seed, classes=2, words=("red", "white", "blue", "")):
    """Rows whose class follows from numbers (some missing) and words (some missing)."""
    rng = np.random.default_rng(seed)
    size, depth = rng.normal(50, 10, rows), rng.normal(0, 1, rows)
    colour = rng.choice(words, rows)
    signal = (size - 50) / 10 + np.sin(2 * depth) + (colour == "red") * 1.5 + rng.normal(0, 0.5, rows)
    label = np.digitize(signal, [0.5] if classes == 2 else [-0.3, 1.0])
    size[rng.random(rows) < 0.1] = np.nan
    return pa.table(
        {
            "size (mm)": pa.array(size, from_pandas=True),
            "depth": depth,
            "petals": rng.integers(3, 9, rows),
            "wild": rng.random(rows) < 0.5,
            "colour": pa.array([word or None for word in colour]),
            "kind": [f"kind {value}" for value in label],
        }
    )


def write(table, path):
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path / "part-00000.parquet")
    return path


@pytest.fixture
def data(tmp_path):
    """Writes the splits; returns their directory."""

    def written(train, validation):
        write(train, tmp_path / "train")
        write(validation, tmp_path / "validation")
        return tmp_path

    return written


def asked(root, out="model", label="kind", **changes):
    """The request to train on ``root/train`` and ``root/validation``; changes are options or hyperparameters."""
    places = {name: str(root / name) for name in ("train", "validation")}
    options = {"tracking_uri": "none", "checkpoint_uri": str(root / "checkpoints" / out)}
    options |= {name: value for name, value in changes.items() if name in OPTIONS}
    settings = Hyperparameters.of({name: value for name, value in changes.items() if name not in OPTIONS})
    return TrainingRequest(
        **places,
        model=str(root / out),
        curves=str(root / f"{out}.html"),
        label=label,
        model_name="flowers",
        hyperparameters=settings,
        **options,
    )


def train(root, out="model", label="kind", on_epoch=None, **changes):
    """Trains as :func:`asked`; returns the Model directory."""
    module = importlib.import_module(f"shipway.components.{FRAMEWORK}.training")
    getattr(module, f"train_{FRAMEWORK}")(asked(root, out, label, **changes), on_epoch)
    return root / out


@pytest.fixture(name="train")
def _train():
    return train


@pytest.fixture(name="asked")
def _asked():
    return asked


@pytest.fixture(name="flowers")
def _flowers():
    return flowers


@pytest.fixture(scope="session")
def framework():
    return FRAMEWORK


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A directory with the splits and a trained ``model``; its test split has unseen words too."""
    root = tmp_path_factory.mktemp("trained")
    write(flowers(4000, 0), root / "train")
    write(flowers(1000, 1), root / "validation")
    write(flowers(500, 2, words=("red", "white", "", "green", "Färbe")), root / "test")
    train(root)
    return root


@pytest.fixture(scope="session")
def long_root(tmp_path_factory):
    """A directory with splits that take many small steps."""
    root = tmp_path_factory.mktemp("long")
    write(flowers(6000, 0), root / "train")
    write(flowers(800, 1), root / "validation")
    return root


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
conftest.train(Path(sys.argv[2]), sys.argv[3], epochs=2)
"""


@pytest.fixture(scope="session")
def train_afresh():
    """Trains in a new process, told a seed for hashes; returns what ``model.json`` says."""

    def trained(root, out, hash_seed, **variables):
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), **variables}
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(Path(__file__).parent), str(root), out]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return read_model(root / out)

    return trained
