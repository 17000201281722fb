"""Every component: what its documentation, its signature and its compiled form promise each other."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from kfp.compiler import Compiler

from shipway import components

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("name", components.__all__)
def test_the_documentation_names_exactly_the_parameters(name: str):
    function = getattr(components, name).python_func
    documentation = inspect.getdoc(function) or ""
    assert re.match(r"\w.*[^.]\.\n", documentation + "\n"), f"{name}: one line that says what it does"
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", documentation, re.MULTILINE | re.DOTALL)
    assert section, f"{name} documents no arguments"
    documented = re.findall(r"^    (\w+)(?: \([^)]*\))?:", section[1], re.MULTILINE)
    assert documented == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", components.__all__)
def test_a_component_runs_in_its_familys_image_and_installs_nothing(name: str, tmp_path: Path):
    component = getattr(components, name)
    Compiler().compile(component, str(tmp_path / "component.yaml"))
    text = (tmp_path / "component.yaml").read_text()
    (executor,) = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()
    family = component.python_func.__module__.split(".")[2]
    assert executor["container"]["image"] == f"shipway/{family}:{VERSION}"
    assert "pip install" not in text
    assert "with step()" in executor["container"]["command"][-1], "its errors must become exit codes"
    assert len(text) < 28_000


def test_the_public_names_are_exactly_the_components():
    for family in ("data", "features", "lifecycle", "pytorch", "tensorflow"):
        module = __import__(f"shipway.components.{family}.components", fromlist=["components"])
        defined = [name for name, value in vars(module).items() if hasattr(value, "component_spec")]
        assert sorted(defined) == sorted(name for name in components.__all__ if components._FAMILY_OF[name] == family)
    with pytest.raises(AttributeError, match="no component 'train_jax'"):
        components.train_jax  # noqa: B018
