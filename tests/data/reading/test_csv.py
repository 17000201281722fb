from __future__ import annotations

import gzip
import pickle
import random
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.reading import csv_tables, open_source
from shipway.components.data.reading.records import record_blocks


def read(path, columns=None, **settings):
    source = open_source(path, **settings)
    batches = [batch for unit in source.units for batch in unit.batches(columns)]
    return pa.Table.from_batches(batches, None if batches else source.schema)


def message(path):
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_tables, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(record_blocks, "__defaults__", (300,))


def test_empty_files(csv):
    for content in (b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
        assert "data.csv: is empty" in message(csv(content))


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "a,b\r\n\r\n", "\ufeffa,b\n", "\n\na,b\n\n\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_header_only(csv, content, packed):
    raw = content.encode()
    file = csv(gzip.compress(raw), "data.csv.gz") if packed else csv(raw)
    table = read(file)
    assert table.num_rows == 0
    assert table.schema == pa.schema([("a", pa.null()), ("b", pa.null())])


def test_ragged_rows_are_named_by_their_line(csv, small_blocks):
    rows = [f'{number},"two\nlines"\n' for number in range(1000)]
    assert "data.csv, line 1202: 1 field where the first line names 2 columns" in message(
        csv("a,b\n" + "".join(rows[:600]) + "600\n" + "".join(rows[600:]))
    )
    assert "line 1202: 3 fields" in message(csv("a,b\n" + "".join(rows[:600]) + "600,,\n"))
    assert "line 3: 1 field where the first line names 2 columns; mend" in message(csv("a,b\n1,2\n3"))


def test_binary_file(csv):
    assert "is no text (it holds NUL bytes)" in message(csv(b"PAR1\x15\x04\x00\x00,\n\x01"))
    assert "line 1: is not UTF-8" in message(csv(random.Random(1).randbytes(5000).replace(b"\0", b"\1")))
    assert "is no text" in message(csv("a,b\n1,2\n".encode("utf-16")))


def test_encodings(csv, small_blocks):
    good = "".join(f"{number},grün\n" for number in range(500))
    file = csv(b"a,b\n" + good.encode() + "7,grün\n".encode("latin-1") + good.encode())
    assert "data.csv, line 502: is not UTF-8; convert it" in message(file)
    assert "line 1: is not UTF-8" in message(csv("grün,b\n1,2\n".encode("latin-1")))
    assert read(csv("\ufeffä,b\r\nö,2\r\n")).to_pydict() == {"ä": ["ö"], "b": [2]}


@pytest.mark.parametrize("seed", range(20))
def test_quoted_line_breaks(csv, seed, small_blocks):
    """Every part and every block ends with a whole record, whatever is inside quotation marks."""
    generator = random.Random(seed)
    words = ["plain", "", "two\nlines", 'say "x"', "a,b", '"', "\n\n", "crlf\r\nend", '","', '"\n"', "long" * 300]
    rows = [(str(number), generator.choice(words), generator.choice(words)) for number in range(300)]
    text = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)
    if seed % 2:
        text += '5" pipe,12" x,3"\n'
        rows.append(('5" pipe', '12" x', '3"'))
    source = open_source(csv("a,b,c\n" + text))
    assert len(source.units) > 10
    found = read(csv("a,b,c\n" + text))
    expected = [tuple(cell or None for cell in row) for row in rows]
    first = [cell if seed % 2 else int(cell) for cell in next(zip(*expected, strict=True))]
    assert list(zip(*found.to_pydict().values(), strict=True)) == [
        (a, *row[1:]) for a, row in zip(first, expected, strict=True)
    ]


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ('a,b\n1,2\n3,"x\n4,5\n', 3, "unexpected end of data"),
        ('a,b\n1,2\n3,"x\n4,"y"\n5,6\n', 3, "',' expected after '\"'"),
        ('a,b\n1,"x"y\n', 2, "',' expected after '\"'"),
        ('a,"b\n1,2\n', 1, "unexpected end of data"),
    ],
)
def test_unbalanced_quotation_marks(csv, content, line, what):
    assert f"data.csv, line {line}: {what}" in message(csv(content))
    assert f"line {line}: {what}" in message(csv(content + ("7,8\n" * 2_000_000 if line > 1 else "")))


def test_lone_carriage_returns_end_lines(csv):
    assert "line 1:" in message(csv("a,b\r1,2\r"))
    assert read(csv("a,b\n1,2\r3,4\r\n")).to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_blank_lines_and_single_columns(csv):
    assert read(csv('a\n1\n\n""\n\r\n2')).to_pydict() == {"a": [1, None, 2]}
    assert read(csv("a\n\n\n")).num_rows == 0
    assert read(csv("a,b\n,\n")).to_pydict() == {"a": [None], "b": [None]}


