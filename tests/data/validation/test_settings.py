"""Settings of checks: what is taken, what is refused, and the catalogue."""

from __future__ import annotations

import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.validation.catalogue import CATALOGUE
from shipway.components.data.validation.settings import NEEDS, SEVERITIES, CheckSpec, Parameter, parse_settings

SPECS = (
    CheckSpec(
        "drift",
        "fail",
        "",
        parameters={
            "measure": Parameter("", "", choices=("", "ks", "psi")),
            "threshold": Parameter(None, "", 0, 1, kind=float),
            "bins": Parameter(10, "", 2),
            "names": Parameter((), "", kind=list),
            "exact": Parameter(False, ""),
        },
        per_feature=True,
    ),
    CheckSpec("duplicate_rows", "warn", ""),
)


def parsed(**checks):
    return parse_settings(checks, SPECS)


def test_defaults():
    for checks in (None, {}):
        settings = parse_settings(checks, SPECS)
        assert list(settings) == ["drift", "duplicate_rows"]
        assert (settings["drift"].severity, settings["drift"]["bins"], settings["drift"]["threshold"]) == (
            "fail",
            10,
            None,
        )
        assert not settings["drift"].given
        assert settings["drift"].of("x") is settings["drift"]


@pytest.mark.parametrize("given", ["off", False, {"severity": "off"}, {"severity": False}])
def test_off_may_be_spelt_as_yaml_reads_it(given):
    settings = parsed(duplicate_rows=given)["duplicate_rows"]
    assert (settings.severity, settings.runs) == ("off", False)


def test_columns_stand_on_the_check():
    settings = parsed(
        drift={"threshold": 1, "bins": 5.0, "features": {"x": {"measure": "ks", "severity": "warn"}, "y": "off"}}
    )["drift"]
    assert (settings["threshold"], settings["bins"]) == (1.0, 5)
    assert type(settings["bins"]) is int
    x, y = settings.of("x"), settings.of("y")
    assert (x["measure"], x["threshold"], x.severity, x.given) == ("ks", 1.0, "warn", {"measure"})
    assert (y.severity, y.given, settings.given) == ("off", frozenset(), {"threshold", "bins"})


def test_a_check_runs_for_one_column_alone():
    settings = parsed(drift={"severity": "off", "features": {"x": "fail"}})["drift"]
    assert (settings.severity, settings.of("x").severity, settings.runs) == ("off", "fail", True)


def test_nothing_set_is_a_value():
    assert parsed(drift={"threshold": None})["drift"]["threshold"] is None
    assert parsed(drift={"names": ["a"]})["drift"]["names"] == ["a"]


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"drif": "off"}, "no check 'drif'; did you mean 'drift'\\? There are drift, duplicate_rows"),
        ({"drift": "stop"}, "checks.drift.severity='stop': must be one of fail, warn, off"),
        ({"drift": True}, "must be a severity"),
        ({"drift": None}, "must be a severity"),
        ({"drift": {"treshold": 1}}, "no parameter 'treshold'; did you mean 'threshold'"),
        ({"drift": {"threshold": 1.5}}, "checks.drift.threshold=1.5: must lie from 0 to 1"),
        ({"drift": {"threshold": float("nan")}}, "must be a number"),
        ({"drift": {"threshold": True}}, "must be a number"),
        ({"drift": {"threshold": "0.1"}}, "must be a number"),
        ({"drift": {"bins": 2.5}}, "must be a whole number"),
        ({"drift": {"bins": 1}}, "must lie at or above 2"),
        ({"drift": {"measure": "kss"}}, "must be one of , ks, psi"),
        ({"drift": {"measure": 1}}, "must be a string"),
        ({"drift": {"names": "a"}}, "must be a list of strings"),
        ({"drift": {"exact": 1}}, "must be true or false"),
        ({"drift": {"features": {"x": {"features": {}}}}}, "checks.drift.features.x: there is no parameter 'features'"),
        ({"drift": {"features": {"x": {"bins": 0}}}}, "checks.drift.features.x.bins=0"),
        ({"drift": {"features": ["x"]}}, "must map columns to settings"),
        ({"duplicate_rows": {"features": {}}}, "no parameter 'features'"),
        (["drift"], "must map names of checks"),
    ],
)
def test_wrong_settings(checks, message):
    with pytest.raises(InputError, match=message):
        parse_settings(checks, SPECS)


def test_the_catalogue_is_in_order():
    names = [spec.name for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in CATALOGUE:
        assert spec.severity in SEVERITIES
        assert set(spec.needs) <= set(NEEDS)
        assert spec.description
        for name, parameter in spec.parameters.items():
            assert parameter.description, name
            if parameter.default is not None:
                assert parameter.parsed(parameter.default, name) == (
                    list(parameter.default) if parameter.kind is list else parameter.default
                )
