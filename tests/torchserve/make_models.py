"""Trains the tests' models; run with the PyTorch environment's python: ``make_models.py DIRECTORY``.

``flowers`` has numbers, strings and lists, some missing, and three classes; ``images`` has one feature of 16 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.training import Hyperparameters, TrainingRequest
from shipway.components.pytorch.training import train_pytorch


def flowers(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    size, depth, petals = rng.normal(50, 10, rows), rng.normal(0, 1, rows), rng.random((rows, 4))
    colour = rng.choice(["red", "white", "blue", ""], rows)
    signal = (size - 50) / 10 + np.sin(2 * depth) + (colour == "red") * 1.5 + petals[:, 0]
    size[rng.random(rows) < 0.1] = np.nan
    return pa.table(
        {
            "size (mm)": pa.array(size, from_pandas=True),
            "depth": depth,
            "colour": pa.array([word or None for word in colour]),
            "petals": pa.array(list(petals)),
            "kind": [f"kind {value}" for value in np.digitize(signal, [0.0, 1.2])],
        }
    )


def images(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    pixels = rng.random((rows, 16))
    kind = np.where(pixels[:, :8].sum(axis=1) > pixels[:, 8:].sum(axis=1), "top", "bottom")
    return pa.table({"pixels": pa.array(list(pixels)), "kind": kind})


def train(root: Path, table, **hyperparameters) -> None:
    for split, rows, seed in (("train", 600, 0), ("validation", 200, 1)):
        (root / split).mkdir(parents=True)
        pq.write_table(table(rows, seed), root / split / "part-00000.parquet")
    train_pytorch(
        TrainingRequest(
            train=str(root / "train"),
            validation=str(root / "validation"),
            model=str(root / "model"),
            curves=str(root / "curves.html"),
            label="kind",
            model_name=root.name,
            tracking_uri="none",
            checkpoint_uri=str(root / "checkpoints"),
            hyperparameters=Hyperparameters.of({"epochs": 1, **hyperparameters}),
            network="cnn" if table is images else "mlp",
        ),
        None,
    )


if __name__ == "__main__":
    train(Path(sys.argv[1]) / "flowers", flowers, hidden_units=[16])
    train(Path(sys.argv[1]) / "images", images, image_shape=[4, 4, 1])
