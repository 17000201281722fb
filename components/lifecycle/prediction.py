"""Predictions: a Dataset through ``model.onnx``, the very graph that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files, new_directory, write_json
from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import feature_tensors, label_strings
from shipway.components.common.preprocessing.vectors import sized
from shipway.components.lifecycle.copies import local_copy
from shipway.components.lifecycle.releases import verify
from shipway.serving.engines.onnx import OnnxModel

__all__ = ["predict", "predict_champion"]

_BATCH_ROWS = 65_536


def predict(
    dataset: str | Path, model: str | Path, predictions: str | Path, label: str, slice_columns: list[str]
) -> dict[str, Any]:
    """Writes a Predictions directory.

    Args:
        dataset: A prepared Dataset.
        model: A Model directory.
        predictions: Where to write ``predictions.parquet`` (``key``: row number from 0; ``label``;
            ``score_<class>``, float32; the slice columns) and ``predictions.json`` (which model, how many rows).
        label: The label's column.
        slice_columns: Columns to carry along.

    Returns:
        Metadata: rows, the model's name and digest.

    Raises:
        InputError: When a feature, the label or a slice column is missing or of the wrong type, lists are not as long
            as the model's, the model is damaged, or a label is none that the model knows.
    """
    onnx = OnnxModel(model)
    table = pa.concat_tables([_scored(onnx, table, label, slice_columns) for table in _tables(dataset)])
    table = table.add_column(0, "key", pa.array(np.arange(table.num_rows, dtype=np.int64)))
    description = onnx.description
    source = {"name": description.name, "digest": description.digest, "framework": description.framework}
    with new_directory(predictions) as directory:
        pq.write_table(table, directory / "predictions.parquet", compression="zstd")
        write_json(directory / "predictions.json", {"model": source, "rows": table.num_rows})
    return {"rows": table.num_rows, "model": description.name, "model_digest": description.digest}


def predict_champion(
    dataset: str | Path, champion: str, predictions: str | Path, label: str, slice_columns: list[str]
) -> dict[str, Any]:
    """Does :func:`predict` with a release's model; without a champion writes only ``predictions.json``.

    Raises:
        InputError: As :func:`predict`; the message then says how to go on without this champion.
        ObjectNotFound: When the champion's release is gone.
        DataRejected: When the champion's release was changed.
    """
    if not champion:
        with new_directory(predictions) as directory:
            write_json(directory / "predictions.json", {"model": None, "rows": 0})
        return {"champion": ""}
    verify(champion)
    try:
        metadata = predict(dataset, local_copy(champion) / "model", predictions, label, slice_columns)
    except InputError as error:
        raise InputError(
            f"the champion {champion} cannot be compared on this data: {error}. If the data has changed for good,"
            " use another model_name or release_repository, where this champion does not reign"
        ) from error
    return {**metadata, "champion": champion.rstrip("/").rpartition("/")[2]}


def _tables(dataset: str | Path) -> list[pa.Table]:
    """Returns the Dataset's rows in pieces small enough to score."""
    tables = [
        pa.Table.from_batches([batch])
        for file in dataset_files(dataset)
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS)
    ]
    if not sum(table.num_rows for table in tables):
        raise InputError(f"the Dataset at {dataset} has no rows: there is nothing to predict")
    return tables


def _scored(onnx: OnnxModel, table: pa.Table, label: str, slice_columns: list[str]) -> pa.Table:
    absent = sorted({label, *slice_columns} - set(table.column_names))
    if absent:
        raise InputError(
            f"the Dataset has no column {', '.join(absent)} (the label or a slice column);"
            f" it has {', '.join(table.column_names)}"
        )
    description = onnx.description
    labels = label_strings(table.column(label))
    strangers = sorted(set(labels) - set(description.label_names))
    if strangers:
        raise InputError(
            f"the label column {label!r} has values that the model {description.name} was not trained on:"
            f" {', '.join(strangers[:5])}; it knows {', '.join(description.label_names)}"
        )
    tensors = feature_tensors(table, description.kinds)
    tensors |= {name: sized(tensors[name], size, name) for name, size in description.sizes.items()}
    scores, _ = onnx.run(tensors)
    columns = {"label": pa.array(labels, pa.string())}
    columns |= {f"score_{name}": pa.array(scores[:, index]) for index, name in enumerate(description.label_names)}
    columns |= {name: _slice_values(table.column(name), name) for name in slice_columns}
    return pa.table(columns)


def _slice_values(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if pa.types.is_nested(column.type):
        raise InputError(f"the slice column {name!r} holds lists ({column.type}); slice by a column of single values")
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column
