"""The layout, read as TensorFlow Serving would: by its own messages and TensorFlow's loader. It is not run itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from shipway.components.common.artifacts import directory_digest, file_digest
from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.model import read_golden, read_model, write_model
from shipway.serving.tfserving import layout as layout_module
from shipway.serving.tfserving.layout import create_layout
from shipway.serving.tfserving.warmup import MOST_RECORDS, WARMUP_FILE, read_warmup, write_warmup

ROOT = Path(__file__).parents[2]
ONNX_ONLY = ROOT / "tests/serving/fixtures/binary"


def test_one_version_with_the_models_own_bytes(layout, model):
    found = {file.relative_to(layout).as_posix() for file in layout.rglob("*") if file.is_file()}
    files = {
        f"flowers/1/{name.removeprefix('saved_model/')}": digest
        for name, digest in read_model(model).files.items()
        if name.startswith("saved_model/")
    }
    own = {f"flowers/1/{WARMUP_FILE}", "models.config", "monitoring.config", "batching_parameters.txt"}
    assert found == files.keys() | own
    assert {name: file_digest(layout / name) for name in files} == files
    assert "flowers/1/saved_model.pb" in files
    assert [entry.name for entry in (layout / "flowers").iterdir()] == ["1"]


def test_the_signature_is_what_clients_are_told(layout, model):
    description = read_model(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(layout / "flowers/1"))
    signature = loaded.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    types = {"FP32": tf.float32.as_datatype_enum, "BYTES": tf.string.as_datatype_enum}
    for tensors, described in ((signature.inputs, description.inputs), (signature.outputs, description.outputs)):
        assert tensors.keys() == {tensor.name for tensor in described}
        for tensor in described:
            assert tensors[tensor.name].dtype == types[tensor.datatype]
    for tensor in description.inputs:
        assert tuple(size.size for size in signature.inputs[tensor.name].tensor_shape.dim) == tensor.shape


def test_warm_up_requests_are_predictions_of_the_golden_rows(layout, model):
    golden, version = read_golden(model), str(layout / "flowers/1")
    records = [PredictionLog.FromString(raw) for raw in tf.compat.v1.io.tf_record_iterator(f"{version}/{WARMUP_FILE}")]
    assert len(records) == len(golden.instances)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], version).signature_def["serving_default"]
        for row, record in enumerate(records):
            assert record.WhichOneof("log_type") == "predict_log"
            request = record.predict_log.request
            assert (request.model_spec.name, request.model_spec.signature_name) == ("flowers", "serving_default")
            feed = {signature.inputs[name].name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            fetch = [signature.outputs[name].name for name in ("scores", "label")]
            scores, labels = session.run(fetch, feed)
            np.testing.assert_allclose(scores, [golden.scores[row]], atol=1e-5)
            assert labels.tolist() == [golden.labels[row].encode()]


def test_there_are_never_too_many_warm_up_requests(tmp_path):
    write_warmup(tmp_path, "flowers", {"depth": np.arange(MOST_RECORDS + 200, dtype=np.float32)})
    records = list(read_warmup(tmp_path))
    assert len(records) == MOST_RECORDS == 1000
    assert records[-1]["depth"].tolist() == [999.0]


def test_the_configuration(layout):
    config = text_format.Parse((layout / "models.config").read_text(), ModelServerConfig())
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path, entry.model_platform) == ("flowers", "/models/flowers", "tensorflow")
    assert list(entry.model_version_policy.specific.versions) == [1]

    monitoring = text_format.Parse((layout / "monitoring.config").read_text(), messages()["MonitoringConfig"]())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"
    batching = text_format.Parse((layout / "batching_parameters.txt").read_text(), messages()["BatchingParameters"]())
    assert (batching.max_batch_size.value, batching.batch_timeout_micros.value) == (1024, 0)
    assert batching.max_enqueued_batches.value == 64


def test_a_cluster_gets_the_same_monitoring(layout):
    documents = yaml.safe_load_all((ROOT / "manifests/serving/tensorflow-serving.yaml").read_text())
    (content,) = [each["data"]["monitoring.config"] for each in documents if each["kind"] == "ConfigMap"]
    assert content == (layout / "monitoring.config").read_text()


def messages():
    """TensorFlow Serving's messages that its Python package leaves out, as its documentation has them."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="left_out.proto", package="left_out", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    fields = {
        "PrometheusConfig": {"enable": types.TYPE_BOOL, "path": types.TYPE_STRING},
        "MonitoringConfig": {"prometheus_config": ".left_out.PrometheusConfig"},
        "BatchingParameters": dict.fromkeys(
            ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches"), ".google.protobuf.Int64Value"
        ),
    }
    for message, members in fields.items():
        described = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(members.items(), start=1):
            field = described.field.add(name=name, number=number, label=types.LABEL_OPTIONAL)
            if isinstance(kind, str):
                field.type, field.type_name = types.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def test_the_same_model_gives_the_same_bytes(layout, model, tmp_path):
    code = "import sys; from shipway.serving.tfserving.layout import create_layout; create_layout(*sys.argv[1:])"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(model), str(tmp_path / "again")], env=environment, check=True)
    assert directory_digest(tmp_path / "again") == directory_digest(layout)


def test_a_release_under_another_name(model, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release/model").symlink_to(model)
    assert create_layout(tmp_path / "release", tmp_path / "out", "irises-v2") == read_model(model)
    assert (tmp_path / "out/irises-v2/1/saved_model.pb").is_file()
    assert 'base_path: "/models/irises-v2"' in (tmp_path / "out/models.config").read_text()


def test_saved_model_pb_is_copied_last(model, tmp_path, monkeypatch):
    there, copy = [], shutil.copyfile

    def copyfile(source, target):
        if target.name == "saved_model.pb":
            there.extend(path.name for path in target.parent.rglob("*") if path.is_file())
        return copy(source, target)

    monkeypatch.setattr(layout_module.shutil, "copyfile", copyfile)
    create_layout(model, tmp_path / "out")
    assert sorted(there) == ["tf_serving_warmup_requests", "variables.data-00000-of-00001", "variables.index"]


@pytest.mark.parametrize("name", ["../flowers", "a b", ".hidden", "x" * 64])
def test_a_name_that_is_none(model, tmp_path, name):
    with pytest.raises(InputError, match="is no name for TensorFlow Serving"):
        create_layout(model, tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []


def test_models_without_a_saved_model(tmp_path):
    with pytest.raises(InputError, match=r"the model fixture at .* has no saved_model"):
        create_layout(ONNX_ONLY, tmp_path / "out")
    with pytest.raises(InputError, match="no model at"):
        create_layout(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_never_replaces_what_was_right(trained, tmp_path):
    out = tmp_path / "out"
    create_layout(trained[0], out)
    before = directory_digest(out)
    changed = tmp_path / "changed"
    shutil.copytree(trained[0], changed)
    with (changed / "saved_model/saved_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"saved_model/saved_model\.pb has changed"):
        create_layout(changed, out)

    shutil.rmtree(changed / "saved_model")
    shutil.copytree(trained[1] / "saved_model", changed / "saved_model")
    write_model(changed, read_model(changed))
    with pytest.raises(DeploymentError, match=r"answers its golden request 0 otherwise than model\.onnx"):
        create_layout(changed, out)
    assert directory_digest(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "out"]
