"""The options of observation."""

from __future__ import annotations

import argparse

from shipway.components.common.errors import InputError

__all__ = ["add_options", "check_options", "is_asked"]

_EVENT_ATTRIBUTES = ("source", "inferenceservicename", "namespace", "endpoint", "component")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser."""
    add = parser.add_argument_group("observation").add_argument
    add("--access-log", nargs="?", const="-", help="a JSON line per request, to a file (default: standard error)")
    add("--payload-log", default="", metavar="URI", help="log requests and answers as Parquet below a path or URI")
    add("--payload-sample-percent", type=float, default=100.0, help="of the requests (default: %(default)s)")
    add("--payload-rotate-seconds", type=float, default=60.0, help="how long a file takes rows (default: %(default)s)")
    add("--payload-rotate-rows", type=int, default=50_000, help="how many it takes (default: %(default)s)")
    add("--payload-spool", default="", metavar="DIR", help="where files wait for the store (default: a temporary one)")
    add("--events-url", default="", metavar="URL", help="send a CloudEvent for each request and each answer")
    add("--events-mode", choices=("all", "request", "response"), default="all", help="default: %(default)s")
    add(
        "--event-attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"of every event: {', '.join(_EVENT_ATTRIBUTES)}",
    )


def check_options(options: argparse.Namespace) -> None:
    """Checks what the parser cannot.

    Raises:
        InputError: When one is out of range.
    """
    percent = options.payload_sample_percent
    if not 0 < percent <= 100:
        raise InputError(f"--payload-sample-percent is {percent}; it must be more than 0 and at most 100")
    if not 1 <= options.payload_rotate_seconds <= 86_400:
        raise InputError(f"--payload-rotate-seconds is {options.payload_rotate_seconds}; it must be from 1 to 86400")
    if not 1 <= options.payload_rotate_rows <= 1_000_000:
        raise InputError(f"--payload-rotate-rows is {options.payload_rotate_rows}; it must be from 1 to 1000000")
    for given in options.event_attribute:
        name, _, value = given.partition("=")
        if name not in _EVENT_ATTRIBUTES or not value:
            raise InputError(
                f"--event-attribute is {given!r}; it must be NAME=VALUE, of {', '.join(_EVENT_ATTRIBUTES)}"
            )


def is_asked(options: argparse.Namespace) -> bool:
    """Returns whether anything is to be observed."""
    return bool(options.access_log or options.payload_log or options.events_url)
