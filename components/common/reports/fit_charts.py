"""How well the same weights do on training and on validation rows, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shipway.components.common.reports.charts import line_chart
from shipway.components.common.reports.markup import element, finite

__all__ = ["fit_curves"]

_SCORES = (("loss", "Log loss"), ("roc_auc", "ROC AUC"))


def fit_curves(history: Sequence[Mapping[str, Any]], best_epoch: int = 0) -> Markup:
    """Returns a chart of the log loss and one of the ROC AUC, each with both curves and the gap between them.

    Args:
        history: ``{"epoch", "training_loss", "validation_loss", "training_roc_auc", "validation_roc_auc"}`` per epoch,
            as in ``model.json``; a score that is nowhere known on both sides is left out.
        best_epoch: The epoch whose weights the model has, whose gap the title tells; 0 for the last one.
    """
    charts = []
    for name, title in _SCORES:
        pairs = [(finite(row.get(f"training_{name}")), finite(row.get(f"validation_{name}"))) for row in history]
        epochs = [float(row["epoch"]) for row in history]
        gaps = {x: b - a for x, (a, b) in zip(epochs, pairs, strict=True) if a is not None and b is not None}
        if not gaps:
            continue
        shown = float(best_epoch) if best_epoch in gaps else max(gaps)
        series = {
            side: [(x, pair[index]) for x, pair in zip(epochs, pairs, strict=True)]
            for index, side in enumerate(("training", "validation"))
        }
        told = f"{title}: validation {gaps[shown]:+.4f} from training at epoch {shown:.0f}"
        charts.append(line_chart(series, title=told, x_label="epoch"))
    if not charts:
        return element("p", "How well training rows are predicted was not measured.", class_="muted")
    return element("div", *charts, class_="charts")
