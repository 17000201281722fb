"""The step that writes statistics: its files, options and errors."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statistics_comparison import written

from shipway.components.common.errors import InputError, ShipwayError
from shipway.components.data.reading import open_source
from shipway.components.data.statistics.generation import EXACT_DISTINCT, generate_statistics
from shipway.components.data.statistics.workers import in_processes

_WHILE_WORKING = """
import os, sys, time
from shipway.components.data.statistics.workers import in_processes
for _ in in_processes(lambda index, item: os.write(1, b"%d\\n" % os.getpid()) and time.sleep(60), [1, 2], 2):
    pass
"""

_PEAK = """
import resource, sys
from shipway.components.data.statistics.generation import generate_statistics
generate_statistics(sys.argv[1], sys.argv[2], processes=2)
print(sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""

_PANDAS = """
import sys
import pyarrow as pa
from shipway.components.data.statistics.generation import generate_statistics
generate_statistics(sys.argv[1], sys.argv[2], processes=1)
loaded = "pandas" in sys.modules
import pandas as pd
print(loaded, pa.array(pd.Series([1.0, float("nan")])).null_count)
"""


@pytest.fixture
def generate(tmp_path):
    """Writes a table as Parquet, and returns its statistics, summary and distributions."""

    def run(table, files=1, **options):
        rows = tmp_path / "rows"
        rows.mkdir(exist_ok=True)
        size = -(-table.num_rows // files) or 1
        for index in range(files):
            pq.write_table(table.slice(index * size, size), rows / f"part-{index}.parquet", row_group_size=10_000)
        generate_statistics(rows, tmp_path / "out", **options)
        read = [json.loads((tmp_path / "out" / name).read_text()) for name in ("summary.json", "distributions.json")]
        return written(tmp_path / "out"), *read

    return run


def _by_name(statistics, dataset=0):
    return {feature.path.step[0]: feature for feature in statistics.datasets[dataset].features}


def test_distributions_say_what_was_counted(generate):
    numbers = pa.array([1, 1, 2, None, 5], pa.int64())
    floats = pa.array([0.5, float("nan"), float("inf"), 2.5, 1.5], from_pandas=False)
    _, summary, found = generate(pa.table({"n": numbers, "f": floats, "s": ["x", "y", None, "x", ""]}))
    assert found["rows"] == summary["rows"] == 5
    assert found["columns"]["n"]["values"] == {"1": 2, "2": 1, "5": 1}
    assert found["columns"]["n"]["missing"] == 1
    assert found["columns"]["f"]["nan"] == 1
    assert found["columns"]["f"]["quantiles"][0::50] == [0.5, 1.5, 2.5]
    assert found["columns"]["s"] == {
        "kind": "string", "missing": 1, "nan": 0, "quantiles": None, "values": {"x": 2, "y": 1, "": 1},
        "other": 0, "distinct": 3,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["normal", "integers"])
def test_quantiles_of_many_values_are_within_the_sketches_error(kind, generate):
    draw = np.random.default_rng(4)
    values = draw.normal(size=60_000) if kind == "normal" else draw.integers(0, 1 << 40, 60_000)
    _, _, found = generate(pa.table({"x": values}), files=3)
    ranks = np.searchsorted(np.sort(values), found["columns"]["x"]["quantiles"]) / len(values)
    assert np.abs(ranks - np.arange(101) / 100).max() < 0.01
    assert len(found["columns"]["x"]["quantiles"]) == 101


def test_more_strings_than_are_counted_go_to_the_sketch(generate):
    rows = EXACT_DISTINCT + 30_000
    values = pa.array(["common"] * 20_000 + [f"id {number}" for number in range(rows)])
    statistics, _, found = generate(pa.table({"s": values}), files=4)
    stats = _by_name(statistics)["s"].string_stats
    assert stats.unique == pytest.approx(rows, rel=0.05)
    assert stats.top_values[0].value == "common"
    assert stats.top_values[0].frequency == pytest.approx(20_000, abs=len(values) / 1024)
    assert stats.avg_length == pytest.approx(np.mean([len(value) for value in values.to_pylist()]), rel=1e-6)
    assert found["columns"]["s"]["values"]["common"] == pytest.approx(20_000, abs=300)
    assert found["columns"]["s"]["other"] == pytest.approx(rows, abs=1000)


def test_long_strings_are_not_copied_into_the_statistics(generate):
    statistics, _, found = generate(pa.table({"s": ["x" * 2_000_000, "y" * 5000, "short"]}))
    stats = _by_name(statistics)["s"].string_stats
    assert stats.unique == 3
    assert [(top.value, top.frequency) for top in stats.top_values] == [("__LARGE_BYTES__", 2.0), ("short", 1.0)]
    assert found["columns"]["s"]["values"] == {"__LARGE_BYTES__": 2, "short": 1}


def test_dates_beyond_pandas(generate):
    dates = pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None])
    stamps = pa.array([-62_135_596_800_000_000, 253_402_300_799_000_000, None], pa.timestamp("us"))
    statistics, _, _ = generate(pa.table({"d": dates, "t": stamps}))
    assert _by_name(statistics)["d"].num_stats.min == -62_135_596_800
    assert _by_name(statistics)["t"].num_stats.max == 253_402_300_799


