from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys

import google_crc32c
import pyarrow as pa
import pytest
import tensorflow as tf

from shipway.components.common.errors import InputError
from shipway.components.data.reading import TypesChanged, open_source, tfrecords


def example(**features):
    """A serialized tf.train.Example."""
    lists = {}
    for name, values in features.items():
        if not values:
            lists[name] = tf.train.Feature()
        elif isinstance(values[0], int):
            lists[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        elif isinstance(values[0], float):
            lists[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            lists[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


@pytest.fixture
def records(tmp_path):
    """Writes records as TensorFlow does."""

    def write(examples, name="data.tfrecord"):
        file = tmp_path / "raw" / name
        file.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(file), "GZIP" if name.endswith(".gz") else None) as out:
            for record in examples:
                out.write(record)
        return file

    return write


def read(path, columns=None, **settings):
    source = open_source(path, **settings)
    batches = [batch for unit in source.units for batch in unit.batches(columns, 100)]
    return pa.Table.from_batches(batches, None if columns else source.schema)


def message(path):
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def numbers(count):
    return [example(n=[n], x=[n / 2], s=[f"x{n}", "y"] if n % 3 else []) for n in range(count)]


@pytest.mark.parametrize("name", ["data.tfrecord", "data.tfrecord.gz", "data.tfrecord-00000-of-00001", "d.tfrecords"])
def test_features_become_lists(records, name, monkeypatch):
    monkeypatch.setattr(tfrecords, "BLOCK_BYTES", 2000)
    file = records(numbers(1000), name)
    table = read(file)
    assert table.schema == pa.schema([
        ("n", pa.large_list(pa.int64())), ("s", pa.large_list(pa.large_binary())), ("x", pa.large_list(pa.float32())),
    ])  # fmt: skip
    assert table["n"].to_pylist() == [[n] for n in range(1000)]
    assert table["x"].to_pylist() == [[n / 2] for n in range(1000)]
    assert table["s"].to_pylist()[:3] == [None, [b"x1", b"y"], [b"x2", b"y"]]
    assert len(open_source(file).units) > 5 or name.endswith(".gz")
    assert read(file, ["x"]).column_names == ["x"]


def test_features_of_rare_records(records, monkeypatch):
    monkeypatch.setattr(tfrecords, "_SAMPLE_RECORDS", 10)
    file = records([*numbers(500), example(n=[1], rare=[2.5])])
    assert open_source(file).schema.names == ["n", "rare", "s", "x"]
    assert read(file)["rare"].to_pylist() == [None] * 500 + [[2.5]]
    with pytest.raises(TypesChanged):
        read(file, optimistic=True)


def test_feature_of_two_types(records):
    mixed = [example(n=[1])] * 300 + [example(n=[1.5])] * 300
    random.Random(0).shuffle(mixed)
    assert "data.tfrecord, in the " in message(records(mixed))
    assert "'n' holds" in message(records([example(n=[1])] * 100_000 + [example(n=[1.5])] * 100_000))


def test_empty_files(records):
    assert "data.tfrecord: is empty" in message(records([]))
    records([], "a.tfrecord"), records(numbers(3), "b.tfrecord"), records([], "c.tfrecord.gz")
    folder = records([], "data.tfrecord").parent
    assert read(folder)["n"].to_pylist() == [[0], [1], [2]]


@pytest.mark.parametrize("packed", [False, True])
def test_cut_short(records, packed):
    file = records(numbers(10), "data.tfrecord.gz" if packed else "data.tfrecord")
    content = file.read_bytes()
    for kept in (len(content) - 1, len(content) - 5, len(content) - 20, 5):
        file.write_bytes(content[:kept])
        assert "ends or breaks" in message(file) if packed else "ends within a record" in message(file)
    plain = gzip.decompress(content) if packed else content
    file.write_bytes(gzip.compress(plain[:-3]) if packed else plain[:-3])
    assert "ends within a record; is the file complete" in message(file)


def test_every_flipped_bit_is_found(records):
    content = records(numbers(2)).read_bytes()
    for place in range(0, len(content), 3):
        broken = bytearray(content)
        broken[place] ^= 1 << place % 8
        file = records([])
        file.write_bytes(bytes(broken))
        assert "checksum does not match" in message(file)


def test_records_that_are_no_examples(records):
    assert "in the 2 records from byte 0" in message(records([b"\xff\xff\xff", example(n=[1])]))
    file = records([])
    file.write_bytes(b"a,b\n1,2\n" * 10)
    assert "record at byte 0: the length's checksum does not match; is the file complete, and a TFRecord" in message(
        file
    )


def test_length_beyond_the_file(records):
    head = struct.pack("<Q", 1 << 60)
    checksum = google_crc32c.value(head)
    file = records([])
    file.write_bytes(head + struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF))
    assert "ends within a record" in message(file)
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert "is longer than an example can be" in message(file)


def test_tensorflow_is_not_loaded(records):
    code = (
        "import sys\nfrom shipway.components.data.reading import open_source\n"
        "for unit in open_source(sys.argv[1]).units: print(next(unit.batches()).num_rows, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(records(numbers(3)))], capture_output=True, text=True)
    assert done.stdout == "3 False\n"
