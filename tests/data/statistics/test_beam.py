"""Statistics computed on Beam."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statistics_comparison import differences, written
from statistics_tables import made_table

from shipway.components.common.errors import InputError
from shipway.components.data.statistics.generation import generate_statistics


@pytest.fixture
def rows(tmp_path):
    table = made_table(3, rows=3000, columns=20)
    directory = tmp_path / "rows"
    directory.mkdir()
    for index in range(2):
        pq.write_table(table.slice(index * 1500, 1500), directory / f"{index}.parquet")
    return directory, table


@pytest.mark.parametrize("runner", ["DirectRunner", "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
                                    "BundleBasedDirectRunner"])  # fmt: skip
def test_local_runners_write_the_same(runner, rows, tmp_path):
    directory, table = rows
    options = {"weight_column": "weight", "sample_fraction": 0.5, "seed": 7}
    generate_statistics(directory, tmp_path / "here", **options)
    returned = generate_statistics(directory, tmp_path / "beam", beam_options=[f"--runner={runner}"], **options)
    assert returned["columns"] == 21
    assert differences(written(tmp_path / "beam"), written(tmp_path / "here"), table) == []


def test_slices(rows, tmp_path):
    directory, table = rows
    column = next(name for name in table.column_names if name.startswith("bools"))
    generate_statistics(directory, tmp_path / "here", slice_columns=[column])
    generate_statistics(directory, tmp_path / "beam", slice_columns=[column], beam_options=["--runner=DirectRunner"])
    assert len(written(tmp_path / "beam").datasets) == 3
    assert differences(written(tmp_path / "beam"), written(tmp_path / "here"), table) == []


def test_no_rows(tmp_path):
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    generate_statistics(tmp_path / "empty.parquet", tmp_path / "beam", beam_options=["--runner=DirectRunner"])
    assert [feature.path.step[0] for feature in written(tmp_path / "beam").datasets[0].features] == ["n"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--runner=NoSuchRunner", "--temp_location=/tmp"], "NoSuchRunner"), (["--runner=FlinkRunner"], "temp_location")],
)
def test_wrong_options(options, message, rows, tmp_path):
    with pytest.raises(InputError, match=message):
        generate_statistics(rows[0], tmp_path / "beam", beam_options=options)