def test_names(csv):
    assert "line 1: column 'a' is named 2 times" in message(csv("a,b,a\n1,2,3\n"))
    assert "line 1: holds numbers" in message(csv("1,2.5,-3e2\n1,2,3\n"))
    assert read(csv(",A,a\n0,1,2\n")).to_pydict() == {"": [0], "A": [1], "a": [2]}
    assert read(csv('"x,y";"two\nlines"\n1;2\n')).to_pydict() == {"x,y": [1], "two\nlines": [2]}
    assert read(csv("a,b\tc,d\n1\t2\n", "data.tsv")).to_pydict() == {"a,b": [1], "c,d": [2]}
    assert read(csv("a|b\n1|2\n", "data.txt"), format="csv").to_pydict() == {"a": [1], "b": [2]}


def test_wide_table(csv, monkeypatch):
    names = [f"c{number}" for number in range(5000)]
    lines = [",".join(names)] + [",".join(str(row * column % 7) for column in range(5000)) for row in range(50)]
    started = time.monotonic()
    table = read(csv("\n".join(lines)))
    assert table.shape == (50, 5000)
    assert table["c4999"].to_pylist() == [row * 4999 % 7 for row in range(50)]
    assert time.monotonic() - started < 20


def test_cell_of_64_mb(csv):
    cell = b"long text " * 6_400_000
    started = time.monotonic()
    file = csv(b'a,b\n1,"' + cell + b'"\n2,xyz\n')
    source = open_source(file)
    found = [len(cell) for unit in source.units for batch in unit.batches(["b"]) for cell in batch["b"].to_pylist()]
    assert found == [64_000_000, 3]
    assert time.monotonic() - started < 60


def test_row_without_an_end(csv, monkeypatch):
    monkeypatch.setattr("shipway.components.data.reading.records.RECORD_BYTES", 1 << 23)
    row = b"1," + b"x" * (1 << 23)
    assert "line 3: a row of more than 8 MiB begins here" in message(csv(b"a,b\n1,2\n" + row + b"\n"))


def test_packed_files(csv, tmp_path):
    text = "a,b\n" + "".join(f"{number},x{number}\n" for number in range(20_000))
    packed = gzip.compress(text.encode())
    plain = read(csv(text))
    assert read(csv(packed, "one.csv.gz")).equals(plain)
    assert read(csv(packed, "misnamed.csv")).equals(plain)
    several = gzip.compress(b"a,b\n1,x\n") + gzip.compress(b"2,y\n")
    assert read(csv(several, "several.csv.gz")).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert "cut.csv.gz: ends or breaks" in message(csv(packed[: len(packed) // 2], "cut.csv.gz"))
    broken = bytearray(packed)
    broken[-6] ^= 1
    assert "broken.csv.gz: ends or breaks after" in message(csv(bytes(broken), "broken.csv.gz"))


def test_columns_differ_between_files(csv):
    csv("a,b\n1,2\n", "one.csv")
    folder = csv("a,c\n1,2\n", "two.csv").parent
    assert "two.csv: lacks 'b' and has 'c' besides, compared with" in message(folder)


def test_whole_numbers_in_one_part_and_text_in_another(csv, small_blocks):
    text = "a,b\n" + "1,2\n" * 2000 + "x,2\n" + "3,2.5\n"
    table = read(csv(text))
    assert table.schema.types == [pa.string(), pa.float32()]
    assert table["a"].to_pylist() == ["1"] * 2000 + ["x", "3"]


def test_units_are_independent(csv, small_blocks):
    text = "a,b\n" + "".join(f"{number},x\n" for number in range(2000))
    source = pickle.loads(pickle.dumps(open_source(csv(text))))
    assert sum(unit.bytes for unit in source.units) == source.bytes - len("a,b\n")
    backwards = [unit.batches(["b", "a"], 7) for unit in reversed(source.units)]
    batches = [batch for unit in backwards for batch in unit]
    assert max(batch.num_rows for batch in batches) == 7
    table = pa.Table.from_batches(batches)
    assert table.column_names == ["b", "a"]
    assert sorted(table["a"].to_pylist()) == list(range(2000))
    with pytest.raises(InputError, match="no column 'c'"):
        next(source.units[0].batches(["c"]))


def test_file_that_shrinks_is_no_shorter_table(csv, small_blocks):
    text = "a,b\n" + "1,2\n" * 2000
    source = open_source(csv(text))
    csv(text[:4000])
    with pytest.raises(InputError, match="became shorter"):
        [list(unit.batches()) for unit in source.units]


def test_memory_does_not_grow_with_rows(csv):
    """Peak memory of reading 64 MB is that of 8 MB, but for noise."""
    code = (
        "import resource, sys\nfrom shipway.components.data.reading import open_source\n"
        "for unit in open_source(sys.argv[1]).units:\n    for batch in unit.batches(): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for times in (1, 8):
        file = csv("a,b,c\n" + "123456,some text,0.25\n" * 400_000 * times)
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.25 * peaks[0]
