"""The encoder specification: learned once from the training split, the source of every form of the preprocessing.

Raw tensors (see :mod:`.raw`) become two encoded ones, which are what a network takes:

- ``numeric``, float32 ``[rows, width]``, in [0, 1]. Every numeric feature is cut at quantiles of its training values;
  each piece is one column that climbs from 0 to 1 across the piece and stays there (a piecewise linear encoding). What
  lies outside the values seen in training is taken as the nearest seen one, so an outlier or a drifting
  feature cannot push the network where it never was. A missing value is taken as the median and, where training had
  missing values, told by a column of its own. Each value of a vector feature is one column: 0 at the least value of
  the whole feature in training, 1 at the greatest.
- ``categorical``, int64 ``[rows, features]``: the index in the feature's vocabulary. 0 stands for every value
  that training did not see (or saw too rarely); ``""``, the missing value, is a word like others if training had it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing.raw import FeatureKind
from shipway.components.common.preprocessing.vectors import sized

__all__ = [
    "FEWEST_ROWS_OF_A_WORD",
    "Encoders",
    "NumericEncoder",
    "Pieces",
    "StringEncoder",
    "VectorEncoder",
    "learn_encoders",
    "word_indices",
]

MOST_PIECES = 16
ROWS_PER_PIECE = 16
MOST_WORDS = 4096
FEWEST_ROWS_OF_A_WORD = 3

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class NumericEncoder:
    """How one numeric feature is encoded.

    Attributes:
        name: The feature.
        edges: Where the pieces meet, rising, in the feature's unit; none for a feature of one value.
        fill: What a missing value is taken as.
        missing_indicator: Whether a column says that the value is missing.
    """

    name: str
    edges: tuple[float, ...]
    fill: float
    missing_indicator: bool


@dataclass(frozen=True)
class StringEncoder:
    """How one string feature is encoded: the word at position i of the vocabulary becomes i + 1, others become 0."""

    name: str
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class VectorEncoder:
    """How one vector feature is encoded: one straight line from ``low`` to ``high`` for all of its values.

    Attributes:
        name: The feature.
        size: How many values each list has.
        low: The least value seen, which a missing one is taken as.
        high: The greatest value seen.
    """

    name: str
    size: int
    low: float
    high: float


@dataclass(frozen=True)
class Pieces:
    """The pieces of all numeric features side by side, as arrays of one value a column.

    Raw columns are the numeric features, then the values of the vector features one by one.

    Attributes:
        fill: float32 ``[raw columns]``.
        source: int64 ``[columns]``: the raw column that a column comes from.
        low: float32 ``[columns]``: where the column leaves 0.
        slope: float32 ``[columns]``: one over the piece's length.
        indicators: int64: the features whose missing values have a column, behind the pieces.
    """

    fill: Array
    source: Array
    low: Array
    slope: Array
    indicators: Array


@dataclass(frozen=True)
class Encoders:
    """The whole specification; features keep the order of the Dataset's columns.

    Attributes:
        names: All features, in order.
        numeric: The numeric ones, in order.
        strings: The string ones, in order.
        vectors: The vector ones, in order.
    """

    names: tuple[str, ...]
    numeric: tuple[NumericEncoder, ...]
    strings: tuple[StringEncoder, ...]
    vectors: tuple[VectorEncoder, ...] = ()

    @property
    def kinds(self) -> dict[str, FeatureKind]:
        """The kind of every feature, in order."""
        others: dict[str, FeatureKind] = {encoder.name: "string" for encoder in self.strings}
        others.update((encoder.name, "vector") for encoder in self.vectors)
        return {name: others.get(name, "numeric") for name in self.names}

    @property
    def sizes(self) -> dict[str, int]:
        """How many values each vector feature has."""
        return {encoder.name: encoder.size for encoder in self.vectors}

    @property
    def constant(self) -> tuple[str, ...]:
        """The features that had one value in training, or none."""
        found = [e.name for e in self.numeric if not e.edges and not e.missing_indicator]
        found += [e.name for e in self.strings if len(e.vocabulary) < 2]
        return tuple(found)

    @property
    def raw_width(self) -> int:
        """Columns of the raw tensor of numbers: the numeric features, then the vectors' values."""
        return len(self.numeric) + sum(encoder.size for encoder in self.vectors)

    @property
    def numeric_width(self) -> int:
        """Columns of the encoded tensor ``numeric``."""
        pieces = sum(max(len(e.edges) - 1, 0) + e.missing_indicator for e in self.numeric)
        return pieces + sum(encoder.size for encoder in self.vectors)

    def vector_columns(self, name: str) -> slice:
        """Returns the columns of the encoded tensor ``numeric`` that hold a vector feature."""
        start = sum(max(len(encoder.edges) - 1, 0) for encoder in self.numeric)
        for encoder in self.vectors:
            if encoder.name == name:
                return slice(start, start + encoder.size)
            start += encoder.size
        raise KeyError(name)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many indices each string feature has, the one for unseen values counted."""
        return tuple(len(encoder.vocabulary) + 1 for encoder in self.strings)

    @property
    def pieces(self) -> Pieces:
        """The numeric encoders as arrays."""
        edges = [np.asarray(encoder.edges, np.float32) for encoder in self.numeric]
        edges += [np.asarray([v.low, v.high], np.float32) for v in self.vectors for _ in range(v.size)]
        spans = [np.diff(e) for e in edges]
        return Pieces(
            fill=np.asarray(
                [e.fill for e in self.numeric] + [v.low for v in self.vectors for _ in range(v.size)], np.float32
            ),
            source=np.repeat(np.arange(len(edges)), [len(span) for span in spans]).astype(np.int64),
            low=np.concatenate([e[:-1] for e in edges] or [np.zeros(0, np.float32)]),
            slope=(1 / np.concatenate(spans or [np.zeros(0, np.float32)])).astype(np.float32),
            indicators=np.asarray([i for i, e in enumerate(self.numeric) if e.missing_indicator], np.int64),
        )

    def raw(self, tensors: Mapping[str, Array]) -> Array:
        """Returns the numbers of raw tensors side by side: float32 ``[rows, raw_width]``, NaN where missing."""
        rows = len(tensors[self.names[0]])
        raw = np.empty((rows, self.raw_width), np.float32)
        for position, encoder in enumerate(self.numeric):
            raw[:, position] = tensors[encoder.name]
        start = len(self.numeric)
        for vector in self.vectors:
            raw[:, start : start + vector.size] = sized(tensors[vector.name], vector.size, vector.name)
            start += vector.size
        return raw

    def encode(self, tensors: Mapping[str, Array]) -> tuple[Array, Array]:
        """Returns the encoded tensors ``numeric`` and ``categorical`` of raw ones."""
        raw, pieces = self.raw(tensors), self.pieces
        missing = np.isnan(raw)
        filled = np.where(missing, pieces.fill, raw)
        climbed = np.clip((filled[:, pieces.source] - pieces.low) * pieces.slope, 0, 1)
        numeric = np.concatenate([climbed, missing[:, pieces.indicators].astype(np.float32)], axis=1)
        categorical = np.empty((len(raw), len(self.strings)), np.int64)
        for position, strings in enumerate(self.strings):
            categorical[:, position] = word_indices(pa.array(tensors[strings.name], pa.string()), strings.vocabulary)
        return numeric, categorical

    def to_json(self) -> dict[str, Any]:
        """Returns the specification as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Encoders:
        """Returns the specification that :meth:`to_json` gave.

        Raises:
            InputError: When ``value`` is no specification.
        """
        try:
            return cls(
                names=tuple(value["names"]),
                numeric=tuple(NumericEncoder(**{**e, "edges": tuple(e["edges"])}) for e in value["numeric"]),
                strings=tuple(StringEncoder(e["name"], tuple(e["vocabulary"])) for e in value["strings"]),
                vectors=tuple(VectorEncoder(**e) for e in value.get("vectors", ())),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"no encoder specification: {error!r}; was the file written by a train step?") from error