def test_no_rows(generate):
    table = pa.table(
        {"n": pa.array([], pa.int64()), "s": pa.array([], pa.string()), "l": pa.array([], pa.list_(pa.int64()))}
    )
    statistics, summary, found = generate(table)
    assert statistics.datasets[0].num_examples == summary["rows"] == found["rows"] == 0
    assert [column["name"] for column in summary["columns"]] == ["n", "s", "l"]


def test_five_thousand_columns(generate):
    texts = pa.array([str(number) for number in range(20)])
    table = pa.table({f"c{index}": texts if index % 20 else np.arange(20) + index for index in range(5000)})
    statistics, summary, _ = generate(table)
    assert len(summary["columns"]) == 5000
    assert _by_name(statistics)["c4980"].num_stats.max == 4999


def test_memory_does_not_grow_with_the_rows(tmp_path):
    draw = np.random.default_rng(0)
    words = pa.array([f"word {number}" for number in draw.integers(0, 3000, 100_000)])
    table = pa.table({"n": draw.integers(0, 2000, 100_000), "f": draw.normal(size=100_000), "s": words})
    peaks = []
    for times in (2, 20):
        with pq.ParquetWriter(tmp_path / f"{times}.parquet", table.schema) as writer:
            for _ in range(times):
                writer.write_table(table)
        command = [sys.executable, "-c", _PEAK, str(tmp_path / f"{times}.parquet"), str(tmp_path / "out")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.15 * peaks[0]


def test_pandas_is_not_loaded_but_can_be_afterwards(tmp_path):
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), table)
    ran = subprocess.run([sys.executable, "-c", _PANDAS, table, tmp_path / "out"], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("False 1\n", "")


def test_files_whose_types_differ(tmp_path):
    for name, values in (("a", pa.array([1, 2], pa.int32())), ("b", [0.5, float("nan")]), ("c", pa.nulls(2))):
        pq.write_table(pa.table({"n": values}), tmp_path / f"{name}.parquet")
    generate_statistics(tmp_path, tmp_path / "_out")
    told = json.loads((tmp_path / "_out" / "distributions.json").read_text())
    assert told["columns"]["n"]["missing"] == 2
    assert told["relations"]["duplicate_share"] == pytest.approx(1 / 6)


def test_slices_are_further_datasets(generate):
    table = pa.table({"c": ["b", "a", None, "b"], "n": [1, 2, 3, 5]})
    statistics, summary, _ = generate(table, slice_columns=["c", "n"])
    names = [dataset.name for dataset in statistics.datasets]
    assert names == ["All Examples", "c_a", "c_b", "n_1", "n_2", "n_3", "n_5"]
    assert _by_name(statistics, names.index("c_b"))["n"].num_stats.mean == 3
    assert summary["rows"] == 4


def test_samples_are_the_same_rows_whatever_the_number_of_processes(generate):
    table = pa.table({"n": np.arange(50_000)})
    found = [generate(table, files=2, sample_fraction=0.1, seed=3, processes=count)[0] for count in (1, 2)]
    assert found[0] == found[1]
    assert found[0].datasets[0].num_examples == pytest.approx(5000, abs=300)
    assert generate(table, files=2, sample_fraction=0.1, seed=4)[0] != found[0]


def test_progress(generate):
    shares = []
    generate(pa.table({"n": np.arange(100_000)}), files=5, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slice_columns": ["cc"]}, "did you mean 'c'"),
        ({"weight_column": "w"}, "no column 'w'"),
        ({"weight_column": "c"}, "holds no numbers"),
        ({"weight_column": "gaps"}, "has missing values"),
        ({"sample_fraction": 0.0}, "sample_fraction is 0.0"),
        ({"slice_columns": ["many"]}, "more than 1000 slices"),
    ],
)
def test_wrong_options(options, message, generate):
    table = pa.table({"c": ["a"] * 2000, "gaps": [None, 1.0] * 1000, "many": np.arange(2000)})
    with pytest.raises(InputError, match=message):
        generate(table, **options)


def test_what_is_no_source(tmp_path):
    with pytest.raises(InputError, match="without readable files"):
        generate_statistics(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_named(generate, tmp_path):
    generate(pa.table({"n": np.arange(40_000)}), files=2)
    file = tmp_path / "rows" / "part-1.parquet"
    content = bytearray(file.read_bytes())
    content[100:60_000] = os.urandom(59_900)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"part-1\.parquet"):
        generate_statistics(tmp_path / "rows", tmp_path / "again", processes=2)
    assert not (tmp_path / "again").exists()


def test_csv_of_a_type_that_no_sample_told(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("n\n" + "1\n" * 1_000_000 + "x\n")
    generate_statistics(file, tmp_path / "out", processes=2)
    assert _by_name(written(tmp_path / "out"))["n"].string_stats.unique == 2
    assert open_source(file).schema.field("n").type == pa.string()


def test_a_killed_process_is_an_error_that_names_the_file():
    with pytest.raises(ShipwayError, match="read b was killed by signal 9"):
        list(in_processes(lambda _, item: os.kill(os.getpid(), 9) if item == "b" else item, ["a", "b"], 2))


def test_a_fault_in_a_process_is_an_error_that_names_the_file():
    with pytest.raises(ShipwayError, match="0: ZeroDivisionError"):
        list(in_processes(lambda _, item: 1 // item, [1, 0], 2))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_their_parent(how):
    with subprocess.Popen([sys.executable, "-c", _WHILE_WORKING], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
        parent.wait()
        deadline = time.monotonic() + 10
        while any(_runs(worker) for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False
