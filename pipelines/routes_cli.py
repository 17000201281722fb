"""What the command line does with routes: A/B tests, canaries and shadows on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from shipway.components.common.errors import InputError
from shipway.pipelines.environments import make_environments
from shipway.pipelines.families import FAMILIES
from shipway.serving.routing import router
from shipway.serving.routing.route import FORCE_HEADER, Arm, Route

__all__ = ["route_group"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine to read.")


@click.group("route", invoke_without_command=True)
@click.pass_context
def route_group(context: click.Context) -> None:
    """Splits requests over several servers of a model: A/B tests, canaries, shadows.

    \b
    shipway route start m --arm stable=http://127.0.0.1:8081=90 --arm canary=http://127.0.0.1:8082=10
    shipway route set m stable=50 canary=50
    shipway route stop m
    """  # noqa: D301 - click reads it as a mark
    if context.invoked_subcommand is None:
        context.invoke(route_list)


@route_group.command("start")
@click.argument("name")
@click.option(
    "--arm", "arms", multiple=True, metavar="NAME=URL[=PERCENT]", help="A server and its share; two to four of them."
)
@click.option("--grpc", multiple=True, metavar="NAME=URL", help="Where an arm's gRPC is; for each arm or for none.")
@click.option("--sticky", default="", help="What keeps a user on one arm: header:NAME or cookie:NAME.")
@click.option("--force-header", default=FORCE_HEADER, show_default=True, help="Names the arm that must answer.")
@click.option("--mirror", default="", help="The arm of 0 percent that gets copies, its answers thrown away.")
@click.option("--timeout-seconds", default=60.0, show_default=True, help="Of a request that no arm has answered.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="By default a free one.")
@_as_json
def route_start(name: str, arms: Sequence[str], grpc: Sequence[str], as_json: bool, **options: Any) -> None:
    """Starts the route NAME, which goes on in the background; the arms need not be up yet."""
    where = {key: options.pop(key) for key in ("host", "port")}
    grpc_urls = dict(_pair(text, "--grpc takes NAME=URL") for text in grpc)
    route = Route(name, [_arm(text, grpc_urls) for text in arms], **options)
    if grpc_urls:
        raise InputError(f"--grpc names {', '.join(grpc_urls)}, which --arm does not")
    family = FAMILIES["routing"]
    environment = make_environments([family], lambda line: click.echo(line, err=True))[family.name]
    _tell(router.start(route, python=str(environment.python), **where), as_json)


@route_group.command("set")
@click.argument("name")
@click.argument("weights", nargs=-1, required=True)
@_as_json
def route_set(name: str, weights: Sequence[str], as_json: bool) -> None:
    """Changes the shares of the route NAME; WEIGHTS are ARM=PERCENT, one for each arm."""
    pairs = [_pair(text, "weights are ARM=PERCENT") for text in weights]
    _tell(router.set_weights(name, {arm: _percent(text) for arm, text in pairs}), as_json)


@route_group.command("list")
@_as_json
def route_list(as_json: bool = False) -> None:
    """Lists the routes: name, state, URL, and the arms with their shares."""
    found = router.routes()
    if as_json:
        click.echo(json.dumps(found))
        return
    for record in found:
        _tell(record, as_json=False)
    if not found:
        click.echo("no routes; `shipway route start` makes one")


@route_group.command("stop")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Stop every route.")
def route_stop(name: str | None, every: bool) -> None:
    """Stops the route NAME, or all of them; the arms stay."""
    if every == (name is not None):
        raise InputError("name one route or give --all; `shipway route` lists them")
    if name:
        router.stop(name)
    for stopped in [name] if name else router.stop_all():
        click.echo(f"stopped {stopped}")


def _arm(text: str, grpc_urls: dict[str, str]) -> Arm:
    name, _, rest = text.partition("=")
    url, _, percent = rest.partition("=")
    return Arm(name, url, _percent(percent or "0"), grpc_urls.pop(name, ""))


def _pair(text: str, usage: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{usage}, not {text!r}")
    return name, value


def _percent(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{text!r} is no whole number of percent") from None


def _tell(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record))
        return
    route = record["route"]
    shares = ", ".join(f"{arm['name']} {arm['weight_percent']} %" for arm in route["arms"])
    copies = f", copies to {route['mirror']}" if route["mirror"] else ""
    click.echo(f"{route['name']:<24} {record['status']:<8} {record['url']:<28} {shares}{copies}")
