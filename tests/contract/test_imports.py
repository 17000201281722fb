"""Who may import whom, read from the source."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = ("data", "features", "lifecycle", "pytorch", "tensorflow")
PACKAGES = ("components", "examples", "pipelines", "serving")

# What a room may import of the project, besides itself.
ALLOWED = {
    "components.common": (),
    "components.data": ("components.common",),
    "components.features": ("components.common",),
    "components.tensorflow": ("components.common", "serving.tfserving"),
    "components.pytorch": ("components.common",),
    "components.lifecycle": ("components.common", "serving"),
    "serving": ("components.common",),
    "pipelines": ("components", "serving"),
    "examples": ("components",),
}


def modules() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module.startswith("shipway"))


def room_of(module: str) -> str:
    return max((room for room in ALLOWED if f"{module}.".startswith(f"{room}.")), key=len, default="")


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file: Path):
    room = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
    if not room:
        return
    for name in imports_of(file):
        target = name.removeprefix("shipway.")
        if name.startswith("shipway.") and target != room.partition(".")[0]:
            assert f"{target}.".startswith((f"{room}.", *(f"{other}." for other in ALLOWED[room]))), (
                f"{file.relative_to(ROOT)} imports {name}"
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_face_of_a_family_imports_kfp_only(family: str):
    directory = ROOT / "components" / family
    faces = [*directory.glob("components.py"), *directory.glob("components/*.py")]
    assert faces
    for face in faces:
        top = [
            node for node in ast.parse(face.read_text(encoding="utf-8")).body if not isinstance(node, ast.FunctionDef)
        ]
        modules = {node.module for node in top if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        own = f"shipway.components.{family}.components."
        assert all(name in ("kfp", "typing") or name.startswith(own) for name in modules), face


def test_inside_a_step_the_packages_import_without_definitions():
    variables = {**os.environ, "_KFP_RUNTIME": "true"}
    code = "import shipway.components, shipway.pipelines, shipway.serving"
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)


def test_the_distribution_names_every_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(("shipway", *file.parent.relative_to(ROOT).parts)) for file in modules()}
    assert sorted(found) == declared


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_stay_small(file: Path):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 320


def test_onnx_runtime_tells_its_makers_nothing():
    code = "import os, shipway.components.common; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)
