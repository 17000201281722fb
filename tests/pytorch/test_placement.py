"""A worker whose data and results are in a store."""

import dataclasses
import sys

from shipway.components.common import storage
from shipway.components.common.model import verify_files
from shipway.components.common.training.launching import launch


def test_workers_fetch_their_data_and_publish_the_model_once(trained, asked, tmp_path, framework, capfd):
    for split in ("train", "validation"):
        storage.upload(trained / split, f"file://{tmp_path}/store/{split}")
    code = tmp_path / "store" / "code.py"
    code.write_text(LINEAR[framework])
    places = {name: f"file://{tmp_path}/store/{name}" for name in ("train", "validation", "model")}
    request = dataclasses.replace(
        asked(trained, "unused", epochs=1, network="code:build", devices=2),
        **places,
        curves=f"file://{tmp_path}/store/curves.html",
        network_code=f"file://{code}",
    )
    launch(framework, sys.executable, request, 2)
    assert storage.verify(places["model"], deep=True)
    storage.download(places["model"] + "/", tmp_path / "model")
    (tmp_path / "model" / "MANIFEST.json").unlink()
    assert verify_files(tmp_path / "model").training["devices"] == 2
    assert (tmp_path / "store" / "curves.html").read_text().startswith("<!")
    capfd.readouterr()
    launch(framework, sys.executable, request, 2)
    assert "is published already" in capfd.readouterr().err


LINEAR = {
    "pytorch": """
from torch import nn
class Linear(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.last = nn.Linear(spec.numeric_width, spec.classes)
    def forward(self, numeric, categorical):
        return self.last(numeric)
build = Linear
""",
    "tensorflow": """
import keras
class Linear(keras.Model):
    def __init__(self, spec):
        super().__init__()
        self.last = keras.layers.Dense(spec.classes)
    def call(self, numeric, categorical, training=False):
        return self.last(numeric)
build = Linear
""",
}
