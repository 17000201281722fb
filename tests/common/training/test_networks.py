"""Networks: how the user's own is found, and whose fault an error in it is."""

import sys

import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training import Hyperparameters, NetworkSpec, find_builder, users_code
from shipway.components.common.training.blame import memory_for, memory_for_network
from shipway.components.common.training.networks import network_digest

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


def test_a_network_is_another_one_when_its_code_or_a_file_beside_it_changes(tmp_path):
    code, table = tmp_path / "own.py", tmp_path / "words" / "table.csv"
    table.parent.mkdir()
    code.write_text("build = None\n")
    table.write_text("1,2\n")
    digests = [network_digest("own:build", str(tmp_path))]
    (tmp_path / "own.cpython-312.pyc").write_bytes(b"compiled")
    assert network_digest("own:build", str(tmp_path)) == digests[0]
    table.write_text("1,3\n")
    digests.append(network_digest("own:build", str(tmp_path)))
    code.write_text("build = 1\n")
    digests.append(network_digest("own:build", str(tmp_path)))
    digests.append(network_digest("own:other", str(tmp_path)))
    assert len(set(digests)) == 4


def test_a_network_that_ends_the_process_is_told_like_any_error(tmp_path):
    (tmp_path / "leaving.py").write_text("import sys\ndef build(spec):\n    sys.exit('no licence')\n")
    with pytest.raises(InputError, match=r"leaving:build .* failed with SystemExit: no licence .*leaving.py:3"):
        find_builder("leaving:build", str(tmp_path), {})(SPEC)


class ResourceExhaustedError(Exception):
    """What TensorFlow's own looks like, colours and the operation's name with it."""


TENSORFLOW_SAYS = ResourceExhaustedError(
    "Exception encountered when calling Dense.call().\n\n\x1b[1m{{function_node a}} OOM when allocating tensor\x1b[0m"
)


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        ("mlp", MemoryError("no room"), r"too much memory \(no room\): take fewer or narrower hidden_units"),
        ("own:build", TENSORFLOW_SAYS, r"too much memory \(OOM when allocating tensor\): build a smaller one"),
    ],
)
def test_a_network_that_does_not_fit_into_memory_is_no_matter_of_the_batch_size(network, error, message):
    with pytest.raises(InputError, match=message), memory_for_network(network):
        raise error


def test_memory_that_runs_out_names_half_the_batch():
    with (
        pytest.raises(InputError, match=r"batches of 64 rows: try batch_size=32.*\(OOM when allocating"),
        memory_for(64),
    ):
        raise TENSORFLOW_SAYS
    with pytest.raises(ValueError, match="another"), memory_for(64):
        raise ValueError("another")
