import json

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import (
    Encoders,
    feature_kinds,
    feature_tensors,
    instance_tensors,
    learn_encoders,
)

LISTS = [[1, None, 3], None, [4, 5, float("nan")]]
TENSOR = np.asarray([[1, np.nan, 3], [np.nan] * 3, [4, 5, np.nan]], np.float32)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(LISTS, pa.list_(pa.float64())),
        pa.array(LISTS, pa.large_list(pa.float32())),
        pa.array(LISTS, pa.list_(pa.float64(), 3)),
        pa.array([[9, 9, 9], *LISTS], pa.list_(pa.float64()))[1:],
        pa.array([[9, 9, 9], *LISTS], pa.list_(pa.float64(), 3))[1:],
        pa.chunked_array([pa.array(LISTS[:1], pa.list_(pa.float64())), pa.array(LISTS[1:], pa.list_(pa.float64()))]),
    ],
    ids=["list", "large", "fixed size", "sliced", "fixed size, sliced", "chunks"],
)
def test_lists_are_rows_of_a_tensor_with_nan_for_what_is_missing(column):
    table = pa.table({"image": column, "label": ["a", "b", "a"]})
    assert feature_kinds(table.schema, "label") == {"image": "vector"}
    np.testing.assert_array_equal(feature_tensors(table, {"image": "vector"})["image"], TENSOR)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.bool_()])
def test_lists_of_whole_numbers_and_booleans_are_vectors(kind):
    table = pa.table({"image": pa.array([[1, 0], [1, None]], pa.list_(pa.int8())).cast(pa.list_(kind))})
    tensor = feature_tensors(table, {"image": "vector"})["image"]
    np.testing.assert_array_equal(tensor, np.asarray([[1, 0], [1, np.nan]], np.float32))


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.list_(pa.list_(pa.float64()))])
def test_lists_of_anything_else_are_no_feature(kind):
    with pytest.raises(InputError, match=r"'image' has type list<.*which is no feature"):
        feature_kinds(pa.schema([("image", kind), ("label", pa.string())]), "label")


def test_lists_of_several_lengths_are_an_error():
    with pytest.raises(InputError, match="the lists of column 'image' have 2 to 3 values"):
        feature_tensors(pa.table({"image": [[1.0, 2.0], [1.0, 2.0, 3.0]]}), {"image": "vector"})


def test_instances_give_the_same_tensor_as_a_table():
    tensors = instance_tensors([{"image": row} for row in LISTS], {"image": "vector"})
    np.testing.assert_array_equal(tensors["image"], TENSOR)


def test_a_vector_is_one_column_a_value_from_its_least_to_its_greatest():
    tensors = {"x": np.asarray([1, 2, 3] * 9, np.float32), "image": np.tile(TENSOR * 2, (9, 1))}
    encoders = learn_encoders(tensors, {"image": "vector", "x": "numeric"})
    assert (encoders.sizes, encoders.raw_width, encoders.kinds) == (
        {"image": 3},
        4,
        {"image": "vector", "x": "numeric"},
    )
    numeric, _ = encoders.encode({"x": np.ones(2, np.float32), "image": np.asarray([[2, 6, np.nan], [-9, np.inf, 10]])})
    assert numeric.shape[1] == encoders.numeric_width
    np.testing.assert_allclose(numeric[:, encoders.vector_columns("image")], [[0, 0.5, 0], [0, 1, 1]])
    assert Encoders.from_json(json.loads(json.dumps(encoders.to_json()))) == encoders
