"""What was done to the splits, told in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Notes", "Tables", "escaped", "listed"]

Tables = dict[str, pa.Table]


class Notes:
    """What was done to the splits, in order, for the summary."""

    def __init__(self, rows: dict[str, int]):
        self._rows = rows
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Adds one sentence in Markdown."""
        self._lines.append(line)

    def markdown(self, tables: Tables, label: str) -> str:
        """Returns the summary: rows and classes of each split before and after, and the sentences."""
        classes = sorted(set(pc.unique(tables["train"][label]).to_pylist()), key=str)
        shown = classes[:10]
        head = ["split", "rows in", "rows out", *(escaped(f"{label} = {value}") for value in shown)]
        lines = ["# Prepared data", "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
        for name, table in tables.items():
            counts = {c["values"]: c["counts"] for c in pc.value_counts(table[label]).to_pylist()}
            shares = [f"{counts.get(value, 0):,} ({counts.get(value, 0) / table.num_rows:.1%})" for value in shown]
            lines.append(_row([name, f"{self._rows[name]:,}", f"{table.num_rows:,}", *shares]))
        if len(classes) > len(shown):
            lines += ["", f"The first {len(shown)} of {len(classes)} classes are shown."]
        lines += ["", *(f"- {line}" for line in self._lines)]
        return "\n".join(lines) + "\n"


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Returns names after each other, safe in Markdown, at most ``limit`` of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(escaped(name) for name in names[:limit]) + more


def escaped(text: str) -> str:
    """Returns text that Markdown shows as it is."""
    for character in "\\`*_{}[]<>|":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
