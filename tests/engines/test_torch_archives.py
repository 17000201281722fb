"""A ``.pt2`` file can bring code; none of it is run."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch

from shipway.components.common.errors import InputError
from shipway.serving.engines.choice import load_engine


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_an_archive_pickles_is_never_run(changed, tmp_path):
    harm = tmp_path / "harm"
    edited = changed(lambda model: pickled(model / "model.pt2", Evil(harm)))
    with pytest.raises(InputError, match=r"cannot load .*Weights only load failed"):
        load_engine(edited, "torch")
    assert not harm.exists()


def test_compiled_code_in_an_archive_is_never_run(changed):
    def edit(model):
        with zipfile.ZipFile(model / "model.pt2", "a") as archive:
            archive.writestr("model/data/aotinductor/model/code.so", b"")

    with pytest.raises(InputError, match="it brings compiled code, which is not run"):
        load_engine(changed(edit), "torch")


def pickled(path, content):
    """Puts a pickle in the place of the first weight, and has the archive say so."""
    config_name = "model/data/weights/model_weights_config.json"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries[config_name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    entries[config_name] = json.dumps(config).encode()
    weight = io.BytesIO()
    torch.save(content, weight)
    entries[f"model/data/weights/{first['path_name']}"] = weight.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
