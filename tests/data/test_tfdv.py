"""TFDV without what a step does not use."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd

from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from shipway.components.data.tfdv import whole_tfdv

_LOADED = """
import sys
from shipway.components.data.statistics import generation
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
statistics = statistics_pb2.DatasetFeatureStatisticsList(datasets=[{"num_examples": 1}])
assert not tfdv.validate_statistics(statistics, tfdv.infer_schema(statistics)).anomaly_info
print(*(name for name in ("tensorflow", "apache_beam", "pandas") if name in sys.modules))
"""

_NEED_BEAM = """
import sys
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv
for use in (tfdv.generate_statistics_from_csv, lambda _: tfdv.GenerateStatistics(tfdv.StatsOptions())):
    try:
        use(sys.argv[1])
    except RuntimeError as error:
        print(error)
"""

_ANOTHER_VERSION = """
import importlib, sys
ordinary, asked = importlib.import_module, []
def once_not(name, *rest):
    if name == "tfx_bsl.arrow.table_util" and not asked:
        asked.append(name)
        raise AttributeError("not in this version")
    return ordinary(name, *rest)
importlib.import_module = once_not
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv, whole_tfdv
with whole_tfdv() as whole:
    print("tensorflow" in sys.modules, whole is tfdv, tfdv.GenerateStatistics(tfdv.StatsOptions()) is not None)
"""


def _statistics():
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame({"n": [1.0, 2.0], "s": ["x", "y"]}))


def test_heavy_packages_are_not_loaded():
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert done.stderr == ""


def test_schemas_and_validation_work(tmp_path):
    statistics = _statistics()
    schema = tfdv.infer_schema(statistics)
    tfdv.write_schema_text(schema, str(tmp_path / "schema.pbtxt"))
    assert tfdv.load_schema_text(str(tmp_path / "schema.pbtxt")) == schema
    tfdv.get_domain(schema, "s").value.remove("y")
    assert list(tfdv.validate_statistics(statistics, schema).anomaly_info) == ["s"]


def test_what_needs_beam_says_so(tmp_path):
    """In a process of its own: Beam that is loaded already is used."""
    (tmp_path / "data.csv").write_text("n\n1\n")
    command = [sys.executable, "-c", _NEED_BEAM, tmp_path / "data.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("belongs in whole_tfdv()") == 2


def test_the_whole_is_there_when_asked_for():
    before = sys.modules["tensorflow_data_validation"]
    with whole_tfdv() as whole:
        import tensorflow_data_validation

        assert whole is tensorflow_data_validation is not before
        assert whole.GenerateStatistics(whole.StatsOptions())
        assert whole.infer_schema(_statistics()) == tfdv.infer_schema(_statistics())
    assert sys.modules["tensorflow_data_validation"] is before


def test_a_version_that_does_not_load_so_is_loaded_as_usual():
    done = subprocess.run([sys.executable, "-c", _ANOTHER_VERSION], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3
