from __future__ import annotations

import pytest

from shipway.components.data.statistics.generation import generate_statistics


@pytest.fixture
def described(dataset, tmp_path):
    """Writes columns as a Dataset (``<name>-data``), describes it and returns the path of the statistics."""

    def run(columns, name="statistics"):
        generate_statistics(dataset(columns, f"{name}-data"), tmp_path / name)
        return tmp_path / name

    return run
