import sys
from pathlib import Path

import pytest

# Importlib mode leaves the tests' directories out of the path; this one trains the models of both suites.
sys.path.append(str(Path(__file__).parents[1] / "engines"))

from trained_models import trained_models

from shipway.serving.tfserving.layout import create_layout


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two Models that answer differently."""
    return trained_models(tmp_path_factory.mktemp("trained"), 2)


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture(scope="session")
def layout(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("layout") / "models"
    create_layout(model, directory)
    return directory
