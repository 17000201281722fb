"""CSV read as TensorFlow Data Validation's own decoder reads it: types from all rows, values, missing cells."""

from __future__ import annotations

import random

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx_bsl.coders import csv_decoder

from shipway.components.data.reading import TypesChanged, csv_tables, open_source
from shipway.components.data.reading.records import record_blocks

CELLS = {
    "whole": lambda r: str(r.randint(-(10**6), 10**6)),
    "edge": lambda r: r.choice(["9223372036854775807", "-9223372036854775808", "0", "-0", "007"]),
    "beyond": lambda r: r.choice(["9223372036854775808", "1", "2.5"]),
    "beyond negative": lambda r: r.choice(["-9223372036854775809", "1", ""]),
    "odd whole": lambda r: r.choice(["+5", " 12 ", "1_000", "\t7", "\x0b8", "3"]),
    "hexadecimal": lambda r: r.choice(["0x1F", "12", "0X2"]),
    "hexadecimal apart": lambda r: r.choice(["N50X1", "A0x", "x"]),
    "float": lambda r: repr(r.uniform(-1000, 1000)),
    "exponent": lambda r: r.choice(["1e5", "1E-3", "5", ".5", "5.", "-.5e+2", "1e400", "1e-400", "1e39"]),
    "odd float": lambda r: r.choice(["+1.5", "1_0.5", " 2.5 ", "-inf", "Infinity", "+nan"]),
    "nan": lambda r: r.choice(["nan", "NaN", "-nan", "1"]),
    "not nan": lambda r: r.choice(["nan(1)", "1.5", "nan()"]),
    "large float": lambda r: r.choice(["1e19", "2.5", "inf", "18446744073709551616.0"]),
    "late float": lambda r: "3",
    "late text": lambda r: "4",
    "rare": lambda r: r.choice([""] * 40 + ["8"]),
    "empty": lambda r: "",
    "blank": lambda r: r.choice(["  ", "1", ""]),
    "NA": lambda r: r.choice(["NA", "1", "2"]),
    "null words": lambda r: r.choice(["null", "NULL", "None", "N/A", "true"]),
    "text": lambda r: r.choice(["a", "B c", "é", "日本", "a;b", "0.1.2", "1,5", 'say "no"', "5'", " lead", "trail "]),
    "inch": lambda r: r.choice(["plain", "x"]),
    "dates": lambda r: f"20{r.randint(10, 30)}-01-02",
}


def quoted(cell, generator):
    if any(mark in cell for mark in ',"') or generator.random() < 0.1:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def table(seed):
    """Lines of a made-up table; the last rows widen some columns."""
    generator = random.Random(seed)
    names = generator.sample(sorted(CELLS), generator.randint(1, 9))
    rows = generator.choice([1, 7, 300, 4000])
    lines = [",".join(names)]
    for row in range(rows):
        cells = [CELLS[name](generator) if generator.random() > 0.05 else "" for name in names]
        if row >= rows - 2:
            cells = [{"late float": "0.5", "late text": "x"}.get(n, c) for n, c in zip(names, cells, strict=True)]
        lines.append(",".join(quoted(cell, generator) for cell in cells))
        if generator.random() < 0.01:
            lines.append("")
    return names, lines


def as_tfdv(names, lines):
    """The column types and values, as the pieces of TFDV's decoder find them, without Beam in between."""
    reader = csv_decoder.ParseCSVLine(",")
    reader.setup()
    parsed = [next(iter(reader.process(line))) for line in lines]
    inferrer = csv_decoder.ColumnTypeInferrer(names, skip_blank_lines=True)
    accumulator = inferrer.create_accumulator()
    for cells, _ in parsed:
        accumulator = inferrer.add_input(accumulator, cells)
    infos = inferrer.extract_output(accumulator)
    (batch,) = csv_decoder.BatchedCSVRowsToRecordBatch(skip_blank_lines=True).process(parsed, infos)
    return batch


