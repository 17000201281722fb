"""The demo's flights as Datasets, made by the data family's own steps in its environment.

``python -m benchmarks.training.flights TABLES OUTPUT PARAMETERS TIMES`` writes ``train``, ``validation`` and ``test``,
split and prepared as in the demo, ``small``, all flights that have a label, and ``large``, so many times those.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

_SPLITS = ("train", "validation", "test")


def main(tables: str, output: str, parameters: str, times: str) -> None:
    """Writes the Datasets."""
    import pyarrow as pa

    from shipway.components.common.artifacts import new_directory
    from shipway.components.data.tables import read_dataset, write_dataset

    with new_directory(output) as aside:
        _prepare(tables, aside, json.loads(parameters))
        every = pa.concat_tables([read_dataset(aside / name) for name in _SPLITS])
        write_dataset(every, aside / "small")
        write_dataset(pa.concat_tables([every] * int(times)), aside / "large")


def _prepare(tables: str, output: Path, parameters: dict[str, Any]) -> None:
    from shipway.components.data.ingestion.ingestion import ingest_data
    from shipway.components.data.ingestion.sources import resolve_data
    from shipway.components.data.ingestion.transformation import transform_data
    from shipway.components.data.preparation.preparation import prepare_data
    from shipway.components.data.preparation.splitting import split_data

    label, time_column = parameters["label"], parameters["time_column"]
    validation_from, test_from = str(parameters["validation_from"]), str(parameters["test_from"])
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        ingest_data(tables, resolve_data(tables), place / "tables")
        transform_data(place / "tables", place / "dataset", parameters["sql"])
        split: dict[str, str | Path] = {name: place / name for name in _SPLITS}
        split_data(
            place / "dataset",
            split,
            label=label,
            time_column=time_column,
            validation_from=validation_from,
            test_from=test_from,
        )
        prepared: dict[str, str | Path] = {name: output / name for name in _SPLITS}
        prepare_data(split, prepared, place / "summary.md", label=label, time_column=time_column)


if __name__ == "__main__":
    main(*sys.argv[1:])
