"""The command line: ``shipway VERB``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from shipway import pipelines
from shipway.components.common.errors import InputError, ShipwayError
from shipway.pipelines.doctor import examine_machine
from shipway.pipelines.environments import environment_of, make_environments, remove_unused_environments
from shipway.pipelines.executing import execute
from shipway.pipelines.families import FAMILIES
from shipway.pipelines.routes_cli import route_group
from shipway.pipelines.serving_cli import endpoints_group, rollback, serve
from shipway.pipelines.spec import load_yaml

__all__ = ["cli", "main"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine to read.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shipway")
def cli() -> None:
    """From raw data to a served, watched, reversible model.

    \b
    shipway run train_and_deploy                                  the demo, on this machine
    shipway run train_and_deploy -p data_uri=my.csv -p label=y    the same on a table of yours
    shipway compile --all -o build/                               KFP v2 YAML for a cluster

    Exit codes: 1 fault, 2 wrong input, 3 data or model rejected, 4 conflict, 5 deployment failed, 6 storage failed,
    7 environment not made, 75 try again, 143 cancelled.
    """  # noqa: D301 - click reads it as a mark


@cli.command()
@click.argument("pipeline")
@click.option("-p", "--parameter", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter's value.")
@click.option("--parameters", type=click.Path(path_type=Path), help="A YAML file of parameters; -p goes before it.")
@click.option("--runner", type=click.Choice(["local"]), default="local", expose_value=False, help="Where steps run.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where runs go.")
@click.option("--cache/--no-cache", default=True, help="Reuse finished steps of earlier runs.  [default: cache]")
@_as_json
def run(
    pipeline: str,
    assignments: Sequence[str],
    parameters: Path | None,
    root: Path,
    cache: bool,
    as_json: bool,
) -> None:
    """Runs PIPELINE to its end on this machine: a ready pipeline's name, or a compiled YAML file.

    Steps run one after another, each in the environment of its image. Progress goes to stderr; the run's
    record (run.json), its report (report.html) and every step's log are kept in ROOT/<run>, and ROOT/latest
    points at the newest run. `shipway run train_and_deploy` without parameters runs the demo.
    """
    from shipway.pipelines.compile import compile_pipeline, load_spec
    from shipway.pipelines.local import run_pipeline

    given = _parameters(parameters, assignments)
    if not given and pipeline == "train_and_deploy":
        from shipway.pipelines.demo import demo_parameters, write_tables

        given = demo_parameters()
        write_tables(Path(given["data_uri"]))
    text = _file_text(Path(pipeline)) if pipeline.endswith((".yaml", ".yml")) else compile_pipeline(pipeline)
    result = run_pipeline(load_spec(text), given, root, cache)
    record = result.record
    if as_json:
        click.echo(json.dumps(record))
    else:
        _tell(record)
    if result.error:
        raise result.error


def _tell(record: dict[str, Any]) -> None:
    reused = sum(task["status"] == "CACHED" for task in record["tasks"])
    click.echo(
        f"status    {record['status']} after {record['seconds']:.1f} s, {reused} of {len(record['tasks'])} tasks reused"
    )
    if record["release"]:
        click.echo(f"release   {record['release']['uri']}")
    elif record["status"] == "SUCCEEDED" and any(task["name"] == "select-model" for task in record["tasks"]):
        click.echo("release   none: no candidate was blessed, what served before still serves")
    if record["endpoint"]:
        click.echo(f"endpoint  {record['endpoint']['predict_url']}")
    click.echo(f"report    {record['report']}")


def _parameters(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    given = _mapping(file, "parameter names to values") if file else {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"-p takes NAME=VALUE, not {assignment!r}")
        given[name] = value
    return given


def _mapping(file: Path, what: str) -> dict[str, Any]:
    try:
        loaded = load_yaml(_file_text(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML file: {error}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{file} must map {what}")
    return loaded


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


@cli.command("compile")
@click.argument("pipeline", required=False)
@click.option("--all", "every", is_flag=True, help="Compile every ready pipeline.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("build"), show_default=True, help="Directory."
)
@click.option("--registry", default="", help="Where the images are, such as registry.example/team.")
@click.option(
    "--digests", type=click.Path(path_type=Path), help="A YAML or JSON file: family names and sha256:… digests."
)
def compile_command(pipeline: str | None, every: bool, output: Path, registry: str, digests: Path | None) -> None:
    """Compiles PIPELINE, or all of them, to KFP v2 YAML that a cluster runs."""
    from shipway.pipelines.compile import write_pipeline

    if every == (pipeline is not None):
        raise InputError(f"name one pipeline ({', '.join(pipelines.__all__)}) or give --all")
    pins = _mapping(digests, "family names to sha256:… digests") if digests else None
    for name in pipelines.__all__ if every else (str(pipeline),):
        click.echo(write_pipeline(name, output, registry, pins))


@cli.command("data", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def data_command(arguments: Sequence[str]) -> None:
    """Describes and checks files outside any pipeline: stats, schema, validate, report, checks."""
    execute(FAMILIES["data"], ["-m", "shipway.components.data.command_line", *arguments])


@cli.command("storage", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def storage_command(arguments: Sequence[str]) -> None:
    """Looks into stores and copies between them: ls, cp, publish, verify, replicate, profile."""
    execute(FAMILIES["lifecycle"], ["-m", "shipway.components.common.storage.command_line", *arguments])


@cli.group("env", invoke_without_command=True)
@click.pass_context
def env_group(context: click.Context) -> None:
    """Shows and makes the environments, one for each image."""
    if context.invoked_subcommand is None:
        context.invoke(env_list)


@env_group.command("list")
@_as_json
def env_list(as_json: bool = False) -> None:
    """Lists the environments: family, whether it is ready, and where it lies."""
    environments = [environment_of(family) for family in FAMILIES.values()]
    if as_json:
        entries = [{"name": e.family.name, "ready": e.ready, "directory": str(e.directory)} for e in environments]
        click.echo(json.dumps(entries))
        return
    for environment in environments:
        state = "ready" if environment.ready else "not made"
        click.echo(f"{environment.family.name:<12} {state:<9} {environment.directory}")


@env_group.command("make")
@click.argument("families", nargs=-1, type=click.Choice(list(FAMILIES)))
def env_make(families: Sequence[str]) -> None:
    """Makes the environments of FAMILIES, or all of them."""
    make_environments([FAMILIES[name] for name in families or FAMILIES], lambda line: click.echo(line, err=True))


@env_group.command("python", context_settings={"ignore_unknown_options": True})
@click.argument("family", type=click.Choice(list(FAMILIES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def env_python(family: str, arguments: Sequence[str]) -> None:
    """Runs the interpreter of FAMILY's environment with ARGUMENTS, making the environment first where it is missing."""
    execute(FAMILIES[family], arguments)


