from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.storage import Options, effort
from shipway.components.data.ingestion import sources
from shipway.components.data.ingestion.ingestion import ingest_data
from shipway.components.data.ingestion.sources import resolve_data
from shipway.components.data.ingestion.transformation import transform_data
from shipway.components.data.tables import read_dataset, write_dataset

SPLITS = ("train", "validation", "test")


@contextlib.contextmanager
def web_server(directory: Path, *certificate: Path):
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(directory), *map(str, certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@pytest.fixture
def served(tmp_path):
    """A directory and the address that it is served at."""
    directory = tmp_path / "served"
    directory.mkdir()
    with web_server(directory) as address:
        yield directory, address


@pytest.fixture
def impatient(monkeypatch):
    """Stores that do not answer are given up after two seconds."""
    for module in (effort, sources):
        monkeypatch.setattr(module, "Options", functools.partial(Options, retry_seconds=2.0))


@pytest.fixture
def ingest(tmp_path):
    """Ingests what a path or URI names and returns metadata and tables by name."""

    def run(source, name="tables"):
        metadata = ingest_data(str(source), resolve_data(str(source)), tmp_path / name)
        return metadata, {folder.name: read_dataset(folder) for folder in (tmp_path / name).iterdir()}

    return run


@pytest.fixture
def csv(tmp_path):
    """Writes a file of raw bytes or text into a directory of its own."""

    def write(content, name="data.csv"):
        file = tmp_path / "raw" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


@pytest.fixture
def dataset(tmp_path):
    """Writes columns as a Dataset and returns its path."""

    def write(columns, name="dataset"):
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        write_dataset(table, tmp_path / name)
        return tmp_path / name

    return write


PENGUINS_SQL = "SELECT species, island, bill_length_mm, body_mass_g, sex, seen FROM penguins"


@pytest.fixture(scope="session")
def penguins(tmp_path_factory):
    """A Dataset of 300 made-up penguins: strings, numbers, missing values, three unequal species, a date."""
    root = tmp_path_factory.mktemp("penguins")
    generator = np.random.default_rng(7)
    lines = ["species,island,bill_length_mm,body_mass_g,sex,seen"]
    for index in range(300):
        species = ("Adelie", "Gentoo", "Chinstrap")[int(index % 10 > 4) + int(index % 10 > 7)]
        island = generator.choice(["Biscoe", "Dream", "Torgersen"])
        bill = "NA" if index % 40 == 3 else f"{generator.normal(38 + 5 * (species != 'Adelie'), 2):.1f}"
        mass = "NA" if index % 50 == 7 else str(int(generator.normal(3700 + 1300 * (species == "Gentoo"), 300)))
        sex = "" if index % 30 == 5 else generator.choice(["male", "female"])
        lines.append(f"{species},{island},{bill},{mass},{sex},2008-{index // 30 + 1:02d}-{index % 28 + 1:02d}")
    (root / "penguins.csv").write_text("\n".join(lines) + "\n")
    source = str(root / "penguins.csv")
    ingest_data(source, resolve_data(source), root / "tables")
    transform_data(root / "tables", root / "dataset", PENGUINS_SQL)
    return root / "dataset"
