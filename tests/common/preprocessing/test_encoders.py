import json

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import Encoders, feature_tensors, label_strings, learn_encoders


def learned(columns):
    kinds = {name: "string" if isinstance(values[0], str) else "numeric" for name, values in columns.items()}
    tensors = {
        name: np.asarray(values, object if kinds[name] == "string" else np.float32) for name, values in columns.items()
    }
    return learn_encoders(tensors, kinds), tensors


def test_a_number_climbs_piece_by_piece_and_stays_within_what_training_saw():
    encoders, _ = learned({"x": [0.0, 10.0, 20.0] * 20})
    numeric, _ = encoders.encode({"x": np.asarray([-1e9, 0, 5, 10, 15, 20, np.inf], np.float32)})
    np.testing.assert_allclose(numeric, [[0, 0], [0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [1, 1]])


def test_a_missing_number_is_the_median_with_a_column_that_says_so():
    encoders, tensors = learned({"x": [np.nan, 1.0, 1.0, 5.0, 9.0] * 10, "y": [1.0, 2.0, 3.0, 4.0, 5.0] * 10})
    numeric, _ = encoders.encode({"x": np.asarray([np.nan], np.float32), "y": np.asarray([np.nan], np.float32)})
    present, _ = encoders.encode({"x": np.asarray([1], np.float32), "y": np.asarray([3], np.float32)})
    assert numeric[0, -1] == 1
    assert present[0, -1] == 0
    np.testing.assert_array_equal(numeric[0, :-1], present[0, :-1])
    assert [encoder.missing_indicator for encoder in encoders.numeric] == [True, False]
    assert encoders.numeric_width == encoders.encode(tensors)[0].shape[1]


def test_unseen_and_rare_words_are_zero_and_missing_is_a_word_if_training_had_it():
    encoders, _ = learned({"with": ["b"] * 5 + ["a"] * 5 + [""] * 5 + ["rare"], "without": ["a"] * 16})
    _, categorical = encoders.encode(
        {
            "with": np.asarray(["", "a", "b", "rare", "new"], object),
            "without": np.asarray(["", "a", "", "", ""], object),
        }
    )
    assert categorical[:, 0].tolist() == [1, 2, 3, 0, 0]
    assert categorical[:, 1].tolist() == [0, 1, 0, 0, 0]
    assert encoders.cardinalities == (4, 2)


def test_what_has_one_value_or_none_is_no_column():
    encoders, _ = learned({"constant": [3.0] * 9, "absent": [np.nan] * 9, "x": [1.0, 2.0, 3.0] * 3})
    assert (
        encoders.numeric_width
        == encoders.encode({name: np.asarray([1], np.float32) for name in encoders.names})[0].shape[1]
    )
    assert [len(encoder.edges) for encoder in encoders.numeric[:2]] == [0, 0]
    assert not any(encoder.missing_indicator for encoder in encoders.numeric)


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(InputError, match="every feature has one value"):
        learned({"constant": [3.0] * 9, "word": ["a"] * 9})


def test_json_and_back_is_the_same_specification():
    encoders, _ = learned({"x": [0.1, 0.2, np.nan] * 9, "w": ["é", "", "x"] * 9})
    assert Encoders.from_json(json.loads(json.dumps(encoders.to_json()))) == encoders
    with pytest.raises(InputError, match="no encoder specification"):
        Encoders.from_json({"names": []})


def test_tensors_of_every_column_type():
    table = pa.table(
        {
            "int": pa.array([1, None], pa.int64()),
            "bool": pa.array([True, None]),
            "float": pa.array([0.5, float("nan")]),
            "word": pa.array(["a", None]),
            "dictionary": pa.array(["a", None]).dictionary_encode(),
        }
    )
    kinds = {"int": "numeric", "bool": "numeric", "float": "numeric", "word": "string", "dictionary": "string"}
    tensors = feature_tensors(table, kinds)
    for name, kind in kinds.items():
        assert tensors[name].dtype == (object if kind == "string" else np.float32)
    assert [tensors[name][0] for name in kinds] == [1, 1, 0.5, "a", "a"]
    assert all(np.isnan(tensors[name][1]) for name in ("int", "bool", "float"))
    assert tensors["word"][1] == tensors["dictionary"][1] == ""


@pytest.mark.parametrize(
    ("columns", "kinds", "message"),
    [
        ({"a": pa.array([1])}, {"b": "numeric"}, "lacks the columns b"),
        ({"a": pa.array(["x"])}, {"a": "numeric"}, "'a' must be numeric, it is string"),
        ({"a": pa.array([0], pa.timestamp("s"))}, {"a": "numeric"}, "'a' has type timestamp"),
    ],
)
def test_wrong_columns_are_named(columns, kinds, message):
    with pytest.raises(InputError, match=message):
        feature_tensors(pa.table(columns), kinds)


@pytest.mark.parametrize(
    ("values", "strings"),
    [
        (pa.array([1, 0]), ["1", "0"]),
        (pa.array([1.0, 0.0]), ["1", "0"]),
        (pa.array([1.5, 0.0]), ["1.5", "0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
    ],
)
def test_labels_as_strings(values, strings):
    assert label_strings(pa.chunked_array([values])).tolist() == strings


@pytest.mark.parametrize("values", [pa.array([1, None]), pa.array([1.0, float("nan")]), pa.array([0.5, None])])
def test_a_missing_label_is_an_error(values):
    with pytest.raises(InputError, match="1 of 2 rows have no label"):
        label_strings(pa.chunked_array([values]))


def test_a_whole_number_beyond_what_floats_hold_is_rounded():
    table = pa.table({"id": [2**60 + 1, None, -(2**62)]})
    tensors = feature_tensors(table, {"id": "numeric"})
    np.testing.assert_array_equal(tensors["id"], np.asarray([2.0**60, np.nan, -(2.0**62)], np.float32))