@env_group.command("clean")
def env_clean() -> None:
    """Removes the environments of locks that this version of the project no longer has."""
    for directory in remove_unused_environments():
        click.echo(f"removed {directory}")


@cli.command("components")
@click.argument("name", required=False)
@_as_json
def components_command(name: str | None, as_json: bool) -> None:
    """Lists the components, or shows all of NAME's documentation."""
    from shipway.pipelines.catalogue import describe_components

    found = [entry for entry in describe_components() if name in (None, entry["name"])]
    if not found:
        raise InputError(f"no component {name!r}; `shipway components` lists them")
    if as_json:
        click.echo(json.dumps(found))
    elif name:
        click.echo(f"{name} ({found[0]['image']})\n\n{found[0]['description']}")
    else:
        for entry in found:
            click.echo(f"{entry['name']:<22} {entry['image']:<26} {entry['summary']}")


@cli.command()
@_as_json
def doctor(as_json: bool) -> None:
    """Tells what this machine lacks; exit code 1 where something will fail."""
    findings = examine_machine()
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings]))
    for finding in () if as_json else findings:
        click.echo(f"{finding.level:<5} {finding.name:<24} {finding.message}")
    if any(finding.level == "lack" for finding in findings):
        raise SystemExit(1)


for command in (serve, endpoints_group, rollback, route_group):
    cli.add_command(command)


def main() -> None:
    """Runs the command line; an error of the tree becomes one message and its exit code."""
    try:
        cli(prog_name="shipway")
    except ShipwayError as error:
        print(f"shipway: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
