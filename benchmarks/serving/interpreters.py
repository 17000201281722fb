"""Whose Python runs what, with the project's code as it was at the start."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from shipway.pipelines.code import code_snapshot
from shipway.pipelines.environments import make_environments
from shipway.pipelines.families import FAMILIES

__all__ = ["family_python", "variables"]

_ROOT = Path(__file__).parents[2]


@functools.cache
def family_python(family: str) -> str:
    """Returns the interpreter of a family's environment, made now if it is not there."""
    return str(make_environments([FAMILIES[family]], print)[family].python)


@functools.cache
def variables() -> dict[str, str]:
    """Returns the environment of what is started: it finds this package and the project's code."""
    # Python may write bytecode whatever this process was told, so that a second start finds it.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": f"{code_snapshot()}{os.pathsep}{_ROOT}"}
