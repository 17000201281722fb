"""What the learning curves say: whether a model learns too little, learns by heart, or neither, and what to try.

The judge is the ROC AUC or, where the validation split cannot define one, the log loss as a share of what always
guessing the classes' shares costs (McFadden's pseudo R², 1974). Both are read at the best epoch, whose weights are
the model's, from training and validation rows under the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Diagnosis", "JudgedEpoch", "diagnose", "learning_curve_verdict"]

Verdict = Literal["bias", "variance", "good", "unknown"]

# A gap counts when it is more than this share of what was learned on the training rows and, as 19 times of 20 it is
# not by chance, more than two standard errors.
GAP_SHARE = 0.1
ERRORS = 2.0
# At most so many training rows are predicted for the gap, and a smaller validation split is met by as many.
SAMPLED_TRAINING_ROWS = 16_384
# Fewer validation rows than give this accuracy of the AUC's gap cannot tell.
WIDEST_ERROR = 0.05
# Below this even a wide gap is not the first thing to mend: hardly anything was learned that could fail to hold.
HARDLY_LEARNED_AUC, HARDLY_LEARNED_SHARE = 0.6, 0.02
# What training rows are told apart well: an AUC of 0.8 (Hosmer, Lemeshow, Applied Logistic Regression, 2000, "excellent
# discrimination"), a pseudo R² of 0.2 (McFadden, 1979, "excellent fit").
WELL_LEARNED_AUC, WELL_LEARNED_SHARE = 0.8, 0.2
# When the last epoch is the best and brought more than this share of all that was learned, training could have gone on.
STILL_GAINING = 0.02
# Validation loss that rose again, after its lowest, by more than this share of what had been learned by then.
RISEN = 0.1
# More rows are worth their while when a doubling brings the metric up by more than this.
GAIN_OF_A_DOUBLING = 0.002


class JudgedEpoch(Protocol):
    """What is read of an epoch, see :class:`~shipway.components.common.model.Epoch`."""

    @property
    def epoch(self) -> int:
        """Counted from 1."""

    @property
    def validation_loss(self) -> float:
        """Log loss of the validation split, in nats."""

    @property
    def validation_roc_auc(self) -> float | None:
        """ROC AUC of the validation split."""

    @property
    def training_loss(self) -> float | None:
        """Log loss of training rows under the same weights, in nats."""

    @property
    def training_roc_auc(self) -> float | None:
        """ROC AUC of those."""


@dataclass(frozen=True)
class Diagnosis:
    """What is seen and what to try.

    Attributes:
        verdict: ``bias``: even the training rows are not learned well; ``variance``: what is learned on the training
            rows does not hold on others; ``good``: neither; ``unknown``: it cannot be told.
        gap: How much better the training rows are predicted than the validation rows, as ROC AUC or as share of the
            loss; None where unknown.
        text: The same with numbers, and what to try, for people.
    """

    verdict: Verdict
    gap: float | None
    text: str


@dataclass(frozen=True)
class _Fit:
    """How well both splits are predicted, from 0, as by chance, to 1 (``top``), and how sure that is."""

    metric: str
    training: float
    validation: float
    chance: float
    error: float
    hardly: float
    well: float

    @property
    def gap(self) -> float:
        return self.training - self.validation

    @property
    def sure(self) -> bool:
        return abs(self.gap) > ERRORS * self.error

    @property
    def wide(self) -> bool:
        return self.sure and self.gap > GAP_SHARE * (self.training - self.chance)

    @property
    def odd(self) -> bool:
        return self.sure and -self.gap > GAP_SHARE * (self.training - self.chance)

    @property
    def numbers(self) -> str:
        return (
            f"{self.metric} is {self.training:.4f} on training rows and {self.validation:.4f} on validation rows, a gap"
            f" of {self.gap:+.4f}" + (f" ± {ERRORS * self.error:.4f}" if self.error else "")
        )


def diagnose(
    history: Sequence[JudgedEpoch], class_shares: Sequence[float], validation_rows: int, best_epoch: int = 0
) -> Diagnosis:
    """Returns what the learning curves of a training say.

    Args:
        history: The epochs, in order.
        class_shares: Share of the training rows that each class has; guessing them is what a model must beat.
        validation_rows: How many rows the validation split has, which says how sure its AUC is.
        best_epoch: The epoch whose weights the model has; 0 for the one with the highest validation ROC AUC.
    """
    if len(history) < 2:
        return Diagnosis("unknown", None, "One epoch shows no course: raise epochs to 2 or more to see one.")
    guessing = -sum(share * math.log(share) for share in class_shares if share > 0)
    best = max(
        history,
        key=lambda epoch: (epoch.epoch == best_epoch, epoch.validation_roc_auc or 0.0, -epoch.validation_loss),
    )
    fit = _fit(best, guessing, class_shares, validation_rows)
    if fit is None:
        return Diagnosis("unknown", None, "How well training rows are predicted was not measured, so no gap is known.")
    course = _Course.of(history, best, guessing, math.log(len(class_shares)))
    seen = f"At epoch {best.epoch} of {len(history)} {fit.numbers}."
    if fit.error > WIDEST_ERROR and not fit.sure:
        return Diagnosis(
            "unknown", fit.gap, f"{seen} {validation_rows:,} validation rows are too few to tell: add some."
        )
    if fit.training >= fit.hardly and (fit.wide or course.risen):
        return Diagnosis("variance", fit.gap, _sentences(seen, *_variance(fit, course)))
    if fit.training < fit.well or course.gaining:
        return Diagnosis("bias", fit.gap, _sentences(seen, *_bias(fit, course)))
    return Diagnosis("good", fit.gap, _sentences(seen, "The model learned well and holds on other rows.", _odd(fit)))


def learning_curve_verdict(points: Sequence[tuple[int, float, float]]) -> Diagnosis:
    """Returns whether more training data would help.

    Args:
        points: Of models trained on ever more rows: how many rows, and a metric that grows with quality (the ROC AUC,
            or the log loss times -1) on training rows and on validation rows.
    """
    points = sorted(points)
    if len(points) < 2 or points[0][0] == points[-1][0] or points[0][0] < 1:
        return Diagnosis("unknown", None, "Train on two or more numbers of rows to see what more data would bring.")
    rows, training, validation = points[-1]
    gap, gain = training - validation, _gain_of_a_doubling(points)
    seen = (
        f"With {rows:,} rows the {'metric' if validation > 0 else 'loss'} is {abs(training):.4f} on training rows and"
        f" {abs(validation):.4f} on validation rows, a gap of {gap:+.4f}; a doubling of the rows lately improved the"
        f" latter by {gain:+.4f}."
    )
    if gain > GAIN_OF_A_DOUBLING and gap > GAIN_OF_A_DOUBLING:
        expected = min(gain, gap)
        return Diagnosis("variance", gap, f"{seen} More data helps: expect about {expected:+.4f} of {2 * rows:,} rows.")
    if gain > GAIN_OF_A_DOUBLING:
        return Diagnosis("good", gap, f"{seen} There is no gap left to close, yet more rows still helped: add some.")
    if gap > ERRORS * GAIN_OF_A_DOUBLING:
        return Diagnosis(
            "variance",
            gap,
            f"{seen} More rows do not close the gap: raise dropout or weight_decay, or lower hidden_units.",
        )
    return Diagnosis(
        "bias", gap, f"{seen} More rows do not help: give the model more to learn with, features or hidden_units."
    )


def _gain_of_a_doubling(points: Sequence[tuple[int, float, float]]) -> float:
    """Returns the slope of the validation metric over log2(rows), by least squares through the last three points."""
    last = [(math.log2(rows), validation) for rows, _, validation in points if rows * 8 > points[-1][0]][-3:]
    last = last if len(last) > 1 else [(math.log2(rows), validation) for rows, _, validation in points[-2:]]
    x_mean, y_mean = (sum(values) / len(last) for values in zip(*last, strict=True))
    spread = sum((x - x_mean) ** 2 for x, _ in last)
    return sum((x - x_mean) * (y - y_mean) for x, y in last) / spread if spread else 0.0


def _fit(best: JudgedEpoch, guessing: float, shares: Sequence[float], rows: int) -> _Fit | None:
    training, validation = best.training_roc_auc, best.validation_roc_auc
    if training is not None and validation is not None and math.isfinite(training) and math.isfinite(validation):
        sampled = min(rows, SAMPLED_TRAINING_ROWS)
        error = math.hypot(_auc_error(validation, shares, rows), _auc_error(training, shares, sampled))
        return _Fit("ROC AUC", training, validation, 0.5, error, HARDLY_LEARNED_AUC, WELL_LEARNED_AUC)
    if best.training_loss is None or not math.isfinite(best.training_loss) or not guessing:
        return None
    learned, held = 1 - best.training_loss / guessing, 1 - best.validation_loss / guessing
    name = "the explained share of the log loss"
    return _Fit(name, learned, held, 0.0, 0.0, HARDLY_LEARNED_SHARE, WELL_LEARNED_SHARE)


def _auc_error(auc: float, shares: Sequence[float], rows: int) -> float:
    """Returns the standard error of an ROC AUC (Hanley, McNeil, Radiology 143, 1982), of several classes their mean."""
    area = min(max(auc, 0.5), 0.9999)
    both, one = area / (2 - area), 2 * area**2 / (1 + area)
    errors = []
    for share in shares[1:] if len(shares) == 2 else shares:
        positives, negatives = max(share * rows, 1.0), max((1 - share) * rows, 1.0)
        variance = area * (1 - area) + (positives - 1) * (both - area**2) + (negatives - 1) * (one - area**2)
        errors.append(math.sqrt(variance / (positives * negatives)))
    return sum(errors) / len(errors)


@dataclass(frozen=True)
class _Course:
    """How the validation split went on: whether it was still gaining at the end, or its loss had risen again."""

    epochs: int
    lowest: int
    gaining: bool
    risen: bool
    loss: tuple[float, float]

    @classmethod
    def of(cls, history: Sequence[JudgedEpoch], best: JudgedEpoch, guessing: float, equal: float) -> _Course:
        losses = [epoch.validation_loss for epoch in history]
        least = min(losses)
        # Class weights turn guessing the classes' shares into guessing equal ones.
        learned = max((guessing if least < guessing else equal) - least, 0.0)
        held = [_above_chance(epoch, guessing) for epoch in history]
        trained = [epoch.training_loss for epoch in history]
        falls = trained[-1] is not None and trained[0] is not None and trained[-1] < trained[0]
        return cls(
            len(history),
            history[losses.index(least)].epoch,
            gaining=best is history[-1] and held[-1] - held[-2] > STILL_GAINING * held[-1],
            risen=falls and losses[-1] - least > RISEN * learned,
            loss=(least, losses[-1]),
        )


def _above_chance(epoch: JudgedEpoch, guessing: float) -> float:
    auc = epoch.validation_roc_auc
    return guessing - epoch.validation_loss if auc is None else auc - 0.5


def _variance(fit: _Fit, course: _Course) -> list[str]:
    lines = ["The model knows training rows better than it knows the rest (variance)."] if fit.wide else []
    if course.risen:
        low, end = course.loss
        lines.append(
            f"The validation loss was lowest at epoch {course.lowest} ({low:.4f}) and rose to {end:.4f} while the"
            " training loss fell: from there on rows were learned by heart (variance)."
        )
    tries = ["raise dropout or weight_decay", "lower hidden_units", "add training rows"]
    if course.risen:
        tries.insert(0, "set early_stopping_epochs to 2 or lower epochs or learning_rate")
    return [*lines, _try(tries), "Where the validation rows are later ones, part of the gap may be drift."]


def _bias(fit: _Fit, course: _Course) -> list[str]:
    weak = fit.training < fit.well
    lines = [f"Not even the training rows are told apart well, which is from {fit.well:g} on (bias)."] if weak else []
    if fit.validation - fit.chance <= ERRORS * fit.error:
        lines.append("Validation rows are told apart no better than by chance: does the label belong to its row?")
    tries = ["widen or deepen hidden_units", "lower dropout or weight_decay", "add features that say more"]
    if course.gaining:
        lines.append("The last epoch still brought much on validation rows (bias): train longer.")
        tries.insert(0, f"raise epochs from {course.epochs} to {2 * course.epochs}, or learning_rate")
    lines.append(_try(tries[:3]))
    if weak:
        lines.append("If a larger network does no better on training rows either, the rest is noise.")
    return [*lines, _odd(fit)]


def _odd(fit: _Fit) -> str:
    if fit.odd:
        return "Validation rows are predicted better than training rows: the splits differ; look how they were made."
    return ""


def _try(tries: Sequence[str]) -> str:
    return "Try: " + "; ".join(tries) + "."


def _sentences(*lines: str) -> str:
    return " ".join(line for line in lines if line)
