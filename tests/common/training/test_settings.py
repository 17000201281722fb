import json
import re

import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.training import Hyperparameters, TrainingRequest


def test_hyperparameters_out_of_range_are_all_named():
    with pytest.raises(InputError, match=r"^epochs must be at least 1, not 0; learning_rate must be above 0, not 0.0$"):
        Hyperparameters(epochs=0, learning_rate=0.0)
    with pytest.raises(InputError, match="loss must be one of cross_entropy, focal"):
        Hyperparameters(loss="hinge")


def test_a_schedule_fits_any_number_of_rows():
    settings = Hyperparameters(epochs=3, batch_size=1024, learning_rate=0.01)
    for rows, batch in ((5, 1), (240, 5), (100_000, 1024)):
        schedule = settings.schedule(rows)
        assert schedule.rows_per_step == batch
        assert (schedule.steps - 1) * batch < rows <= schedule.steps * batch
        assert len(schedule.learning_rates) == len(schedule.averaging_shares) == 3 * schedule.steps
        assert 0 <= schedule.learning_rates.min() < schedule.learning_rates.max() <= 0.01
        assert schedule.averaging_shares[0] == 1


def test_numbers_that_a_pipeline_turned_into_floats_are_whole_again():
    settings = Hyperparameters.of({"epochs": 7.0, "hidden_units": [64.0, 32.0], "dropout": 0, "width": 8.0})
    assert settings.epochs == 7
    assert settings.hidden_units == (64, 32)
    assert [type(units) for units in settings.hidden_units] == [int, int]
    assert settings.dropout == 0.0
    assert settings.parameters == {"width": 8}
    assert type(settings.parameters["width"]) is int


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", 1.5, "a whole number"),
        ("epochs", "2", "a whole number"),
        ("hidden_units", [1.5], "a list of whole numbers"),
        ("dropout", True, "a number"),
        ("loss", 3, "one of cross_entropy, focal"),
        ("parameters", [], "an object"),
    ],
)
def test_values_of_a_wrong_type_are_refused_and_it_says_what_is_taken(name, value, wanted):
    with pytest.raises(InputError, match=re.escape(f"the hyperparameter {name} takes {wanted}, not {value!r}")):
        Hyperparameters.of({name: value})


def test_a_request_survives_json():
    settings = Hyperparameters(hidden_units=(3,), image_shape=(2, 2, 1), parameters={"width": [1, 2]})
    request = TrainingRequest(
        "a", "b", "c", "d", "late", hyperparameters=settings, devices=2, checkpoint_uri="s3://x/y"
    )
    assert TrainingRequest.from_json(request.to_json()) == request
    assert json.loads(request.to_json())["label"] == "late"


@pytest.mark.parametrize("text", ["", "[]", '{"train": "a"}', '{"nonsense": 1}'])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(InputError, match="no training request"):
        TrainingRequest.from_json(text)
