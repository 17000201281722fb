"""Evaluation: metrics with intervals, slices, the comparison with the champion, the gate's verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shipway.components.common.artifacts import new_directory, read_json, write_json
from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription, read_model
from shipway.components.lifecycle.evaluation_report import evaluation_page
from shipway.components.lifecycle.gate import Thresholds, bless
from shipway.components.lifecycle.metrics import (
    INTERVAL_METHODS,
    Floats,
    Integers,
    auc_difference,
    chance,
    confusion,
    overall_metrics,
    roc_auc,
    roc_curves,
    slice_metrics,
)

__all__ = ["FEWEST_ROWS_OF_A_SLICE", "MOST_SLICES_OF_A_COLUMN", "Summary", "evaluate_model"]

FORMAT_VERSION = 1
FEWEST_ROWS_OF_A_SLICE = 50
MOST_SLICES_OF_A_COLUMN = 20
_MISSING = "(missing)"


@dataclass(frozen=True)
class Summary:
    """What the KFP UI shows of an evaluation.

    Attributes:
        headline: The main numbers that are defined; ``blessed`` is 0 or 1.
        confusion_matrix: Classes and counts (rows: true, columns: predicted).
        roc_curve: False positive rates, true positive rates and thresholds; ``None`` for several classes.
    """

    headline: dict[str, float]
    confusion_matrix: tuple[list[str], list[list[int]]]
    roc_curve: tuple[list[float], list[float], list[float]] | None


class _Predictions:
    """A Predictions directory in memory: ``key`` [N], ``labels`` [N] (class indices), ``scores`` [N, C]."""

    def __init__(self, directory: str | Path, description: ModelDescription) -> None:
        path = Path(directory) / "predictions.parquet"
        if not path.is_file():
            raise InputError(f"{path} does not exist; evaluate the output of predict")
        self.table = pq.read_table(path)
        self.label_names = list(description.label_names)
        wanted = ["key", "label", *(f"score_{name}" for name in self.label_names)]
        absent = [name for name in wanted if name not in self.table.column_names]
        if absent:
            raise InputError(f"{path} lacks {', '.join(absent)}: it was made by a model with other classes")
        positions = {name: index for index, name in enumerate(self.label_names)}
        self.key = self.table["key"].to_numpy()
        self.labels: Integers = np.array([positions[name] for name in self.table["label"].to_pylist()], dtype=np.int64)
        columns = [self.table[f"score_{name}"].to_numpy() for name in self.label_names]
        self.scores: Floats = np.column_stack(columns).astype(np.float64)
        if not np.isfinite(self.scores).all():
            raise InputError(f"{path} has scores that are no numbers: the model diverged; train it again")


def evaluate_model(
    model: str | Path,
    predictions: str | Path,
    champion_predictions: str | Path,
    evaluation: str | Path,
    report: str | Path,
    slice_columns: list[str],
    thresholds: Thresholds,
    seed: int,
) -> Summary:
    """Writes an Evaluation: ``metrics.json`` and ``blessing.json``, and the report for people.

    Args:
        model: The Model directory that the predictions were made with.
        predictions: Its Predictions.
        champion_predictions: The champion's on the same rows, or the empty ones of no champion.
        evaluation: The directory to write.
        report: The HTML file to write.
        slice_columns: Columns of the predictions; each value is a slice.
        thresholds: The gate's.
        seed: Of the bootstrap.

    Raises:
        InputError: When the artifacts do not belong together.
    """
    description = read_model(model)
    candidate = _Predictions(predictions, description)
    _check_origin(predictions, description)
    champion = _champion(champion_predictions, description, candidate)
    metrics = _metrics(description, candidate, champion, slice_columns, seed)
    curve_thresholds = [curve.pop("thresholds") for curve in metrics["roc_curves"]]
    gain = metrics["champion"]["gain"]["value"] if metrics["champion"] else None
    auc = metrics["overall"]["roc_auc"]["value"]
    blessing = bless(description.digest, thresholds, auc, metrics["baseline"]["roc_auc"], gain)
    with new_directory(evaluation) as directory:
        write_json(directory / "metrics.json", metrics)
        write_json(directory / "blessing.json", blessing)
    Path(report).parent.mkdir(parents=True, exist_ok=True)
    Path(report).write_text(evaluation_page(metrics, blessing), encoding="utf-8")
    return _summary(metrics, blessing, curve_thresholds)


def _summary(metrics: dict[str, Any], blessing: dict[str, Any], thresholds: list[list[float]]) -> Summary:
    overall, champion, matrix = metrics["overall"], metrics["champion"], metrics["confusion_matrix"]
    numbers = {
        "roc_auc": overall["roc_auc"]["value"],
        "roc_auc_low": overall["roc_auc"]["low"],
        "roc_auc_high": overall["roc_auc"]["high"],
        "log_loss": overall["log_loss"]["value"],
        "accuracy": overall["accuracy"]["value"],
        "gain_over_champion": champion["gain"]["value"] if champion else None,
        "rows": metrics["rows"],
        "blessed": int(blessing["blessed"]),
    }
    curve = metrics["roc_curves"][0] if metrics["task"] == "binary" and metrics["roc_curves"] else None
    return Summary(
        headline={name: value for name, value in numbers.items() if value is not None},
        confusion_matrix=(matrix["labels"], matrix["matrix"]),
        roc_curve=(curve["fpr"], curve["tpr"], thresholds[0]) if curve else None,
    )


def _metrics(
    description: ModelDescription,
    candidate: _Predictions,
    champion: tuple[str, _Predictions] | None,
    slice_columns: list[str],
    seed: int,
) -> dict[str, Any]:
    labels, scores = candidate.labels, candidate.scores
    slices, left_out = _slices(candidate, slice_columns)
    return {
        "format_version": FORMAT_VERSION,
        "model": {"name": description.name, "digest": description.digest, "framework": description.framework},
        "task": description.task,
        "label_names": candidate.label_names,
        "rows": len(labels),
        "overall": overall_metrics(labels, scores, seed),
        "interval_methods": INTERVAL_METHODS,
        "baseline": chance(labels, scores.shape[1]),
        "champion": None if champion is None else _comparison(candidate, *champion),
        "slices": slices,
        "slices_left_out": left_out,
        "roc_curves": roc_curves(labels, scores, candidate.label_names),
        "confusion_matrix": {
            "labels": candidate.label_names,
            "matrix": confusion(labels, scores),
            "threshold": 0.5 if description.task == "binary" else None,
        },
    }


def _check_origin(predictions: str | Path, description: ModelDescription) -> None:
    source = read_json(Path(predictions) / "predictions.json")["model"]
    if source is None or source["digest"] != description.digest:
        raise InputError(
            f"the predictions at {predictions} were not made by the model {description.name} ({description.digest});"
            " wire predict and evaluate_model to the same model"
        )


def _champion(
    directory: str | Path, description: ModelDescription, candidate: _Predictions
) -> tuple[str, _Predictions] | None:
    """Returns the champion's digest and predictions, which are of the candidate's rows."""
    source = read_json(Path(directory) / "predictions.json")["model"]
    if source is None:
        return None
    champion = _Predictions(directory, description)
    same = np.array_equal(champion.key, candidate.key) and np.array_equal(champion.labels, candidate.labels)
    if not same:
        raise InputError(
            f"the champion's predictions at {directory} are of other rows than the model's;"
            " give predict and predict_champion the same Dataset"
        )
    return source["digest"], champion


def _comparison(candidate: _Predictions, digest: str, champion: _Predictions) -> dict[str, Any]:
    return {
        "digest": digest,
        "roc_auc": roc_auc(champion.labels, champion.scores),
        "gain": auc_difference(candidate.labels, candidate.scores, champion.scores),
    }


def _slices(predictions: _Predictions, columns: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the slices with enough rows and more than one class, and how many were left out, by column."""
    shown, left_out = [], []
    for column in columns:
        values = _values(predictions, column)
        wanted = [
            value for value, rows in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
            if rows >= FEWEST_ROWS_OF_A_SLICE and len(np.unique(predictions.labels[values == value])) > 1
        ]  # fmt: skip
        for value in wanted[:MOST_SLICES_OF_A_COLUMN]:
            rows = values == value
            metrics = slice_metrics(predictions.labels[rows], predictions.scores[rows])
            shown.append({"column": column, "value": value, "rows": int(rows.sum()), "metrics": metrics})
        omitted = len(np.unique(values)) - min(len(wanted), MOST_SLICES_OF_A_COLUMN)
        if omitted:
            left_out.append({"column": column, "values": omitted})
    return shown, left_out


def _values(predictions: _Predictions, column: str) -> NDArray[Any]:
    if column not in predictions.table.column_names:
        raise InputError(
            f"the predictions have no column {column!r} to slice by; name it in predict's slice_columns as well"
        )
    values = predictions.table[column]
    if pa.types.is_nested(values.type):
        raise InputError(f"the slice column {column!r} holds lists ({values.type}); slice by a column of single values")
    texts = pc.fill_null(pc.cast(values, "string"), _MISSING).to_pylist()
    if pa.types.is_floating(values.type):  # whole numbers with gaps are read as floats
        texts = [text.removesuffix(".0") for text in texts]
    return np.array(texts)
