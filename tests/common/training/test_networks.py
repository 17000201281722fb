"""Networks: how the user's own is found, and whose fault an error in it is."""

import sys

import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training import Hyperparameters, NetworkSpec, find_builder, users_code

SPEC = NetworkSpec(Encoders((), (), ()), ("no", "yes"), Hyperparameters())


def test_a_builder_may_import_from_its_directory_when_it_is_called(tmp_path):
    (tmp_path / "late_network.py").write_text("def build(spec):\n    from late_helper import width\n    return width\n")
    (tmp_path / "late_helper.py").write_text("width = 3\n")
    path = list(sys.path)
    assert find_builder("late_network:build", str(tmp_path), {})(SPEC) == 3
    assert sys.path == path


def test_an_error_in_an_installed_network_is_its_authors_too(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "installed_network"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def build(spec):\n    return lambda: [][1]\n")
    monkeypatch.syspath_prepend(package.parent)
    network = find_builder("installed_network:build", "", {})(SPEC)
    with (
        pytest.raises(InputError, match=r"a training step failed with IndexError.*installed_network/__init__.py:2"),
        users_code("a training step", wholly=False),
    ):
        network()


def test_a_built_in_network_refuses_hyperparameters_that_it_does_not_know():
    builtin = {"mlp": lambda spec: spec.classes}
    assert find_builder("mlp", "", builtin)(SPEC) == 2
    mistyped = NetworkSpec(SPEC.encoders, SPEC.label_names, Hyperparameters.of({"droput": 0.5}))
    with pytest.raises(InputError, match=r"the network mlp has no hyperparameter droput; there are .*dropout"):
        find_builder("mlp", "", builtin)(mistyped)
