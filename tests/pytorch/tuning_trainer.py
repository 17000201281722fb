"""A small trainer for studies: logistic regression by gradient descent, with checkpoints, that says what it does.

Its steps are real and its models can be told apart; what it does not make is ``model.onnx``. Lines in the file that
``WITNESS`` names say ``<process> <trial> <what>``.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from shipway.components.common.artifacts import new_directory
from shipway.components.common.errors import InputError
from shipway.components.common.model import Digests, Epoch, ModelDescription, Tensor, write_model
from shipway.components.common.training import log_loss, roc_auc
from shipway.components.common.training.interruption import interruptions

STEPS = 10


def train(request, on_epoch=None):
    """Trains; ``seconds`` among the network's parameters is what an epoch takes, ``gib`` what memory it asks for."""
    settings = request.hyperparameters
    say(request, "start")
    np.zeros(int(settings.parameters.get("gib", 0)) << 30)
    if settings.parameters.get("died", False):
        os.kill(os.getpid(), 9)
    if settings.parameters.get("cut", False):  # a worker that is killed while it talks
        os.write(int(sys.argv[2]), b"\0\0\1\0half a message")
        os.kill(os.getpid(), 9)
    if settings.parameters.get("fault", False):
        raise KeyError("a fault of the trainer's own")
    (rows, labels, names), (held_out, truth, _) = (
        read(path, request.label) for path in (request.train, request.validation)
    )
    in_a_store = "://" in request.checkpoint_uri
    saved = Path(f"{request.model}.saved" if in_a_store else request.checkpoint_uri) / "weights.json"
    state = json.loads(saved.read_text()) if saved.exists() else {"weights": [0.0] * rows.shape[1], "history": []}
    weights, history = np.asarray(state["weights"]), [Epoch(**epoch) for epoch in state["history"]]
    with interruptions() as stop:
        for number in range(len(history) + 1, settings.epochs + 1):
            time.sleep(settings.parameters.get("seconds", 0))
            for _ in range(STEPS):
                error = sigmoid(rows @ weights) - labels
                weights = weights - settings.learning_rate * (
                    rows.T @ error / len(rows) + settings.weight_decay * weights
                )
            if np.abs(weights).max() > 1e3:
                raise InputError(f"training diverged in epoch {number}: lower learning_rate {settings.learning_rate}")
            history.append(judged(number, weights, rows, labels, held_out, truth))
            say(request, f"epoch {number}")
            ended = on_epoch is not None and on_epoch(history[-1])
            save(saved, weights, history)
            if ended:
                break
            if stop.requested:
                raise stop.preempted(f"epoch {number} is saved")
    description = publish(request, names, weights, history)
    say(request, "done")
    return description


def read(path, label):
    table = pq.read_table(Path(path) / "part-00000.parquet")
    columns = [np.nan_to_num(table.column(name).to_numpy().astype(float)) for name in ("size (mm)", "depth", "petals")]
    raw = np.stack([(column - column.mean()) / column.std() for column in columns], axis=1)
    words = table.column(label).to_pylist()
    names = tuple(sorted(set(words)))
    return np.hstack([raw, np.ones((len(raw), 1))]), np.asarray([word == names[-1] for word in words]), names


def sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))


def judged(number, weights, rows, labels, held_out, truth):
    values = []
    for inputs, classes in ((held_out, truth), (rows, labels)):
        positive = sigmoid(inputs @ weights)
        scores, classes = np.stack([1 - positive, positive], axis=1), classes.astype(int)
        values += [log_loss(classes, scores), roc_auc(classes, scores)]
    return Epoch(number, values[2], values[0], values[1], values[2], values[3])


def save(path, weights, history):
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps({"weights": list(weights), "history": [asdict(epoch) for epoch in history]}))
    aside.replace(path)


def publish(request, names, weights, history):
    best = max(history, key=lambda epoch: (epoch.validation_roc_auc or 0, -epoch.validation_loss))
    description = ModelDescription(
        name=request.model_name,
        framework="pytorch",
        task="binary",
        label=request.label,
        label_names=names if len(names) > 1 else (*names, "none"),
        inputs=(Tensor("depth", "FP32"),),
        outputs=(Tensor("scores", "FP32", (-1, 2)), Tensor("label", "BYTES")),
        digests=Digests("", "", ""),
        metrics={"validation_roc_auc": best.validation_roc_auc, "validation_log_loss": best.validation_loss},
        history=tuple(history),
        training={"rows": 1, "best_epoch": best.epoch},
    )
    with new_directory(request.model) as directory:
        (directory / "weights.json").write_text(json.dumps(list(weights)))
        return write_model(directory, description)


def say(request, what):
    if path := os.environ.get("WITNESS"):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {Path(request.model).parent.name} {what}\n")
