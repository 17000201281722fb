"""The best hyperparameters on fewer training rows: whether more rows help."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files, new_directory
from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription, verify_files
from shipway.components.common.training.diagnosis import learning_curve_verdict
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.tuning.comparison import Comparison, compare, scored
from shipway.components.common.tuning.records import Goal, Train, attempt

__all__ = ["LearningCurve", "Point", "learning_curve"]

BATCH_ROWS = 65_536
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """A training on a part of the rows.

    Attributes:
        fraction: The part.
        rows: How many rows these are.
        value: The best epoch's value on the validation split; None when training failed.
        training_value: The same epoch's on training rows; None where that was not measured.
        error: Why it failed.
    """

    fraction: float
    rows: int
    value: float | None
    training_value: float | None = None
    error: str = ""


@dataclass(frozen=True)
class LearningCurve:
    """How good the best hyperparameters are on so many rows.

    Attributes:
        points: By rising fraction; the last one is the best trial, on all rows.
        gain: What all rows bring over the largest part: on the ``test`` split where there is one, else on the
            validation split; None where that cannot be told.
        verdict: Whether more rows help, in sentences.
    """

    points: tuple[Point, ...]
    gain: Comparison | None
    verdict: str


def learning_curve(
    train: Train,
    request: TrainingRequest,
    best: ModelDescription,
    fractions: tuple[float, ...],
    directory: Path,
    test: str,
    goal: Goal,
) -> LearningCurve:
    """Trains on each part of the rows; a smaller part's rows are among a larger one's.

    Args:
        train: The trainer.
        request: The best trial's; its ``model`` is there.
        best: What the best trial's ``model.json`` says.
        fractions: The parts, above 0 and below 1.
        directory: Where the parts' Datasets go. Models go beside the best trial's. What is there is not made again.
        test: Dataset directory that no trial saw, to say what the last part of the rows brought; "" for none.
        goal: What trials are judged by.
    """
    points = []
    last = None
    for fraction in sorted(set(fractions)):
        place = Path(request.model).parent / f"rows-{fraction:.6g}"
        asked = replace(
            request,
            train=str(directory / f"{fraction:.6g}"),
            model=str(place / "model"),
            curves=str(place / "curves.html"),
            checkpoint_uri=str(place / "checkpoints"),
        )
        points.append(_point(train, asked, request.train, fraction, goal))
        if points[-1].value is not None:
            last = Path(asked.model)
    points.append(_judged(1.0, int(best.training["rows"]), best, goal))
    judge = test or request.validation
    gain = compare(scored(request.model, judge), scored(last, judge)) if last else None
    return LearningCurve(tuple(points), gain, _verdict(gain, "test" if test else "validation", points, goal))


def _point(train: Train, request: TrainingRequest, everything: str, fraction: float, goal: Goal) -> Point:
    model = Path(request.model)
    if not Path(request.train).exists():
        _write_part(everything, request.train, fraction)
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in dataset_files(request.train))
    try:
        description = verify_files(model)
    except InputError:  # none yet, or not all of it
        logger.info("training on %d rows, %g of all", rows, fraction)
        outcome = attempt(train, request, None)
        if outcome.error:
            return Point(fraction, rows, None, error=outcome.error)
        description = verify_files(model)
    return _judged(fraction, rows, description, goal)


def _judged(fraction: float, rows: int, model: ModelDescription, goal: Goal) -> Point:
    epoch = next(epoch for epoch in model.history if epoch.epoch == model.training["best_epoch"])
    training = epoch.training_roc_auc if goal.metric == "roc_auc" else epoch.training_loss
    return Point(fraction, rows, goal.of_metrics(model.metrics), training)


def _write_part(source: str, target: str, fraction: float) -> None:
    """Writes a Dataset of this part of another's rows, drawn at random and left in order."""
    rng = np.random.default_rng(0)
    with new_directory(target) as directory:
        writer = None
        for file in dataset_files(source):
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
                kept = pa.Table.from_batches([batch]).filter(pa.array(rng.random(batch.num_rows) < fraction))
                writer = writer or pq.ParquetWriter(directory / "part-00000.parquet", kept.schema, compression="zstd")
                writer.write_table(kept)
        if writer:
            writer.close()


def _verdict(gain: Comparison | None, split: str, points: list[Point], goal: Goal) -> str:
    sign = 1 if goal.direction == "maximize" else -1
    known = [
        (point.rows, sign * point.training_value, sign * point.value)
        for point in points
        if point.value is not None and point.training_value is not None
    ]
    text = f"On the validation split: {learning_curve_verdict(known).text}"
    if gain is None:
        return text
    *_, part, everything = [point for point in points if point.value is not None]
    sure = "more than chance does" if gain.verdict != "no difference" else "which may be chance"
    text = (
        f"On the {split} split, from {part.fraction:.0%} of the rows to all of them, the ROC AUC changed by"
        f" {gain.difference:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}), {sure}. {text}"
    )
    improved = goal.better(everything.value or 0.0, part.value or 0.0)
    if goal.metric == "roc_auc" and gain.verdict == ("worse" if improved else "better"):
        text += (
            " The splits disagree: their rows are not alike, as when one is of another season, and more rows like the"
            " training rows may not help where the model is used."
        )
    return text
