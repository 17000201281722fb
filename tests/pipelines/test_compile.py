"""Compiled pipelines: complete, the same bytes every time, and what kfp's own loader takes."""

import subprocess
import sys

import pytest
import yaml
from kfp.components import load_component_from_text

from shipway import pipelines
from shipway.components.common.errors import InputError
from shipway.pipelines.compile import compile_pipeline, load_spec, pinned, write_pipeline
from shipway.pipelines.spec import tasks_of


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline("train_and_deploy")


@pytest.mark.parametrize("name", pipelines.__all__)
def test_kfp_loads_it_and_every_parameter_is_described(name):
    text = compile_pipeline(name)
    load_component_from_text(text)
    parameters = load_spec(text)["root"]["inputDefinitions"]["parameters"]
    undescribed = [name for name, definition in parameters.items() if not definition.get("description")]
    assert not undescribed


def test_two_processes_write_the_same_bytes(shipway, tmp_path):
    written = []
    for seed in ("1", "2"):
        done = shipway("compile", "--all", "-o", f"build-{seed}", env={"PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"build-{seed}").iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == sorted(f"{name}.yaml" for name in pipelines.__all__)


def test_images_are_pinned_by_digest(compiled):
    families = {task.family.name for task in tasks_of(load_spec(compiled))}
    digests = {family: f"sha256:{index:064x}" for index, family in enumerate(sorted(families))}
    spec = load_spec(pinned(compiled, "registry.example/team", digests))
    for task in tasks_of(spec):
        assert task.image == f"registry.example/team/shipway/{task.family.name}@{digests[task.family.name]}"
    with pytest.raises(InputError, match="no digest for the image shipway/data"):
        pinned(compiled, "", {name: digest for name, digest in digests.items() if name != "data"})


def test_an_unknown_pipeline_is_named_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no pipeline 'deploy'; there is train_and_deploy"):
        write_pipeline("deploy", tmp_path)


def test_tasks_come_after_those_they_need(compiled):
    seen = set()
    for task in tasks_of(load_spec(compiled)):
        assert set(task.depends_on) <= seen, task
        seen.add(task.name)
    assert {"train-pytorch", "train-tensorflow", "create-release", "smoke-test"} <= seen


def test_compiling_needs_no_heavy_library():
    code = (
        "import sys; from shipway.pipelines.compile import compile_pipeline; compile_pipeline('train_and_deploy');"
        "print([name for name in ('torch', 'tensorflow', 'pyarrow', 'duckdb', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout) == []
