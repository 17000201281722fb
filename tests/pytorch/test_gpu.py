"""What only a machine with a GPU can prove, for both trainers; the other family's folder links here."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import feature_tensors, label_strings
from shipway.components.common.training import roc_auc
from shipway.components.common.training.accelerators import visible_gpus

pytestmark = pytest.mark.gpu

# Products of matrices keep 10 bits of fp32's 23 in TF32 and fp16, 7 in bf16.
TOLERANCE = 0.02

BEFORE = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from shipway.components.common.artifacts import read_json
from shipway.components.common.model import read_model
from shipway.components.common.preprocessing import Encoders, feature_tensors
model = Path(sys.argv[1])
tensors = feature_tensors(pq.read_table(sys.argv[2]), read_model(model).kinds)
"""
AFTER = """
print(json.dumps(scores.numpy().tolist()))
"""
WITHOUT_A_GPU = {
    "pytorch": """
encoders = Encoders.from_json(read_json(model / "encoders.json"))
import torch
assert not torch.cuda.is_available()
encoded = [torch.from_numpy(array) for array in encoders.encode(tensors)]
with torch.no_grad():
    scores = torch.jit.load(model / "model.ts.pt")(*encoded)
    exported = torch.export.load(model / "model.pt2").module()(*encoded)
assert torch.allclose(scores, exported, atol=1e-5)
""",
    "tensorflow": """
import tensorflow as tf
assert not tf.config.list_physical_devices("GPU")
loaded = tf.saved_model.load(str(model / "saved_model"))
scores = loaded.predict({name: tf.constant(values) for name, values in tensors.items()})["scores"]
""",
}


def scores_and_truth(model, table):
    """Asks ``model.onnx`` on the CPU."""
    description = read_model(model)
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], feature_tensors(table, description.kinds))
    return scores, np.asarray([description.label_names.index(name) for name in label_strings(table.column("kind"))])


@pytest.fixture(scope="module")
def table(trained):
    return pq.read_table(trained / "validation")


def test_nvml_and_the_framework_see_the_same_gpus(framework):
    if framework == "pytorch":
        import torch

        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    else:
        import tensorflow as tf

        details = tf.config.experimental.get_device_details
        names = [details(device)["device_name"] for device in tf.config.list_physical_devices("GPU")]
    assert sorted(names) == sorted(gpu.name for gpu in visible_gpus())


@pytest.mark.parametrize(
    "changes",
    [{"precision": "fp32"}, {"precision": "bf16"}, {"precision": "fp16"}, {}, {"compiled": True}],
    ids=["fp32", "bf16", "fp16", "auto", "compiled"],
)
def test_it_trains_on_the_gpu_and_the_cpu_agrees(trained, train, table, framework, changes, caplog):
    gpu = visible_gpus()[0]
    if changes.get("precision") == "bf16" and gpu.compute_capability < (8, 0):
        with pytest.raises(InputError, match=r"bf16 needs 8\.0"):
            train(trained, "refused", accelerator="gpu", devices=1, **changes)
        return
    with caplog.at_level(logging.INFO, "shipway"):
        model = train(trained, f"on-gpu-{len(list(trained.iterdir()))}", accelerator="gpu", devices=1, **changes)
    description = read_model(model)
    said = description.training
    assert (said["accelerator"], said["devices"], said["gpus"]) == ("gpu", 1, [gpu.name])
    assert said["precision"] == changes.get("precision", said["precision"])
    assert said["rows_per_second"] > 0
    assert said["gpu_memory_peak_gib"] > 0
    assert gpu.mig or 0 <= said["gpu_utilization_percent"] <= 100
    assert f"GPU 0 ({gpu.name}): " in caplog.text
    scores, truth = scores_and_truth(model, table)
    on_cpu = roc_auc(truth, scores)
    assert on_cpu > 0.93
    assert on_cpu == pytest.approx(description.metrics["validation_roc_auc"], abs=TOLERANCE)
    command = [sys.executable, "-c", BEFORE + WITHOUT_A_GPU[framework] + AFTER, str(model), str(trained / "validation")]
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), scores, atol=1e-5)


def test_all_gpus_together_learn_the_same(trained, train, table):
    gpus = visible_gpus()
    if len(gpus) < 2:
        pytest.skip("one GPU is here, this takes two")
    model = train(trained, "on-all-gpus", accelerator="gpu")
    assert read_model(model).training["devices"] == len(gpus)
    scores, truth = scores_and_truth(model, table)
    assert roc_auc(truth, scores) > 0.93


def test_more_gpus_than_there_are(trained, train):
    with pytest.raises(InputError, match=f"this step sees {len(visible_gpus())} GPU"):
        train(trained, "more", accelerator="gpu", devices=len(visible_gpus()) + 1)


def test_a_hidden_gpu_is_not_used(trained, train_afresh):
    said = train_afresh(trained, "hidden", 0, CUDA_VISIBLE_DEVICES="-1").training
    assert (said["accelerator"], said["accelerator_reason"]) == ("cpu", "no GPU is visible")
