"""What all detectors share: every batch of the index looked at, the alarms written down."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["run"]

Alarm = tuple[str, ...]
Look = Callable[[str, str], Iterable[Alarm]]


def run(
    prepare: Callable[[Mapping[str, Any]], Look],
    sees: Callable[[str, Mapping[str, Any]], bool] = lambda *_: True,
) -> None:
    """Runs a detector over all sets and writes ``[{"set", …the batch's entry…, "alarms", "seconds"}]``.

    Args:
        prepare: Is given a data set's entry of the index, learns from its reference and returns what looks at one
            batch, given its file and the file of the batch before it. An alarm is a tuple of words: the check, the
            column, and for Shipway the severity. A detector that fails over a batch has raised an alarm too.
        sees: Says of a data set's name and a batch whether the detector looks at it.
    """
    index = json.loads(Path(sys.argv[1]).read_text())
    results = []
    for name, described in index["sets"].items():
        look = prepare(described)
        for batch in (batch for batch in described["batches"] if sees(name, batch)):
            started = time.perf_counter()
            try:
                alarms = sorted(set(look(batch["file"], batch["previous"])))
            except Exception as error:  # noqa: BLE001  whatever it raises, a user would see it
                alarms = [("error", type(error).__name__, str(error)[:200])]
            seconds = time.perf_counter() - started
            results.append({"set": name, **batch, "alarms": alarms, "seconds": round(seconds, 3)})
    Path(sys.argv[2]).write_text(json.dumps(results, indent=1))
