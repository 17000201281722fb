import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import torch

import shipway.components
from shipway.components.common.artifacts import read_json
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import Encoders, feature_tensors


def test_onnx_and_both_native_exports_give_one_answer(trained):
    model = trained / "model"
    tensors = feature_tensors(pq.read_table(trained / "test"), read_model(model).kinds)
    encoders = Encoders.from_json(read_json(model / "encoders.json"))
    encoded = [torch.from_numpy(array) for array in encoders.encode(tensors)]
    (served,) = onnxruntime.InferenceSession(str(model / "model.onnx")).run(["scores"], tensors)
    with torch.no_grad():
        program = torch.export.load(model / "model.pt2").module()(*encoded)
        script = torch.jit.load(model / "model.ts.pt")(*encoded)
    assert np.isnan(tensors["size (mm)"]).any()
    assert {"", "green"} <= set(tensors["colour"])
    np.testing.assert_allclose(program.numpy(), served, atol=1e-5)
    np.testing.assert_allclose(script.numpy(), served, atol=1e-5)
    assert torch.jit.load(model / "model.ts.pt")(*(tensor[:1] for tensor in encoded)).shape == (1, 2)


def test_the_same_data_code_and_seed_give_the_same_bytes_wherever_the_code_lies(trained, train_afresh, tmp_path):
    copy = tmp_path / "elsewhere" / "shipway" / "components"
    shutil.copytree(shipway.components.__path__[0], copy)
    one = train_afresh(trained, "one", 1)
    other = train_afresh(trained, "other", 2, PYTHONPATH=os.pathsep.join([str(copy.parents[1]), *_search_path()]))
    assert one.files == other.files
    assert one.digest == other.digest != ""


def test_no_file_names_a_path_of_this_machine(trained):
    places = [
        str(Path(torch.__file__).parents[1]).encode(),
        shipway.components.__path__[0].encode(),
        str(trained).encode(),
    ]
    for file in (trained / "model").iterdir():
        content = file.read_bytes()
        assert not [place for place in places if str(place).encode() in content], file


def _search_path():
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
