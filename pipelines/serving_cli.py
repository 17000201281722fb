"""What the command line does with models that are served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from shipway.components.common.errors import InputError
from shipway.pipelines.executing import execute
from shipway.pipelines.families import FAMILIES
from shipway.serving import endpoints

__all__ = ["endpoints_group", "rollback", "serve"]

# Whose environment has what an engine needs.
_FAMILY_OF_ENGINE = {
    "auto": "serving",
    "onnxruntime": "serving",
    "torch": "pytorch",
    "torchscript": "pytorch",
    "tensorflow": "tensorflow",
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("server_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", default="", help="The model's name in URLs; by default the one in its model.json.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="REST.")
@click.option("--grpc-port", type=int, help="gRPC; by default there is none.")
@click.option("--engine", type=click.Choice(list(_FAMILY_OF_ENGINE)), default="auto", show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that share the ports.")
def serve(
    model: Path,
    server_options: Sequence[str],
    name: str,
    host: str,
    port: int,
    grpc_port: int | None,
    engine: str,
    workers: int,
) -> None:
    """Serves MODEL in the foreground over KServe's protocols: v1 and v2 REST, v2 gRPC.

    MODEL is the directory of a model or of a release, or one whose subdirectories are such. Further options go to
    the server as they are: `shipway serve MODEL -- --help` lists them all (batches, limits, cache, access lines,
    payload logs).
    """
    arguments = ["--model-dir", str(model), "--host", host, "--port", str(port), "--workers", str(workers)]
    arguments += ["--engine", engine, "--name", name]
    if grpc_port is not None:
        arguments += ["--grpc-port", str(grpc_port)]
    execute(FAMILIES[_FAMILY_OF_ENGINE[engine]], ["-m", "shipway.serving.server", *arguments, *server_options])


@click.group("endpoints", invoke_without_command=True)
@click.pass_context
def endpoints_group(context: click.Context) -> None:
    """Lists and stops the local endpoints that runs have left."""
    if context.invoked_subcommand is None:
        context.invoke(endpoints_list)


@endpoints_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine to read.")
def endpoints_list(as_json: bool = False) -> None:
    """Lists the endpoints: name, state, URL and release."""
    found = endpoints.endpoints()
    if as_json:
        click.echo(json.dumps(found))
    for entry in () if as_json else found:
        click.echo(f"{entry['name']:<24} {entry['status']:<8} {entry['url']:<28} {entry['release']['uri']}")
    if not found and not as_json:
        click.echo("no endpoints; `shipway run train_and_deploy` makes one")


@endpoints_group.command("stop")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Stop every endpoint.")
def endpoints_stop(name: str | None, every: bool) -> None:
    """Stops the endpoint NAME, or all of them."""
    if every == (name is not None):
        raise InputError("name one endpoint or give --all; `shipway endpoints` lists them")
    if name:
        endpoints.stop(name)
    for stopped in [name] if name else endpoints.stop_all():
        click.echo(f"stopped {stopped}")


@click.command()
@click.argument("name")
def rollback(name: str) -> None:
    """Puts the release that the endpoint NAME served before back in its place."""
    restored = endpoints.rollback(name)
    click.echo(f"{name} serves {restored['release']['uri']} at {restored['url']}")