def read(path, **settings):
    source = open_source(path, **settings)
    batches = [batch for unit in source.units for batch in unit.batches()]
    return pa.Table.from_batches(batches, source.schema)


def same(found, expected):
    assert found.schema.names == expected.schema.names
    assert found.num_rows == expected.num_rows
    for name in found.schema.names:
        mine, theirs = found[name].combine_chunks(), expected.column(expected.schema.get_field_index(name))
        if pa.types.is_null(theirs.type):
            assert pa.types.is_null(mine.type), name
            continue
        kinds = {pa.large_binary(): pa.string()}
        assert mine.type == kinds.get(theirs.type.value_type, theirs.type.value_type), name
        assert mine.is_null().equals(theirs.is_null()), name
        values = theirs.flatten()
        if mine.type == pa.float32():
            np.testing.assert_array_equal(mine.drop_null().to_numpy(), values.to_numpy())
        else:
            assert mine.drop_null().cast(values.type).equals(values), name


@pytest.mark.parametrize("seed", range(40))
def test_types_and_values(seed, csv, monkeypatch):
    monkeypatch.setattr(csv_tables, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(csv_tables, "_SAMPLE_BYTES", 200)
    monkeypatch.setattr(record_blocks, "__defaults__", (2000,))
    names, lines = table(seed)
    ending = random.Random(seed).choice(["\n", "\r\n"])
    file = csv(ending.join(lines) + random.Random(seed).choice(["", ending]))
    same(read(file), as_tfdv(names, lines[1:]))


def test_every_kind_of_cell(csv):
    generator = random.Random(5)
    lines = [",".join(CELLS)] + [",".join(quoted(f(generator), generator) for f in CELLS.values()) for _ in range(500)]
    same(read(csv("\n".join(lines))), as_tfdv(list(CELLS), lines[1:]))


def test_whole_decoder_in_beam(csv):
    names, lines = table(3)
    file = csv("\n".join(lines))
    target = file.with_suffix(".arrow")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read_lines = pipeline | beam.io.ReadFromText(str(file), skip_header_lines=1)
        decoded = read_lines | csv_decoder.CSVToRecordBatch(column_names=names, desired_batch_size=10_000)
        _ = decoded | beam.combiners.ToList() | beam.Map(lambda batches: write(batches, target))
    with pa.OSFile(str(target)) as stream:
        same(read(file), pa.ipc.open_stream(stream).read_all().combine_chunks().to_batches()[0])


def write(batches, target):
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, batches[0].schema) as out:
        for batch in batches:
            out.write_batch(batch)


def test_types_do_not_depend_on_blocks(csv):
    rows = [str(number) for number in range(30_000)]
    for wide, kind in (("1.5", pa.float32()), ("x", pa.string()), ("9" * 19, pa.string()), ("1_0", pa.int64())):
        for place in (0, 15_000, 29_999):
            rows[place] = wide
            file = csv("v\n" + "\n".join(rows) + "\n")
            assert open_source(file).schema.field("v").type == kind
            rows[place] = str(place)


def test_optimistic_source_says_when_it_was_wrong(csv, monkeypatch):
    monkeypatch.setattr(csv_tables, "_SAMPLE_BYTES", 100)
    file = csv("a,b,c\n" + "1,2,\n" * 5000 + "1.5,x,7\n")
    source = open_source(file, optimistic=True)
    assert not source.exact
    assert source.schema.types == [pa.int64(), pa.int64(), pa.null()]
    with pytest.raises(TypesChanged) as change:
        list(source.units[0].batches())
    assert change.value.schema.types == [pa.float32(), pa.string(), pa.int64()]
    assert source.settled(map).schema == change.value.schema == open_source(file).schema


def test_files_share_types(csv):
    csv("a,b\n1,x\n", "one.csv"), csv("b,a\ny,2.5\n", "two.csv")
    both = read(csv("a,b\nz,\n", "zzz.csv").parent)
    assert both.to_pydict() == {"a": ["1", "2.5", "z"], "b": ["x", "y", None]}
