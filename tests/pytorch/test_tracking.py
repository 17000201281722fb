"""Trainings tell MLflow what happened, and go on when it does not listen."""

from __future__ import annotations

import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from shipway.components.common.errors import InputError, Preempted
from shipway.components.common.model import Digests, Epoch, ModelDescription, Tensor, write_model
from shipway.components.common.training import tracking
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.settings import Hyperparameters

sys.path.insert(0, str(Path(__file__).parents[1]))

from tracking_server import tracking_server

DIGEST = "0123456789abcdef" * 4
PASSWORD = "gate-of-horn"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Every test has a state directory and a working directory of its own, and no proxy."""
    for name in [name for name in os.environ if "proxy" in name.lower() or name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert not list((tmp_path / "here").iterdir()), "tracking wrote into the working directory"


def request(tmp_path, uri="", **changes):
    curves = str(tmp_path / "curves.html")
    return TrainingRequest("", "", str(tmp_path / "model"), curves, "late", "flights", tracking_uri=uri, **changes)


def epoch(number):
    auc = None if number == 1 else 0.6 + number / 100
    return Epoch(number, 1 / number, 1.1 / number, auc, 0.9 / number, auc)


def described(tmp_path):
    """Writes a Model directory and its page of curves; returns the description."""
    (tmp_path / "model" / "weights").mkdir(parents=True)
    (tmp_path / "model" / "weights" / "network.bin").write_bytes(bytes(1000))
    (tmp_path / "curves.html").write_text("<p>Größe", encoding="utf-8")
    description = ModelDescription(
        "flights", "pytorch", "binary", "late", ("no", "yes"),
        inputs=(Tensor("hour", "FP32"),),
        outputs=(Tensor("scores", "FP32", (-1, 2)), Tensor("label", "BYTES")),
        digests=Digests("sha256:da7a", "sha256:c0de", ""),
        metrics={"validation_roc_auc": 0.63, "validation_log_loss": None},
        history=(epoch(1), epoch(2), epoch(3)),
        training={"epochs": 3, "seconds": 4.5, "accelerator": "cpu", "rows_per_second": 1234.5},
    )  # fmt: skip
    return write_model(tmp_path / "model", description)


def train(tmp_path, uri="", epochs=(1, 2, 3), error=None, digest=DIGEST, wait_seconds=30.0):
    """Tells a whole training; returns how long the telling took and how long the end."""
    with (
        suppress(type(error) if error else ()),
        tracking.tracked(request(tmp_path, uri), "pytorch", digest, wait_seconds) as tracker,
    ):
        started = time.monotonic()
        tracker.parameters({"learning_rate": 0.01, "long": "x" * 10_000, "deep": {"größe?": (1, 2)}, "none": ""})
        for number in epochs:
            tracker.epoch(epoch(number), 1000.0 * number)
        if error:
            told = time.monotonic()
            raise error
        tracker.model(described(tmp_path), tmp_path / "model")
        told = time.monotonic()
    return told - started, time.monotonic() - told


def runs(uri):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("flights")
    return client, client.search_runs([experiment.experiment_id])


def curve(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_a_server_an_sqlite_file_has_everything_but_the_model_itself(tmp_path, caplog):
    train(tmp_path)
    client, (run,) = runs(f"sqlite:///{tmp_path}/state/mlflow.db")
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "learning_rate": "0.01",
        "long": "x" * 5999 + "…",
        "deep.größe_": "[1, 2]",
        "none": "",
    }
    assert curve(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curve(client, run, "validation_roc_auc") == [(2, 0.62), (3, 0.63)]
    assert curve(client, run, "training_loss") == [(1, 0.9), (2, 0.45), (3, 0.9 / 3)]
    assert curve(client, run, "rows_per_second") == [(1, 1000), (2, 2000), (3, 3000)]
    assert curve(client, run, "model/validation_roc_auc") == [(3, 0.63)]
    assert curve(client, run, "training/seconds") == [(3, 4.5)]
    assert "training/epochs" not in run.data.metrics
    assert run.data.tags["shipway.training"] == DIGEST
    assert run.data.tags["shipway.data_digest"] == "sha256:da7a"
    assert run.data.tags["shipway.model_digest"].startswith("sha256:")
    assert run.data.tags["shipway.accelerator"] == "cpu"
    artifacts = tmp_path / "state" / "mlflow-artifacts" / run.info.run_id / "artifacts"
    assert {str(file.relative_to(artifacts)) for file in artifacts.rglob("*") if file.is_file()} == {
        "curves.html",
        "model/model.json",
    }
    assert (artifacts / "curves.html").read_text(encoding="utf-8") == "<p>Größe"
    assert (artifacts / "model/model.json").read_bytes() == (tmp_path / "model" / "model.json").read_bytes()
    assert not warnings(caplog)


def test_a_preempted_training_continues_its_run_and_a_finished_one_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "PREEMPTED_WAIT_SECONDS", 60.0)
    uri = f"sqlite:///{tmp_path}/own/runs.db"
    train(tmp_path, uri, (1, 2), Preempted("stopped by SIGTERM"))
    client, (run,) = runs(uri)
    assert (run.info.status, run.data.tags["shipway.error"]) == ("KILLED", "Preempted: stopped by SIGTERM")
    train(tmp_path / "other", uri, (1,), InputError("diverged"), digest="another")
    train(tmp_path, uri, (2, 3))
    client, (other, again) = runs(uri)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert (other.info.status, other.data.tags["shipway.error"]) == ("FAILED", "InputError: diverged")
    assert [step for step, _ in curve(client, again, "loss")] == [1, 2, 3]
    assert (tmp_path / "own" / "runs-artifacts" / run.info.run_id / "artifacts" / "curves.html").is_file()
    train(tmp_path / "third", uri)
    assert len(runs(uri)[1]) == 3


def test_a_store_that_comes_back_before_the_end_loses_nothing(tmp_path, caplog):
    (tmp_path / "store").write_text("a file is where the directory must be")
    with tracking.tracked(request(tmp_path, f"sqlite:///{tmp_path}/store/x.db"), "pytorch") as tracker:
        for number in (1, 2, 3):
            tracker.epoch(epoch(number))
        time.sleep(0.5)
        (tmp_path / "store").unlink()
    client, (run,) = runs(f"sqlite:///{tmp_path}/store/x.db")
    assert [step for step, _ in curve(client, run, "loss")] == [1, 2, 3]
    assert not warnings(caplog)


def test_none_tracks_nothing(tmp_path):
    before = threading.active_count()
    with tracking.tracked(request(tmp_path, "none"), "pytorch") as tracker:
        tracker.epoch(epoch(1))
        assert threading.active_count() == before
    assert not (tmp_path / "state").exists()


@pytest.fixture(scope="module")
def server():
    with tracking_server() as running:
        yield running


def test_a_server_is_told_everything(tmp_path, server, caplog):
    train(tmp_path, server.uri, (1, 2), Preempted("stopped"), wait_seconds=5)
    told, _ = train(tmp_path, server.uri)
    (run,) = server.runs("flights")
    assert told < 0.5
    assert run["info"]["status"] == "FINISHED"
    assert {p["key"]: p["value"] for p in run["data"]["params"]}["long"] == "x" * 5999 + "…"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert (tags["shipway.training"], tags["shipway.code_digest"]) == (DIGEST, "sha256:c0de")
    run_id = run["info"]["run_id"]
    history = server.get("metrics/get-history", run_id=run_id, metric_key="validation_loss")["metrics"]
    assert [(point.get("step"), point["value"]) for point in history] == [(1, 1.1), (2, 0.55), (3, 1.1 / 3)]
    listed = server.get("artifacts/list", run_id=run_id, path="model")["files"]
    assert [file["path"] for file in listed] == ["model/model.json", "model/weights"]
    path = f"/api/2.0/mlflow-artifacts/artifacts/{run['info']['experiment_id']}/{run_id}/artifacts"
    assert server.read(f"{path}/model/model.json") == (tmp_path / "model" / "model.json").read_bytes()
    assert not warnings(caplog)


class Faulty(http.server.BaseHTTPRequestHandler):
    status, seen = 500, []

    def do_GET(self):
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(self.status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"away")

    do_POST = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_):
        pass


@contextmanager
def answering(status):
    handler = type("Handler", (Faulty,), {"status": status, "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, handler.seen
        server.shutdown()


@contextmanager
def hanging():
    """Accepts (the kernel does) and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1], []


