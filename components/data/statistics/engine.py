"""TFDV's statistics of rows, gathered batch by batch and part by part.

Columns with at most one number or string a row are counted (``numbers``, ``strings``), which is much quicker than
TFDV's way over lists and gives exact results while the distinct values are few; what is known of them goes into
TFDV's accumulator at the end. All other columns, and all columns of weighted rows, go through TFDV's own generators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx_bsl.arrow import array_util
from tfx_bsl.statistics import merge_util

from shipway.components.common.errors import InputError
from shipway.components.data.statistics.columns import empty_batch, is_number, is_text, listed_batch, plain_batch
from shipway.components.data.statistics.numbers import MOST_NUMBERS, Numbers
from shipway.components.data.statistics.strings import Strings, Top
from shipway.components.data.tfdv import stats_impl, top_k_uniques_stats_util
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["EXACT_DISTINCT", "Gathered", "Plan"]

EXACT_DISTINCT = 100_000

_HELD_VALUES = 1 << 23


@dataclass(frozen=True)
class Plan:
    """What is to be computed of which columns.

    Attributes:
        schema: The columns; types as :func:`plain_batch` makes them.
        weight_column: The column with the rows' weights; empty for none.
    """

    schema: pa.Schema
    weight_column: str = ""

    @classmethod
    def of(cls, schema: pa.Schema, weight_column: str = "") -> Plan:
        """Makes the plan for columns of any type.

        Raises:
            InputError: When the column of weights is missing or holds no numbers.
        """
        plain = plain_batch(empty_batch(schema)).schema
        if weight_column and weight_column not in plain.names:
            raise InputError(f"no column {weight_column!r} to weigh rows by; there are {', '.join(plain.names)}")
        if weight_column and not is_number(plain.field(weight_column).type):
            raise InputError(f"rows cannot be weighed by {weight_column!r}: it holds no numbers")
        return cls(plain, weight_column)

    def options(self) -> Any:
        """TFDV's options."""
        return tfdv.StatsOptions(weight_feature=self.weight_column or None)

    def limit(self) -> int:
        """How many distinct values of a column are counted exactly: fewer with very many columns."""
        return min(EXACT_DISTINCT, max(1000, _HELD_VALUES // max(1, len(self.schema))))


class Gathered:
    """Statistics of some rows; those of other rows can be merged in.

    Attributes:
        rows: How many there are.
        numbers: What is known of columns with at most one number a row.
        strings: What is known of columns of strings, lists of strings among them.
    """

    def __init__(self, plan: Plan) -> None:
        options = plan.options()
        limit = plan.limit()
        self.rows = 0
        self.numbers: dict[str, Numbers] = {}
        self.strings: dict[str, Strings] = {}
        self._plan = plan
        self._through_tfdv: list[int] = []
        self._nested: list[int] = []
        for index, field in enumerate(plan.schema):
            text = is_text(_innermost(field.type))
            if text:
                self.strings[field.name] = Strings(limit, options.num_rank_histogram_buckets)
            elif not plan.weight_column and is_number(field.type):
                self.numbers[field.name] = Numbers(options.epsilon, min(limit, MOST_NUMBERS))
            if plan.weight_column or not (is_number(field.type) or is_text(field.type)):
                self._through_tfdv.append(index)
            if pa.types.is_struct(_innermost(field.type)):
                self._nested.append(index)
        self._basic, self._sketch = (generator.create_accumulator() for generator in _generators(plan))

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes in rows; columns and types are those of the plan."""
        self.rows += batch.num_rows
        weights = self._weights(batch)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, numbers in self.numbers.items():
            numbers.add(columns[name].drop_null())
        for name, strings in self.strings.items():
            column = columns[name]
            if weights is None and is_text(column.type):
                strings.add(column.drop_null())
            else:
                _add_listed(strings, column, weights)
        basic, sketch = _generators(self._plan)
        if self._through_tfdv:
            with np.errstate(invalid="ignore"):  # means of infinities
                self._basic = basic.add_input(self._basic, _listed(batch, self._through_tfdv))
        if self._nested:
            self._sketch = sketch.add_input(self._sketch, _listed(batch, self._nested))

    def _weights(self, batch: pa.RecordBatch) -> np.ndarray | None:
        if not self._plan.weight_column:
            return None
        column = batch.column(batch.schema.get_field_index(self._plan.weight_column))
        if column.null_count:
            raise InputError(f"a row has no weight: {self._plan.weight_column!r} has missing values; fill them first")
        return np.asarray(column)

    def merge(self, other: Gathered) -> None:
        """Adds what the other, with the same plan, has gathered and then is used up."""
        self.rows += other.rows
        for name, numbers in other.numbers.items():
            self.numbers[name].merge(numbers)
        for name, strings in other.strings.items():
            self.strings[name].merge(strings)
        basic, sketch = _generators(self._plan)
        self._basic = basic.merge_accumulators([self._basic, other._basic])
        self._sketch = sketch.merge_accumulators([self._sketch, other._sketch])

    def compact(self) -> None:
        """Makes itself small for a journey between processes."""
        columns: list[Numbers | Strings] = [*self.numbers.values(), *self.strings.values()]
        for column in columns:
            column.compact()
        if self._through_tfdv:
            self._basic = _generators(self._plan)[0].compact(self._basic)

    def proto(self, name: str = "") -> statistics_pb2.DatasetFeatureStatistics:
        """Returns everything as TFDV writes it, after which nothing more can be added.

        Args:
            name: The name of the dataset: of a slice, or nothing.
        """
        plan = self._plan
        basic, sketch = _generators(plan)
        accumulator = basic.add_input(self._basic, _listed(empty_batch(plan.schema), range(len(plan.schema))))
        accumulator.num_examples = self.rows
        columns: dict[str, Numbers | Strings] = {**self.numbers, **self.strings}
        for column, known in columns.items():
            if not plan.weight_column and not pa.types.is_nested(plan.schema.field(column).type):
                known.fill(accumulator[tfdv.types.FeaturePath([column])])
        outputs = [basic.extract_output(accumulator), sketch.extract_output(self._sketch), self._tops()]
        merged = merge_util.merge_dataset_feature_statistics(outputs).datasets[0]
        place = {column: index for index, column in enumerate(plan.schema.names)}
        result = statistics_pb2.DatasetFeatureStatistics()
        result.CopyFrom(merged)
        result.name = name
        del result.features[:]
        result.features.extend(sorted(merged.features, key=lambda feature: place[feature.path.step[0]]))
        return result

    def top(self, column: str, number: int) -> Top | None:
        """Returns the most frequent strings of a column; None without any."""
        return self.strings[column].top(number) if column in self.strings else None

    def _tops(self) -> statistics_pb2.DatasetFeatureStatistics:
        """The strings' top values and numbers of distinct values."""
        options = self._plan.options()
        result = statistics_pb2.DatasetFeatureStatistics()
        count = top_k_uniques_stats_util.FeatureValueCount
        for name, strings in self.strings.items():
            top = strings.top(options.num_rank_histogram_buckets)
            if top is None:
                continue
            result.features.append(
                top_k_uniques_stats_util.make_feature_stats_proto_topk_uniques(
                    tfdv.types.FeaturePath([name]),
                    num_top_values=options.num_top_values,
                    num_rank_histogram_buckets=options.num_rank_histogram_buckets,
                    num_unique=top.distinct,
                    value_count_list=[count(*pair) for pair in top.counts],
                    weighted_value_count_list=[count(*pair) for pair in top.weights or ()],
                    frequency_threshold=options.frequency_threshold,
                    weighted_frequency_threshold=options.weighted_frequency_threshold,
                )
            )
        return result


def _generators(plan: Plan) -> tuple[Any, Any]:
    """TFDV's generators of basic statistics and of top values, made once for a plan."""
    if plan.weight_column not in _MADE:
        generators = stats_impl.get_generators(plan.options(), in_memory=True)
        named = {generator.name: generator for generator in generators}
        _MADE[plan.weight_column] = named["BasicStatsGenerator"], named["TopKUniquesSketchStatsGenerator"]
    return _MADE[plan.weight_column]


_MADE: dict[str, tuple[Any, Any]] = {}


def _innermost(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def _listed(batch: pa.RecordBatch, columns: Any) -> pa.RecordBatch:
    """Some columns as lists, TFDV's form."""
    every, names = batch.columns, batch.schema.names
    picked = pa.RecordBatch.from_arrays([every[index] for index in columns], [names[index] for index in columns])
    return listed_batch(picked)


def _add_listed(strings: Strings, column: pa.Array, weights: np.ndarray | None) -> None:
    """Adds the elements of a column of lists, or of a plain column of weighted rows."""
    if is_text(column.type):
        kept = np.flatnonzero(np.asarray(column.is_valid()))
        strings.add(column.drop_null(), None if weights is None else weights[kept])
        return
    values, rows = array_util.flatten_nested(column, weights is not None)
    valid = values.is_valid()
    picked = None if weights is None else weights[np.asarray(rows)[np.asarray(valid)]]
    strings.add(values.drop_null(), picked)
