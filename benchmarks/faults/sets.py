"""The data sets of the study and what a user would say of each: label, key, time and the obvious rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from benchmarks.faults.injectors.registry import put

__all__ = ["SETS", "DataSet"]

_SEED = 5


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: What it is called.
        label: The column to be predicted.
        rules: Conditions that hold in every row, as SQL and for a pandas frame.
        contradict: Breaks the last rule in the given rows.
        tables: Makes its tables from the flights' CSV file: ``reference``, and each clean batch by name with the batch
            before it.
        key_columns: The columns that together name a row.
        time_column: The column with each row's time.
    """

    name: str
    label: str
    rules: dict[str, str]
    contradict: Callable[[pa.Table, np.ndarray], pa.Table]
    tables: Callable[[Path], tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]]
    key_columns: tuple[str, ...] = ()
    time_column: str = ""


def _flights(file: Path) -> tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]:
    """January to September is the reference; October to December are the batches, each after its month before."""
    doubles = dict.fromkeys(("dep_time", "dep_delay", "arr_time", "air_time"), pa.float64())
    options = csv.ConvertOptions(
        column_types={**doubles, "time_hour": pa.timestamp("us", "UTC")},
        strings_can_be_null=True,
        null_values=["", "NA"],
    )
    table = csv.read_csv(file, convert_options=options)
    on_time = pc.less_equal(table["arr_delay"], 15).fill_null(False)
    months = table["month"].to_numpy()
    table = table.append_column("late", pc.invert(on_time).cast(pa.int64())).drop(["year", "month", "arr_delay"])
    month = {number: table.filter(pa.array(months == number)) for number in (9, 10, 11, 12)}
    names = {10: "October", 11: "November", 12: "December"}
    batches = {name: (month[number], month[number - 1]) for number, name in names.items()}
    return table.filter(pa.array(months <= 9)), batches


def _thirds(table: pa.Table) -> tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]:
    """A third drawn at random is the reference and the data before; the others are the batches."""
    order = np.random.default_rng(_SEED).permutation(table.num_rows)
    reference, *rest = (table.take(pa.array(np.sort(part))) for part in np.array_split(order, 3))
    return reference, {name: (part, reference) for name, part in zip(("second", "third"), rest, strict=True)}


def _breast_cancer(_: Path) -> tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]:
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    return _thirds(pa.Table.from_pandas(frame.rename(columns=lambda c: c.replace(" ", "_")), preserve_index=False))


def _penguins(_: Path) -> tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]:
    from palmerpenguins import load_penguins

    return _thirds(pa.Table.from_pandas(load_penguins(), preserve_index=False))


def _randhie(_: Path) -> tuple[pa.Table, dict[str, tuple[pa.Table, pa.Table]]]:
    from statsmodels.datasets import randhie

    frame: pd.DataFrame = randhie.load_pandas().data
    whole = frame.columns[(frame % 1 == 0).all()]
    frame = frame.astype(dict.fromkeys(whole, "int64")).assign(visited=(frame["mdvis"] > 0).astype("int64"))
    return _thirds(pa.Table.from_pandas(frame.drop(columns="mdvis"), preserve_index=False))


def _other_minute(table: pa.Table, rows: np.ndarray) -> pa.Table:
    return put(table, "minute", pa.array((table["minute"].to_numpy() + 30) % 60), rows)


def _mean_beyond_worst(table: pa.Table, rows: np.ndarray) -> pa.Table:
    mean, worst = table["mean_radius"], table["worst_radius"]
    return put(put(table, "mean_radius", worst, rows), "worst_radius", mean, rows)


def _gentoo_elsewhere(table: pa.Table, rows: np.ndarray) -> pa.Table:
    names = {"species": "Gentoo", "island": "Torgersen"}
    for name, value in names.items():
        table = put(table, name, pa.array([value] * table.num_rows), rows)
    return table


def _two_healths(table: pa.Table, rows: np.ndarray) -> pa.Table:
    for name in ("hlthg", "hlthf"):
        table = put(table, name, pa.array(np.ones(table.num_rows, np.int64)), rows)
    return table


SETS = (
    DataSet(
        "flights",
        "late",
        {
            "distance > 0": "frame['distance'] > 0",
            "origin <> dest": "frame['origin'] != frame['dest']",
            "hour * 100 + minute = sched_dep_time": "frame['hour'] * 100 + frame['minute'] == frame['sched_dep_time']",
        },
        _other_minute,
        _flights,
        ("time_hour", "carrier", "flight"),
        "time_hour",
    ),
    DataSet(
        "breast_cancer",
        "target",
        {
            "mean_area > 0": "frame['mean_area'] > 0",
            "worst_radius >= mean_radius": "frame['worst_radius'] >= frame['mean_radius']",
        },
        _mean_beyond_worst,
        _breast_cancer,
    ),
    DataSet(
        "penguins",
        "species",
        {
            "body_mass_g > 0": "frame['body_mass_g'].isna() | (frame['body_mass_g'] > 0)",
            "island = 'Biscoe' OR species <> 'Gentoo'": (
                "(frame['island'] == 'Biscoe') | (frame['species'] != 'Gentoo')"
            ),
        },
        _gentoo_elsewhere,
        _penguins,
    ),
    DataSet(
        "randhie",
        "visited",
        {
            "idp IN (0, 1)": "frame['idp'].isin([0, 1])",
            "hlthg + hlthf + hlthp <= 1": "frame['hlthg'] + frame['hlthf'] + frame['hlthp'] <= 1",
        },
        _two_healths,
        _randhie,
    ),
)
