"""The parameters in ``examples`` are those of the pipeline that they are for."""

from importlib import resources

import pytest
import yaml

from shipway.pipelines.compile import compile_pipeline, load_spec
from shipway.pipelines.spec import parse_parameters

EXAMPLES = sorted(file.name for file in resources.files("shipway.examples").iterdir() if file.name.endswith(".yaml"))


@pytest.fixture(scope="module")
def spec() -> dict:
    return load_spec(compile_pipeline("train_and_deploy"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pipeline_takes_them(spec, name):
    given = yaml.safe_load(resources.files("shipway.examples").joinpath(name).read_text(encoding="utf-8"))
    assert parse_parameters(spec, given).keys() >= given.keys()
