"""From Parquet to batches: every row once, in an order that seed and epoch decide, whatever the files are like."""

import subprocess
import sys
import threading
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import feature_tensors
from shipway.components.common.training import Hyperparameters, open_training_data
from shipway.components.common.training.input import windows
from shipway.components.common.training.input.batches import Prefetched


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    number = rng.normal(size=count)
    number[rng.random(count) < 0.1] = np.nan
    words = rng.choice(["a", "b", "c", "déjà", ""], count)
    return pa.table(
        {
            "id": np.arange(count),
            "number": pa.array(number, from_pandas=True),
            "word": pa.array([word or None for word in words]),
            "code": pa.array([str(i % 50) for i in range(count)]).dictionary_encode(),
            "list": pa.array(rng.normal(size=(count, 3)).tolist(), pa.list_(pa.float32())),
            "flag": rng.random(count) < 0.5,
            "label": rng.integers(0, 3, count),
        }
    )


def dataset(path, table, group_rows, files=1):
    path.mkdir(parents=True)
    size = -(-table.num_rows // files)
    for number in range(files):
        part = table.slice(number * size, size)
        pq.write_table(part, path / f"part-{number:05}.parquet", row_group_size=group_rows)
    return path


def opened(root, table, group_rows=1000, files=1, **settings):
    train = dataset(root / f"train-{group_rows}-{files}", table, group_rows, files)
    validation = root / "validation"
    if not validation.exists():
        dataset(validation, rows_of(400, 9), 100)
    return open_training_data(train, validation, "label", Hyperparameters(**settings))


def ids(batches):
    return [batch.raw[:, 0].astype(int).tolist() for batch in batches]


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "_WINDOW_ROWS", 1500)
    monkeypatch.setattr(windows, "_FEWEST_ROWS", 100)


@pytest.mark.parametrize(("group_rows", "files"), [(7, 1), (1000, 1), (1000, 3), (100_000, 1), (333, 5)])
@pytest.mark.parametrize("rows_per_step", [1, 64, 999, 5000])
def test_an_epoch_has_every_row_once_in_full_batches(tmp_path, small_windows, group_rows, files, rows_per_step):
    data = opened(tmp_path, rows_of(4321), group_rows, files)
    batches = ids(data.train.batches(rows_per_step, 0, 0))
    assert [len(batch) for batch in batches[:-1]] == [rows_per_step] * (len(batches) - 1)
    assert sorted(chain(*batches)) == list(range(4321))
    assert list(chain(*batches)) != list(range(4321))


def test_rows_keep_their_values_labels_and_weights(tmp_path, small_windows):
    table = rows_of(3000)
    weights = np.random.default_rng(4).random(3000) * 3
    data = opened(tmp_path, table.append_column("sample_weight", pa.array(weights)), 700, 2)
    kinds = data.encoders.kinds
    assert kinds == {
        "id": "numeric",
        "number": "numeric",
        "word": "string",
        "code": "string",
        "list": "vector",
        "flag": "numeric",
    }
    tensors = feature_tensors(table, kinds)
    raw, (_, categorical) = data.encoders.raw(tensors), data.encoders.encode(tensors)
    for batch in data.train.batches(100, 1, 0):
        chosen = batch.raw[:, 0].astype(int)
        np.testing.assert_array_equal(batch.raw, raw[chosen])
        np.testing.assert_array_equal(batch.categorical, categorical[chosen])
        np.testing.assert_array_equal(batch.labels, table.column("label").to_numpy()[chosen])
        np.testing.assert_allclose(batch.weights, weights[chosen] / weights.mean(), rtol=1e-5)


def test_the_order_follows_from_seed_and_epoch(tmp_path, small_windows):
    data = opened(tmp_path, rows_of(3000), 500)
    order = ids(data.train.batches(64, 3, 2))
    assert order == ids(data.train.batches(64, 3, 2))
    assert order != ids(data.train.batches(64, 3, 1))
    assert order != ids(data.train.batches(64, 4, 2))


@pytest.mark.parametrize("first_step", [1, 7, 23, 40, 46])
def test_an_epoch_is_taken_up_at_any_step(tmp_path, small_windows, first_step):
    data = opened(tmp_path, rows_of(3000), 450)
    assert ids(data.train.batches(64, 3, 2, first_step)) == ids(data.train.batches(64, 3, 2))[first_step:]


def test_shards_of_a_batch_are_the_whole_batch(tmp_path, small_windows):
    data = opened(tmp_path, rows_of(3000), 450)
    shards = [ids(data.train.batches(64, 0, 0, shard=(rank, 3))) for rank in range(3)]
    for whole, *parts in zip(ids(data.train.batches(64, 0, 0)), *shards, strict=True):
        assert sorted(chain(*parts)) == sorted(whole)


def test_a_last_batch_with_fewer_rows_than_shards_leaves_none_empty(tmp_path):
    data = opened(tmp_path, rows_of(3001), 450)
    lasts = [[*data.train.batches(100, 0, 0, shard=(rank, 3))].pop() for rank in range(3)]
    assert [batch.rows for batch in lasts] == [1, 1, 1]
    assert [float(batch.weights[0]) for batch in lasts] == [1, 0, 0]


