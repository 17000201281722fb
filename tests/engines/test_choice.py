"""The choice of an engine, in every environment: what is there is measured, what is not is told."""

import logging
import re
import shutil
import subprocess
import sys

import pytest
from engines_support import FILES, NATIVE, rows

from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.model import read_model
from shipway.serving.engines.choice import ENGINES, load_engine

ABSENT = [name for name in FILES if name not in ("onnxruntime", *NATIVE)]


def test_auto_measures_what_there_is_and_says_so(model, caplog):
    caplog.set_level(logging.INFO)
    assert load_engine(model).description == read_model(model)
    said = " ".join(record.getMessage() for record in caplog.records)
    measured = re.findall(r"(\w+) \d+ µs for 1 row and \d+ µs for 256", said)
    assert measured == (["onnxruntime", *NATIVE] if NATIVE else [])  # nothing is measured that has no rival
    assert ("the fastest that answers right" in said) == bool(NATIVE)


def test_onnx_runtime_brings_in_no_other_library(model):
    code = (
        "import sys, pathlib; from shipway.serving.engines.choice import load_engine;"
        " load_engine(pathlib.Path(sys.argv[1]), 'onnxruntime');"
        " print({'torch', 'tensorflow', 'onnx', 'pyarrow'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code, str(model)], check=True, capture_output=True, text=True)
    assert run.stdout == "set()\n"


def test_nothing_that_answers_right(trained, changed):
    def edit(model):
        shutil.copy(trained[1] / "golden.json", model)

    with pytest.raises(DeploymentError, match="does not answer its golden requests"):
        load_engine(changed(edit))


@pytest.mark.parametrize("name", ABSENT)
def test_a_file_that_is_not_there(model, name):
    with pytest.raises(InputError, match=f"the engine {name} needs {FILES[name]}, which the model at .* does not hold"):
        load_engine(model, name)


@pytest.mark.parametrize("name", ABSENT)
def test_a_library_that_is_not_there(changed, name):
    held = changed(lambda model: (model / FILES[name]).write_bytes(b"a file"))
    library = "tensorflow" if name == "tensorflow" else "torch"
    with pytest.raises(InputError, match=f"the engine {name} needs {library}, which this environment lacks"):
        load_engine(held, name)
    assert load_engine(held, "auto").run(rows(read_model(held), 3))[0].shape == (3, 2)


def test_a_changed_file_is_never_loaded(model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    for name in ENGINES:
        with pytest.raises(InputError, match=r"model\.onnx has changed"):
            load_engine(copy, name)


@pytest.mark.parametrize("name", ["onnxruntime", *NATIVE])
def test_devices(model, name):
    with pytest.raises(InputError, match=r"the device cuda was asked for, but this \w.* sees no GPU"):
        load_engine(model, name, device="cuda")
    with pytest.raises(InputError, match="there is no device 'tpu'"):
        load_engine(model, name, device="tpu")
    assert load_engine(model, name, device="cpu").description == read_model(model)


def test_an_engine_that_there_is_not(model):
    with pytest.raises(InputError, match="there is no engine 'jax'; it can be auto, onnxruntime, torch"):
        load_engine(model, "jax")
