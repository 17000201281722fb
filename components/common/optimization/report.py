"""The page about an optimization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shipway.components.common.optimization.gate import Check
from shipway.components.common.reports import html_page, table

__all__ = ["report_page"]

_TITLES = {
    "bytes": "model.onnx, bytes",
    "gzip_bytes": "model.onnx by gzip, bytes",
    "weights": "weights",
    "nonzero_weights": "weights that are not 0",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss (nats)",
    "latency_1_median_us": "1 row, median (µs)",
    "latency_1_p99_us": "1 row, 99 of 100 below (µs)",
    "latency_64_median_us": "64 rows, median (µs)",
    "latency_64_p99_us": "64 rows, 99 of 100 below (µs)",
}
_NOTES = {
    "pruning": "ONNX Runtime multiplies by zeros too, and a file stores them: pruning saves bytes where the file is"
    " compressed, and no time.",
    "quantization": "The scale of the activations is that of the rows asked together, so a row's scores depend a little"
    " on the rows beside it; the tolerance in golden.json says how much in the golden requests.",
}


def report_page(name: str, record: Mapping[str, Any], checks: Sequence[Check]) -> str:
    """Returns the page as HTML.

    Args:
        name: The model's name.
        record: What ``model.json`` says of the optimization.
        checks: What the bounds say.
    """
    before, after = record["before"], record["after"]
    passed = all(check.passed for check in checks)
    verdict = "Published: every bound holds." if passed else "Refused, no model is published: a bound does not hold."
    bounds = [["passed" if check.passed else "failed", check.bound, check.message] for check in checks]
    numbers = [
        [title, before[key], after[key], f"{after[key] / before[key]:.1%}" if before[key] else None]
        for key, title in _TITLES.items()
    ]
    return html_page(
        f"{record['method'].capitalize()} of {name}",
        [
            ("Verdict", [verdict, table(["", "bound", "what was found"], bounds)]),
            ("Before and after", [table(["", "before", "after", "after / before"], numbers), _NOTES[record["method"]]]),
            ("Settings", table(["setting", "value"], [[key, str(v)] for key, v in record["settings"].items()])),
        ],
        subtitle=f"of {record['parent']}; ONNX Runtime, one thread, before and after in turns",
    )
