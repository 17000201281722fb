"""Equality with TFDV's own statistics, field by field."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from statistics_comparison import differences, tfdv_from_csv, tfdv_in_memory, tfdv_on_beam, written
from statistics_tables import KINDS, made_table

from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.tfdv import whole_tfdv


def _write(table, directory, rows_per_file=4000):
    directory.mkdir()
    for index, start in enumerate(range(0, max(1, table.num_rows), rows_per_file)):
        part = table.slice(start, rows_per_file)
        pq.write_table(part, directory / f"part-{index:05d}.parquet", row_group_size=1500)
    return directory


def _generated(table, tmp_path, **options):
    generate_statistics(_write(table, tmp_path / "rows"), tmp_path / "statistics", **options)
    return written(tmp_path / "statistics")


@pytest.mark.parametrize("seed", range(40))
def test_made_tables(seed, tmp_path):
    table = made_table(seed)
    ours = _generated(table, tmp_path, processes=1)
    assert differences(ours, tfdv_in_memory(table), table, in_memory=True) == []


@pytest.mark.parametrize("seed", range(40, 50))
def test_weighted_rows(seed, tmp_path):
    table = made_table(seed)
    ours = _generated(table, tmp_path, weight_column="weight", processes=1)
    theirs = tfdv_in_memory(table, "weight")
    assert ours.datasets[0].weighted_num_examples > 0
    assert differences(ours, theirs, table, in_memory=True) == []


def test_small_batches_on_beam(tmp_path):
    """On Beam TFDV counts strings exactly, so here top values that are no UTF-8 are compared too."""
    table = made_table(2, rows=3000, columns=len(KINDS))
    ids = pa.array([f"id {number}" for number in np.random.default_rng(2).integers(0, 2500, 3000)])
    table = table.append_column("ids", ids)
    theirs = tfdv_on_beam(table, tmp_path / "beam.pb", desired_batch_size=100)
    theirs.datasets[0].features.sort(key=lambda feature: table.column_names.index(feature.path.step[0]))
    assert differences(_generated(table, tmp_path), theirs, table) == []


def test_slices(tmp_path):
    """Without missing values, with which TFDV's own slicer sometimes ends the process."""
    draw = np.random.default_rng(1)
    sliced = ["categories", "ints", "small_ints", "floats", "word_lists", "bools"]
    table = pa.table({kind: KINDS[kind](draw, 12) for kind in [*sliced, "codes", "int_lists"]})
    theirs = tfdv_on_beam(table, tmp_path / "beam.pb", sliced)
    ours = _generated(table, tmp_path, slice_columns=sliced)
    names = [dataset.name for dataset in ours.datasets]
    assert names[0] == "All Examples"
    assert all(sum(name.startswith(f"{kind}_") for name in names) > 1 for kind in sliced)
    assert [path for path in differences(ours, theirs, table) if "/place:" not in path] == []


def test_csv(tmp_path):
    rows = [f"{n},{n / 4},{'x' if n % 3 else ''},{'é' * (n % 5)},{n if n % 7 else ''}" for n in range(2000)]
    file = tmp_path / "data.csv"
    file.write_text("\n".join(["whole,part,letter,accents,gaps", *rows]) + "\n", encoding="utf-8")
    theirs = tfdv_from_csv(file, tmp_path / "beam.pb")
    generate_statistics(file, tmp_path / "statistics")
    ours = written(tmp_path / "statistics")
    table = pa.csv.read_csv(file)
    theirs.datasets[0].features.sort(key=lambda feature: table.column_names.index(feature.path.step[0]))
    assert differences(ours, theirs, table) == []


def test_tfrecords(tmp_path):
    import tensorflow as tf

    file = str(tmp_path / "data.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for n in range(500):
            features = {
                "n": tf.train.Feature(int64_list=tf.train.Int64List(value=range(n % 4))),
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=[n / 8])),
                "s": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b%d" % (n % 9)])),
            }
            if n % 5 == 0:
                del features["x"]
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    generate_statistics(file, tmp_path / "statistics")
    with whole_tfdv() as whole:
        theirs = whole.generate_statistics_from_tfrecord(file)
    ours = written(tmp_path / "statistics")
    order = [feature.path.step[0] for feature in ours.datasets[0].features]
    theirs.datasets[0].features.sort(key=lambda feature: order.index(feature.path.step[0]))
    assert differences(ours, theirs, pa.table({name: pa.array([], pa.string()) for name in order})) == []


def test_any_number_of_processes_gives_the_same_bytes(tmp_path):
    source = _write(made_table(5, rows=30_000, columns=len(KINDS)), tmp_path / "rows", 7000)
    for processes in (1, 2, 3):
        generate_statistics(source, tmp_path / str(processes), processes=processes, sample_fraction=0.7)
    for name in ("statistics.pb", "summary.json", "distributions.json"):
        assert len({(tmp_path / str(processes) / name).read_bytes() for processes in (1, 2, 3)}) == 1
