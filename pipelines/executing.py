"""Programs that run in another family's environment."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from shipway.pipelines.code import code_snapshot
from shipway.pipelines.environments import make_environments
from shipway.pipelines.families import Family

__all__ = ["execute"]


def execute(family: Family, arguments: Sequence[str]) -> None:
    """Replaces this process by the family's interpreter, which sees the project's code as it is now."""
    (environment,) = make_environments([family], lambda line: click.echo(line, err=True)).values()
    paths = [path for path in (os.environ.get("PYTHONPATH"), str(code_snapshot())) if path]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    os.execve(environment.python, [str(environment.python), *arguments], variables)
