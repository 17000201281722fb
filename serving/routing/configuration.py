"""What Envoy starts with for a route; nothing of it changes while it runs.

Each arm has clusters named by who may answer, the preferred arm first: ``stable`` is that arm or nobody,
``stable+canary`` the arm stable and, where it fails, canary. One exists for every set of arms that weights can
leave in play, so that a change of weights changes nothing but the table of routes, and an arm whose weight is 0
is never failed over to.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

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
from shipway.serving.routing.route import Arm, Route

__all__ = ["ADMIN_SOCKET", "TABLE_FILE", "bootstrap", "threads"]

ADMIN_SOCKET = "admin.sock"
TABLE_FILE = "table.json"

_COPIES_UNDER_WAY = 32
_UNLIMITED = 1 << 20
_MOST_THREADS = 4
# Below what servers keep an idle connection for, so that theirs is not the side that closes it.
_IDLE_SECONDS = 4


def bootstrap(route: Route, host: str, port: int, metrics_port: int) -> Json:
    """Returns the configuration; the table of routes is in a file of its own, which Envoy watches."""
    return {
        "node": {"id": route.name, "cluster": "shipway"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "stats_flush_interval": "1s",
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _kept_metrics()}}},
        "static_resources": {
            "listeners": [
                _listener("route", host, port, _requests(route)),
                _listener("metrics", "127.0.0.1", metrics_port, {"route_config": _metrics_table()}),
            ],
            "clusters": [*_clusters(route), _admin_cluster()],
        },
    }


def threads() -> int:
    """Returns with how many threads Envoy runs: half of the CPUs at most, since the arms need them more."""
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def _clusters(route: Route) -> Iterator[Json]:
    for grpc in (False, True) if route.arms[0].grpc_url else (False,):
        for arm in route.arms:
            others = [other for other in route.arms if other != arm]
            for count in range(len(others) + 1):
                for chosen in itertools.combinations(others, count):
                    yield _cluster(arm.name, [arm, *chosen], grpc)
        if route.mirror:
            (mirror,) = (arm for arm in route.arms if arm.name == route.mirror)
            yield {**_cluster(MIRROR, [mirror], grpc, _COPIES_UNDER_WAY), "name": cluster_name([MIRROR], grpc)}


def _cluster(stat_name: str, arms: list[Arm], grpc: bool, most: int = _UNLIMITED) -> Json:
    name = cluster_name((arm.name for arm in arms), grpc)
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    protocol: Json = {"http2_protocol_options": {}} if grpc else {"http_protocol_options": {}}
    options = {
        **typed("extensions.upstreams.http.v3.HttpProtocolOptions"),
        "common_http_protocol_options": {"idle_timeout": f"{_IDLE_SECONDS}s"},
        "explicit_http_config": protocol,
    }
    cluster = {
        "name": name,
        "alt_stat_name": stat_name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [_server(arm, grpc, place) for place, arm in enumerate(arms)],
        },
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, most)]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    return {**cluster, "outlier_detection": _health()} if len(arms) > 1 else cluster


def _server(arm: Arm, grpc: bool, place: int) -> Json:
    parts = urlsplit(arm.grpc_url if grpc else arm.url)
    address = {"socket_address": {"address": parts.hostname, "port_value": parts.port}}
    metadata = {"filter_metadata": {"shipway": {"arm": arm.name}}}
    return {"priority": place, "lb_endpoints": [{"endpoint": {"address": address}, "metadata": metadata}]}


def _health() -> Json:
    """Returns when an arm is left out for a while: after connections that it refused, not after its answers."""
    by_answers = ("consecutive_5xx", "success_rate", "local_origin_success_rate")
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        **{f"enforcing_{signal}": 0 for signal in by_answers},
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 100,
    }


def _requests(route: Route) -> Json:
    source = {"path": TABLE_FILE, "watched_directory": {"path": "."}}
    manager: Json = {
        "rds": {
            "route_config_name": TABLE,
            "config_source": {"path_config_source": source, "resource_api_version": "V3"},
        },
        "access_log": [_counting()],
        "use_remote_address": True,
    }
    if route.sticky.startswith("cookie:"):
        # Before the route is chosen, so that the first request goes where the cookie it is given will lead.
        mutation = {"append": header(KEY_HEADER, "%UNIQUE_ID%")}
        package = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
        manager["early_header_mutation_extensions"] = [extension("key", package, mutations=[mutation])]
    return manager


def _counting() -> Json:
    """Returns the access logger that only counts: requests by arm and code, durations by arm."""
    arm = {"name": "arm", "value_format": ARM_OF_UPSTREAM}
    code = {"name": "code", "value_format": "%RESPONSE_CODE%"}
    return extension(
        "envoy.access_loggers.stats",
        "extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "shipway"},
        counters=[{"stat": {"name": "requests", "tags": [arm, code]}, "value_fixed": 1}],
        histograms=[
            {
                "stat": {"name": "request_milliseconds", "tags": [arm]},
                "unit": "Milliseconds",
                "value_format": "%DURATION%",
            }
        ],
    )


def _kept_metrics() -> list[Json]:
    """Returns which metrics there are; Envoy has hundreds."""
    return [
        {"prefix": "shipway."},
        {"safe_regex": {"regex": r"http\.route\.downstream_(cx|rq)_active"}},
        {"safe_regex": {"regex": r"cluster\..*\.upstream_rq_(retry|retry_success)"}},
        {"safe_regex": {"regex": rf"cluster\.{MIRROR}\.upstream_rq_(total|pending_overflow|\d+)"}},
        {"safe_regex": {"regex": r"cluster\..*\.outlier_detection\.ejections_active"}},
    ]


def _metrics_table() -> Json:
    rewritten = {"cluster": "admin", "prefix_rewrite": "/stats/prometheus?usedonly"}
    entry = {"match": {"path": "/metrics"}, "route": rewritten}
    return {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [entry]}]}


def _listener(name: str, host: str, port: int, manager: Json) -> Json:
    router = extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )
    connection_manager = extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        generate_request_id=False,
        server_header_transformation="PASS_THROUGH",
        http_filters=[router],
        **manager,
    )
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"name": name, "address": address, "filter_chains": [{"filters": [connection_manager]}]}


def _admin_cluster() -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": ADMIN_SOCKET}}}}
    assignment = {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": "admin", "type": "STATIC", "load_assignment": assignment}
