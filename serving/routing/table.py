"""The table of routes: which request goes to which arms. Weights are here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from shipway.serving.routing.messages import (
    ARM_OF_UPSTREAM,
    KEY_HEADER,
    MIRROR,
    TABLE,
    Json,
    cluster_name,
    extension,
    header,
    typed,
)
from shipway.serving.routing.route import Route

__all__ = ["ARM_HEADER", "table"]

ARM_HEADER = "x-shipway-arm"
"""Names the arm in every answer."""

_RETRIED_BODY_BYTES = 64 << 20


def table(route: Route, version: str) -> Json:
    """Returns the table of a route, as the file that Envoy watches holds it."""
    protocols = (True, False) if route.arms[0].grpc_url else (False,)
    host = {
        "name": route.name,
        "domains": ["*"],
        "routes": [entry for grpc in protocols for entry in _entries(route, grpc)],
        "request_body_buffer_limit": _RETRIED_BODY_BYTES,
    }
    resource = {
        **typed("config.route.v3.RouteConfiguration"),
        "name": TABLE,
        "virtual_hosts": [host],
        "response_headers_to_add": [header(ARM_HEADER, ARM_OF_UPSTREAM)],
    }
    return {"version_info": version, "resources": [resource]}


def _entries(route: Route, grpc: bool) -> Iterator[Json]:
    """Yields the entries for one protocol, the first that matches being the one that counts."""
    if route.force_header:
        for arm in route.arms:
            headers = [_matching(route.force_header, {"exact": arm.name})]
            yield _entry(route, grpc, {"cluster": cluster_name([arm.name], grpc)}, headers)
        yield _refusal(route, grpc)
    kind, _, what = route.sticky.partition(":")
    if kind == "header":
        yield _split(route, grpc, {"header": {"header_name": what}})
    elif kind == "cookie":
        has_cookie = _matching("cookie", {"safe_regex": {"regex": f"(.*;)? *{what}=[^;]+(;.*)?"}})
        yield _split(route, grpc, {"cookie": {"name": what}}, [has_cookie])
        cookie = f"{what}=%REQ({KEY_HEADER})%; Path=/; HttpOnly; SameSite=Lax"
        given = header("set-cookie", cookie, "APPEND_IF_EXISTS_OR_ADD")
        entry = _split(route, grpc, {"header": {"header_name": KEY_HEADER}})
        yield {**entry, "response_headers_to_add": [given]}
    else:
        yield _split(route, grpc, None)


def _split(route: Route, grpc: bool, key: Json | None, headers: Iterable[Json] = ()) -> Json:
    weights = {name: weight for name, weight in route.weights.items() if weight}
    clusters = [
        {"name": cluster_name([name, *(other for other in weights if other != name)], grpc), "weight": weight}
        for name, weight in weights.items()
    ]
    action: Json = {"weighted_clusters": {"clusters": clusters}, "retry_policy": _retry_policy(len(weights) - 1)}
    if key:
        action["weighted_clusters"]["use_hash_policy"] = True
        action["hash_policy"] = [key]
    if route.mirror:
        copies = {"cluster": cluster_name([MIRROR], grpc), "disable_shadow_host_suffix_append": True}
        action["request_mirror_policies"] = [copies]
    return _entry(route, grpc, action, headers)


def _entry(route: Route, grpc: bool, action: Json, headers: Iterable[Json]) -> Json:
    return {"match": _match(grpc, headers), "route": {**action, "timeout": f"{route.timeout_seconds}s"}}


def _refusal(route: Route, grpc: bool) -> Json:
    """Returns the entry that answers requests which force an arm that there is not."""
    names = ", ".join(arm.name for arm in route.arms)
    body = json.dumps({"error": f"the header {route.force_header} must name an arm of the route: {names}"})
    return {
        "match": _match(grpc, [{"name": route.force_header, "present_match": True}]),
        "direct_response": {"status": 400, "body": {"inline_string": body}},
        "response_headers_to_add": [header("content-type", "application/json")],
    }


def _match(grpc: bool, headers: Iterable[Json]) -> Json:
    return {"prefix": "/", "headers": list(headers), **({"grpc": {}} if grpc else {})}


def _matching(name: str, value: Json) -> Json:
    return {"name": name, "string_match": value}


def _retry_policy(others: int) -> Json:
    """Returns when a request goes to another arm: when one refuses it or breaks off, not when one answers."""
    priorities = "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": max(1, others),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
        "retry_priority": extension("envoy.retry_priorities.previous_priorities", priorities, update_frequency=1),
    }