@contextmanager
def dead():
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1], []


FAULTS = {"dead": dead, "hanging": hanging, "500": lambda: answering(500), "401": lambda: answering(401)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_server_costs_no_time_and_one_warning(tmp_path, fault, caplog, capfd):
    caplog.set_level(logging.INFO)
    with FAULTS[fault]() as (port, seen):
        told, closed = train(tmp_path, f"http://ann:{PASSWORD}@127.0.0.1:{port}", wait_seconds=4)
    assert told < 0.5
    assert closed < 5
    (warning,) = warnings(caplog)
    assert warning.startswith(
        f"MLflow at http://127.0.0.1:{port} was not told the parameters, epochs 1 to 3, the model"
    )
    assert "the page of curves, the status FINISHED (" in warning
    assert "Check tracking_uri" in warning
    assert PASSWORD not in caplog.text + "".join(capfd.readouterr())
    assert all(authorization.startswith("Basic ") for authorization in seen)
    if fault in ("500", "401"):
        assert fault in warning


def test_a_preempted_training_waits_less(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "PREEMPTED_WAIT_SECONDS", 1.0)
    with hanging() as (port, _):
        _, closed = train(tmp_path, f"http://127.0.0.1:{port}", error=Preempted("stopped"))
    assert closed < 3


def broken_database(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    return f"sqlite:///{tmp_path}/broken.db"


FAULTY_STORES = {
    "broken database": broken_database,
    "no directory": lambda tmp_path: "sqlite:////proc/none/x.db",
    "unknown scheme": lambda tmp_path: "carrier-pigeon://loft",
}


@pytest.mark.parametrize("fault", FAULTY_STORES)
def test_a_faulty_store_costs_one_warning(tmp_path, fault, caplog):
    uri = FAULTY_STORES[fault](tmp_path)
    told, closed = train(tmp_path, uri, wait_seconds=20)
    assert told < 0.5
    assert closed < 20
    (warning,) = warnings(caplog)
    assert warning.startswith(f"MLflow at {uri} was not told the parameters, epochs 1 to 3")


@pytest.mark.tmpfs
def test_a_full_disk_costs_one_warning(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        train(tmp_path, f"sqlite:///{disk}/x.db", wait_seconds=20)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # MLflow keeps its connection
    (warning,) = warnings(caplog)
    assert "disk is full" in warning


def test_without_mlflow_there_is_one_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    train(tmp_path)
    (warning,) = warnings(caplog)
    assert "mlflow.tracking" in warning


def test_a_part_that_fails_keeps_no_other_from_being_logged(tmp_path, caplog):
    with tracking.tracked(request(tmp_path), "pytorch") as tracker:
        tracker.epoch(epoch(1))
        description = described(tmp_path)
        tracker.model(description, tmp_path / "model")
        (tmp_path / "curves.html").unlink()
    _, (run,) = runs(f"sqlite:///{tmp_path}/state/mlflow.db")
    assert run.info.status == "FINISHED"
    (warning,) = warnings(caplog)
    assert "was not told the page of curves (FileNotFoundError" in warning


def test_the_users_variables_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before = dict(os.environ)
    with tracking.tracked(request(tmp_path), "pytorch"):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert dict(os.environ) == before


SCRIPT = """
import sys, time
from shipway.components.common.model import Epoch
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.tracking import tracked
request = TrainingRequest("", "", "", "", "late", "flights", tracking_uri=sys.argv[1])
with tracked(request, "pytorch", "", float(sys.argv[2])) as tracker:
    assert "mlflow" not in sys.modules
    tracker.epoch(Epoch(1, 1.0, 1.0, None, 1.0, None))
    time.sleep(3)
print(time.time())
"""


def test_a_process_with_a_hanging_server_ends(tmp_path):
    with hanging() as (port, _):
        command = [sys.executable, "-c", SCRIPT, f"http://127.0.0.1:{port}", "1"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert time.time() - float(printed.stdout) < 3
    assert "was not told epoch 1, the status FINISHED (no answer in time)" in printed.stderr


def test_a_process_says_nothing_of_its_tracking(tmp_path):
    command = [sys.executable, "-c", SCRIPT, f"sqlite:///{tmp_path}/x.db", "60"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (printed.stdout.count("\n"), printed.stderr) == (1, "")
    _, (run,) = runs(f"sqlite:///{tmp_path}/x.db")
    assert run.info.status == "FINISHED"


def test_hyperparameters_of_the_network_are_parameters(tmp_path):
    settings = Hyperparameters.of({"hidden_units": [8.0], "depth": 3})
    with tracking.tracked(request(tmp_path, hyperparameters=settings), "pytorch") as tracker:
        tracker.parameters({"hidden_units": settings.hidden_units, "parameters": settings.parameters})
    _, (run,) = runs(f"sqlite:///{tmp_path}/state/mlflow.db")
    assert run.data.params == {"hidden_units": "[8]", "parameters.depth": "3"}
