"""What makes a step run again: an edit of its family's code, of its lock, or of the bytes behind a URI."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl
from kfp.compiler import Compiler

from shipway.components import (
    generate_statistics,
    infer_schema,
    ingest_data,
    resolve_data,
    resolve_schema,
    transform_data,
)
from shipway.pipelines.code import code_snapshot


def run(arguments: list[str], directory: Path, code: Path) -> dict[str, str]:
    """Runs the command line from a copy of the project's code; returns the tasks' states."""
    command = [sys.executable, "-c", "from shipway.pipelines.cli import main; main()", "run", *arguments, "--json"]
    variables = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {task["name"]: task["status"] for task in json.loads(done.stdout)["tasks"]}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the project's code that may be edited."""
    copy = shutil.copytree(code_snapshot(), tmp_path / "code", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(copy)


def test_an_edit_of_the_familys_code_or_lock_gives_fresh_results(toy_yaml, tmp_path, code):
    arguments = [str(toy_yaml), "-p", "text=no"]
    run(arguments, tmp_path, code)
    components = code / "shipway" / "components"
    with (components / "data" / "splitting.py").open("a") as file:
        file.write("# another family's edit\n")
    assert run(arguments, tmp_path, code)["write-text"] == "CACHED"
    with (components / "lifecycle" / "gate.py").open("a") as file:
        file.write("# the family's own edit\n")
    assert run(arguments, tmp_path, code)["write-text"] == "SUCCEEDED"
    assert run(arguments, tmp_path, code)["write-text"] == "CACHED"
    with (components / "lifecycle" / "requirements-host.txt").open("a") as file:
        file.write("six==1.17.0\n")
    assert run(arguments, tmp_path, code)["write-text"] == "SUCCEEDED"


@dsl.pipeline(name="ingest-only")
def ingest_only(data_uri: str):
    """The first two steps of every pipeline over tables."""
    digest = resolve_data(data_uri=data_uri).set_caching_options(False)
    ingest_data(data_uri=data_uri, data_digest=digest.output)


def test_an_edit_of_the_data_behind_a_uri_gives_fresh_results(tmp_path, code):
    Compiler().compile(ingest_only, str(tmp_path / "ingest.yaml"))
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,x\n2,y\n")
    arguments = [str(tmp_path / "ingest.yaml"), "-p", f"data_uri={table}"]
    assert run(arguments, tmp_path, code)["ingest-data"] == "SUCCEEDED"
    assert run(arguments, tmp_path, code)["ingest-data"] == "CACHED"
    before = table.stat()
    table.write_text("a,b\n1,x\n3,y\n")
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(arguments, tmp_path, code)["ingest-data"] == "SUCCEEDED", "same size, same time, other bytes"


@dsl.pipeline(name="schema-only")
def schema_only(data_uri: str, schema_uri: str):
    """From a table to its schema, as in every pipeline over tables."""
    digest = resolve_data(data_uri=data_uri).set_caching_options(False)
    tables = ingest_data(data_uri=data_uri, data_digest=digest.output)
    table = transform_data(tables=tables.outputs["tables"])
    statistics = generate_statistics(dataset=table.outputs["dataset"])
    curated = resolve_schema(schema_uri=schema_uri).set_caching_options(False)
    infer_schema(
        statistics=statistics.outputs["statistics"], schema_uri=schema_uri, schema_digest=curated.output, label="b"
    )


def test_an_edit_of_a_curated_schema_gives_a_fresh_one(tmp_path, code):
    Compiler().compile(schema_only, str(tmp_path / "schema.yaml"))
    (tmp_path / "table.csv").write_text("a,b\n1,x\n2,y\n")
    schema = tmp_path / "curated.pbtxt"
    schema.write_text('feature { name: "a" type: INT } feature { name: "b" type: BYTES }')
    arguments = [
        str(tmp_path / "schema.yaml"),
        "-p",
        f"data_uri={tmp_path / 'table.csv'}",
        "-p",
        f"schema_uri={schema}",
    ]
    assert run(arguments, tmp_path, code)["infer-schema"] == "SUCCEEDED"
    assert run(arguments, tmp_path, code)["infer-schema"] == "CACHED"
    schema.write_text('feature { name: "a" type: FLOAT } feature { name: "b" type: BYTES }')
    assert run(arguments, tmp_path, code)["infer-schema"] == "SUCCEEDED"
