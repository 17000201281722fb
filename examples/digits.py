"""Scikit-learn's 1,797 handwritten digits as a table: ``image``, 64 pixels from 0 to 16, row by row, and ``digit``.

``shipway env python lifecycle -m shipway.examples.digits`` writes ``build/digits/digits.parquet``, where
``examples/digits.yaml`` looks for it, below the working directory.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits


def write_digits(directory: Path) -> None:
    """Writes the table ``digits.parquet`` into a directory."""
    digits = load_digits()
    directory.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": digits.data.astype("uint8").tolist(), "digit": digits.target})
    pq.write_table(table, directory / "digits.parquet")


if __name__ == "__main__":
    write_digits(Path("build/digits"))
