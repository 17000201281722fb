"""Training and validation curves and the gap between them."""

import xml.etree.ElementTree as ET

from shipway.components.common.reports.fit_charts import fit_curves

HISTORY = [
    {"epoch": 1, "training_loss": 0.6, "validation_loss": 0.62, "training_roc_auc": None, "validation_roc_auc": 0.61},
    {"epoch": 2, "training_loss": 0.5, "validation_loss": 0.56, "training_roc_auc": 0.71, "validation_roc_auc": 0.66},
    {"epoch": 3, "training_loss": 0.4, "validation_loss": 0.58, "training_roc_auc": 0.8, "validation_roc_auc": 0.65},
]


def figures(markup):
    """Returns the title and the names of the lines of every chart."""
    root = ET.fromstring(f"<root>{markup}</root>")
    return [
        (
            figure.findtext("figcaption"),
            {line.findtext("title") for line in figure.iter("path") if "line" in line.get("class", "").split()}
            - {None},
        )
        for figure in root.iter("figure")
    ]


def test_each_score_has_both_curves_and_its_gap():
    both = {"training", "validation"}
    assert figures(fit_curves(HISTORY, 2)) == [
        ("Log loss: validation +0.0600 from training at epoch 2", both),
        ("ROC AUC: validation -0.0500 from training at epoch 2", both),
    ]


def test_the_gap_is_of_the_last_epoch_that_has_one_when_none_is_named_or_the_named_one_has_none():
    assert [title[-7:] for title, _ in figures(fit_curves(HISTORY))] == ["epoch 3", "epoch 3"]
    assert [title[-7:] for title, _ in figures(fit_curves(HISTORY, 1))] == ["epoch 1", "epoch 3"]


def test_scores_that_are_not_known_on_both_sides_are_left_out():
    history = [{"epoch": 1, "training_loss": 0.6, "validation_loss": 0.7, "validation_roc_auc": 0.5}]
    assert [title for title, _ in figures(fit_curves(history))] == [
        "Log loss: validation +0.1000 from training at epoch 1"
    ]
    assert "not measured" in fit_curves([])
    assert "not measured" in fit_curves([{"epoch": 1, "loss": 0.1}])
