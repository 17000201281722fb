"""Faults of texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.faults.injectors.registry import (
    SHARES,
    TEXT,
    Batch,
    fault,
    mapped,
    one_of,
    put,
    some_rows,
)

__all__: list[str] = []


@fault(SHARES)
def new_category(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """A value that was never there."""
    return put(batch.table, one_of(rng, batch.names(*TEXT)), "Zebra", some_rows(batch.table, share, rng))


@fault(SHARES)
def typing_errors(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Values with a letter too many."""
    name, rows = one_of(rng, batch.names(*TEXT)), some_rows(batch.table, share, rng)
    return mapped(batch.table, name, lambda v: v[:1] + v, rows)


@fault(SHARES)
def other_case(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Values in the other case of letters."""
    name, rows = one_of(rng, batch.names(*TEXT)), some_rows(batch.table, share, rng)
    return mapped(batch.table, name, str.swapcase, rows)


@fault(SHARES)
def trailing_spaces(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Values with a space at their end."""
    name, rows = one_of(rng, batch.names(*TEXT)), some_rows(batch.table, share, rng)
    return mapped(batch.table, name, lambda v: f"{v} ", rows)


@fault(SHARES)
def wrong_encoding(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Accents read with the wrong encoding."""
    name, rows = one_of(rng, batch.names(*TEXT)), some_rows(batch.table, share, rng)
    return mapped(batch.table, name, lambda v: (v[:-1] + "é").encode().decode("latin-1"), rows)


@fault(SHARES)
def cut_strings(batch: Batch, share: float, rng: np.random.Generator) -> pa.Table:
    """Values lost their last letter."""
    name, rows = one_of(rng, batch.names(*TEXT)), some_rows(batch.table, share, rng)
    return mapped(batch.table, name, lambda v: v[:-1], rows)