def learn_encoders(tensors: Mapping[str, Array], kinds: Mapping[str, FeatureKind]) -> Encoders:
    """Learns the specification from raw tensors of the training split, each asked for once.

    Raises:
        InputError: When no feature tells rows apart.
    """
    learned = {name: _LEARN[kind](name, tensors[name]) for name, kind in kinds.items()}
    encoders = Encoders(
        names=tuple(kinds),
        numeric=tuple(encoder for encoder in learned.values() if isinstance(encoder, NumericEncoder)),
        strings=tuple(encoder for encoder in learned.values() if isinstance(encoder, StringEncoder)),
        vectors=tuple(encoder for encoder in learned.values() if isinstance(encoder, VectorEncoder)),
    )
    if not encoders.numeric_width and all(len(encoder.vocabulary) < 2 for encoder in encoders.strings):
        raise InputError(
            f"every feature has one value in the training split ({', '.join(kinds)}): there is nothing to learn from"
        )
    return encoders


def _learn_numeric(name: str, values: Array) -> NumericEncoder:
    present = np.sort(values[np.isfinite(values)])
    absent = int(np.isnan(values).sum())
    indicator = 0 < absent < len(values)
    if not len(present):
        return NumericEncoder(name, (), 0.0, indicator)
    pieces = int(np.clip(len(present) // ROWS_PER_PIECE, 2, MOST_PIECES))
    edges = np.unique(present)
    if len(edges) > pieces + 1:
        edges = np.unique(present[np.linspace(0, len(present) - 1, pieces + 1).round().astype(int)])
    if len(edges) < 2:
        edges = edges[:0]
    median = present[(len(present) - 1) // 2]
    return NumericEncoder(name, tuple(float(edge) for edge in edges), float(median), indicator)


def _learn_strings(name: str, values: Array) -> StringEncoder:
    counts = pc.value_counts(pa.array(values, pa.string()))
    words = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    frequent = sorted((-count, word) for word, count in words if count >= FEWEST_ROWS_OF_A_WORD)
    return StringEncoder(name, tuple(sorted(word for _, word in frequent[:MOST_WORDS])))


def _learn_vector(name: str, values: Array) -> VectorEncoder:
    present = values[np.isfinite(values)]
    if not values.shape[1]:
        raise InputError(f"the lists of feature {name!r} are all missing or empty in the training split")
    low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 1.0)
    return VectorEncoder(name, values.shape[1], low, high if high > low else low + 1.0)


_LEARN = {"numeric": _learn_numeric, "string": _learn_strings, "vector": _learn_vector}


def word_indices(words: pa.Array, vocabulary: tuple[str, ...]) -> Array:
    """Returns int64 ``[words]``: the place in the vocabulary, counted from 1, of each word; 0 for one not in it."""
    found = pc.index_in(words, value_set=pa.array(vocabulary, pa.string()))
    return np.asarray(pc.fill_null(pc.add(found, 1), 0).to_numpy(zero_copy_only=False), np.int64)
