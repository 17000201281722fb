from __future__ import annotations

import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer

from shipway.components.data.preparation.preparation import prepare_data
from shipway.components.data.preparation.splitting import split_data
from shipway.components.data.tables import read_dataset, write_dataset

from ..conftest import SPLITS


@pytest.fixture
def prepare(tmp_path):
    """Prepares three tables (or split Datasets) and returns metadata, tables by split and the summary."""

    def run(parts, name="out", **parameters):
        inputs = {}
        for split, part in parts.items():
            inputs[split] = part
            if not hasattr(part, "joinpath"):
                inputs[split] = tmp_path / "in" / split
                write_dataset(part if isinstance(part, pa.Table) else pa.table(part), inputs[split])
        outputs = {split: tmp_path / name / split for split in SPLITS}
        metadata = prepare_data(inputs, outputs, tmp_path / "summary.md", **parameters)
        return metadata, {s: read_dataset(path) for s, path in outputs.items()}, (tmp_path / "summary.md").read_text()

    return run


@pytest.fixture
def split_penguins(penguins, tmp_path):
    outputs = {split: tmp_path / "split" / split for split in SPLITS}
    split_data(penguins, outputs, label="species")
    return outputs


@pytest.fixture
def split_cancer(dataset, tmp_path):
    data = load_breast_cancer()
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    outputs = {split: tmp_path / "split" / split for split in SPLITS}
    split_data(dataset({**columns, "benign": data.target}), outputs, label="benign")
    return outputs


def parts(train, rest=None):
    rest = rest or train
    return {"train": train, "validation": rest, "test": rest}


def columns(n=100, **more):
    return {
        "x": [i / 7 for i in range(n)],
        "s": ["ab"[i % 2] for i in range(n)],
        "y": [int(i % 4 == 0) for i in range(n)],
        **more,
    }
