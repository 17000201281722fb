"""The OpenAPI document is one, says what the server does, and reads well."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from abuse_support import GOLDEN, MODEL, NAME, Abused, abused
from serving_support import ask

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "common" / "reports"))

from browser import CHROMIUM, photograph, picture_of
from environments import made_environment

TOOLS = ("openapi", ("schemathesis==4.32.5", "openapi-spec-validator==0.9.0"))
# A request may be refused because its values are too extreme, and v2's when its shapes do not count its data: neither
# can be said in a schema.
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 422]

[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.enabled = false
"""


@pytest.fixture(scope="module")
def changeable(serving_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abused]:
    with abused(serving_python, tmp_path_factory.mktemp("changeable"), "--allow-repository-changes") as server:
        yield server


@pytest.fixture
def document(server: Abused) -> dict[str, Any]:
    status, told = ask(f"{server.url}/openapi.json")
    assert status == 200
    return dict(told)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]


def test_it_is_valid(server: Abused, changeable: Abused, tmp_path: Path) -> None:
    validator = made_environment(*TOOLS) / "bin" / "openapi-spec-validator"
    for one in (server, changeable):
        file = tmp_path / "openapi.json"
        file.write_text(json.dumps(ask(f"{one.url}/openapi.json")[1]))
        done = subprocess.run([validator, file], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout


def test_it_knows_features_and_classes(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    instance = schemas[f"model1.{NAME}.Instances"]["properties"]["instances"]["items"]
    assert instance["required"] == [feature.name for feature in MODEL.inputs]
    assert instance["properties"]["carrier"]["type"] == ["string", "null"]
    assert instance["properties"]["wind"]["type"] == ["number", "boolean", "null"]
    assert (instance["properties"]["pixels"]["minItems"], instance["properties"]["pixels"]["maxItems"]) == (4, 4)
    prediction = schemas[f"model1.{NAME}.Predictions"]["properties"]["predictions"]["items"]["properties"]
    assert prediction["label"] == {"enum": list(MODEL.label_names)}
    assert list(prediction["scores"]["properties"]) == list(MODEL.label_names)


def test_its_examples_are_answered_as_it_says(server: Abused, document: dict[str, Any]) -> None:
    examples = 0
    for path, _, operation in operations(document):
        if "requestBody" not in operation:
            continue
        asked = operation["requestBody"]["content"]["application/json"]["example"]
        status, answer = server.post(path, json.dumps(asked).encode())
        assert status == 200
        if expected := operation["responses"]["200"]["content"]["application/json"].get("example"):
            examples += 1
            assert answer == expected
    assert examples == 3


def test_what_only_some_servers_do_is_said_by_those(document: dict[str, Any], changeable: Abused) -> None:
    change = "/v2/repository/models/{name}/load"
    assert change not in document["paths"]
    assert change in ask(f"{changeable.url}/openapi.json")[1]["paths"]


def test_schemathesis_finds_nothing(server: Abused, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    command = [made_environment(*TOOLS) / "bin" / "schemathesis", "run", f"{server.url}/openapi.json"]
    options = ["--url", server.url, "--max-examples", "40", "--seed", "7", "--phases", "examples,coverage,fuzzing"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    generated, passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout).groups()
    assert generated == passed
    assert int(passed) > 500


def page(server: Abused) -> str:
    with urllib.request.urlopen(f"{server.url}/docs") as response:
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        return str(response.read().decode())


def test_the_page_lists_every_route_and_needs_nothing_else(server: Abused, document: dict[str, Any]) -> None:
    text = page(server)
    for path, method, _ in operations(document):
        assert f"<b class={method}>{method.upper()}</b><code>{path}</code>" in text
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"?(https?:)?//|@import|url\(", text)


def test_its_commands_can_be_copied(server: Abused) -> None:
    texts = [html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page(server), re.DOTALL)]
    predict = next(text for text in texts if ":predict" in text)
    done = subprocess.run([*shlex.split(predict), "--silent"], capture_output=True, timeout=20, check=True)
    answer = json.loads(done.stdout)
    assert [one["label"] for one in answer["predictions"]] == list(GOLDEN.labels[:2])
    assert json.loads(texts[texts.index(predict) + 1]) == answer


def test_a_host_that_would_be_markup_is_only_text(server: Abused) -> None:
    asked = urllib.request.Request(f"{server.url}/docs", headers={"Host": "<script>alert(1)</script>"})
    with urllib.request.urlopen(asked) as response:
        assert b"<script" not in response.read()


@pytest.mark.chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_drawn(server: Abused, tmp_path: Path, dark: bool) -> None:
    assert CHROMIUM
    file, picture = tmp_path / "docs.html", tmp_path / "docs.png"
    file.write_text(page(server))
    photograph(file, picture, dark=dark, width=1000, height=1200)
    width, height, colours = picture_of(picture)
    assert (width, height) == (1000, 1200)
    background = (17, 21, 27) if dark else (247, 247, 245)
    assert max(colours, key=colours.get) == background
    assert len(colours) > 50  # text is drawn in many shades