def test_rows_of_sorted_files_are_well_mixed(tmp_path, small_windows):
    data = opened(tmp_path, rows_of(20_000), 1000)
    means = [np.mean(batch) for batch in ids(data.train.batches(500, 0, 0))]
    assert np.std(means) < 20_000 / np.sqrt(12) / 2


def test_a_split_that_fits_a_window_is_shuffled_wholly_whatever_its_row_groups(tmp_path):
    data = opened(tmp_path, rows_of(60_000), 30_000)
    means = [np.mean(batch) for batch in ids(data.train.batches(1000, 0, 0))]
    chance = 60_000 / np.sqrt(12 * 1000)
    assert 0.5 * chance < np.std(means) < 1.5 * chance


def test_balanced_sampling_draws_every_class_as_often(tmp_path):
    table = rows_of(6000)
    rare = np.where(np.arange(6000) % 20 == 0, "rare", "common")
    table = table.set_column(6, "label", pa.array(rare))
    train, validation = dataset(tmp_path / "t", table, 500), dataset(tmp_path / "v", table.slice(0, 500), 500)
    data = open_training_data(train, validation, "label", Hyperparameters(sampling="balanced"))
    labels = np.concatenate([batch.labels for batch in data.train.batches(100, 0, 0)])
    assert len(labels) == 6000
    assert abs(labels.mean() - 0.5) < 0.03
    weighted = open_training_data(train, validation, "label", Hyperparameters(class_weights="balanced"))
    batches = list(weighted.train.batches(100, 0, 0))
    sums = [sum(batch.weights[batch.labels == c].sum() for batch in batches) for c in (0, 1)]
    np.testing.assert_allclose(sums, 3000, rtol=1e-4)


def test_judging_takes_all_rows_in_order(tmp_path, small_windows):
    data = opened(tmp_path, rows_of(3000), 450)
    batches = list(data.validation.in_order(33))
    assert list(chain(*ids(batches))) == list(range(400))
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), data.validation_labels)
    assert data.train.spread(300).raw[:, 0].tolist() == list(range(0, 3000, 10))


def test_a_damaged_file_is_an_error_and_no_hang(tmp_path):
    data = opened(tmp_path, rows_of(30_000), 1000)
    (file,) = (tmp_path / "train-1000-1").glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[1000:200_000] = bytes(199_000)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"the training split at .* cannot be read"):
        list(data.train.batches(100, 0, 0))


def test_lists_of_different_lengths_are_refused(tmp_path):
    table = pa.table({"list": [[1.0, 2.0], [1.0]] * 50, "label": ["a", "b"] * 50})
    path = dataset(tmp_path / "d", table, 10)
    with pytest.raises(InputError, match="the lists of column 'list' have 1 to 2 values"):
        open_training_data(path, path, "label", Hyperparameters())


def test_files_with_other_columns_are_refused(tmp_path):
    path = dataset(tmp_path / "d", rows_of(100), 10)
    pq.write_table(rows_of(10).drop_columns(["flag"]), path / "part-00001.parquet")
    with pytest.raises(InputError, match=r"part-00001.parquet has other columns than"):
        open_training_data(path, path, "label", Hyperparameters())


def test_what_is_prefetched_ends_with_its_thread_and_its_error():
    def failing():
        yield 1
        raise InputError("damaged")

    items = Prefetched(failing(), 1)
    assert next(items) == 1
    with pytest.raises(InputError, match="damaged"):
        next(items)
    before = threading.active_count()
    endless = Prefetched(iter(int, 1), 2)
    assert next(endless) == 0
    endless.close()
    assert list(endless) == []
    assert threading.active_count() == before


PEAK = """
import resource, sys
from shipway.components.common.training import Hyperparameters, open_training_data
from shipway.components.common.training.input import windows
windows._WINDOW_ROWS = 1 << 16
data = open_training_data(sys.argv[1], sys.argv[1], "label", Hyperparameters())
for epoch in range(2):
    rows = sum(batch.rows for batch in data.train.batches(2048, 0, epoch))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    table = rows_of(150_000).drop_columns(["id"])
    peaks = []
    for times in (2, 12):
        path = dataset(tmp_path / str(times), pa.concat_tables([table] * times), 50_000, 2)
        said = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True).stdout
        rows, peak = map(int, said.split())
        assert rows == 150_000 * times
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "label",
            [1.0, np.inf, 0.0],
            "1 of 3 rows have no label, or an infinite one, in 'label' of the validation split",
        ),
        (
            "label",
            [1.0, None, np.nan],
            "2 of 3 rows have no label, or an infinite one, in 'label' of the validation split",
        ),
        ("sample_weight", ["much", "1", "1"], "sample_weight of the validation split must hold numbers"),
    ],
)
def test_labels_and_weights_that_are_none_are_told_with_their_split(tmp_path, column, values, message):
    table = rows_of(3).set_column(6, "label", pa.array([1.0, 0.0, 1.0]))
    place = table.schema.get_field_index(column)
    held_out = table.drop_columns([column] if place >= 0 else []).append_column(column, pa.array(values))
    dataset(tmp_path / "train", table, 3)
    dataset(tmp_path / "validation", held_out, 3)
    with pytest.raises(InputError, match=message):
        open_training_data(tmp_path / "train", tmp_path / "validation", "label", Hyperparameters())
