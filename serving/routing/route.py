"""What a route is: which arms, how requests are split over them, and what is copied to whom."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from shipway.components.common.errors import InputError

__all__ = ["FORCE_HEADER", "Arm", "Route", "check_name"]

FORCE_HEADER = "x-shipway-arm"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_ARMS = 4


@dataclasses.dataclass(frozen=True)
class Arm:
    """One server behind a route.

    Attributes:
        name: Its name in headers and metrics: a-z, 0-9 and hyphens, at most 63 characters.
        url: Where its REST protocols are: ``http://host:port``.
        weight_percent: Its share of the requests, from 0 to 100.
        grpc_url: Where its gRPC is; "" for none. Either every arm of a route has one or none has.
    """

    name: str
    url: str
    weight_percent: int = 0
    grpc_url: str = ""


@dataclasses.dataclass(frozen=True)
class Route:
    """How requests to one address are spread over servers of the same model.

    Attributes:
        name: a-z, 0-9 and hyphens, at most 63 characters.
        arms: Two to four; their weights sum to 100.
        sticky: What keeps a user on one arm: ``header:NAME`` by that header's value, ``cookie:NAME`` by a cookie that
            the router gives out, "" for nothing.
        force_header: A request that names an arm in this header is answered by that arm or not at all; "" for none.
        mirror: The arm that gets a copy of every request that is not forced; its weight is 0. "" for none.
        timeout_seconds: When a request that no arm has answered becomes a 504.

    Raises:
        InputError: When one of these is not as described.
    """

    name: str
    arms: Sequence[Arm]
    sticky: str = ""
    force_header: str = FORCE_HEADER
    mirror: str = ""
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_name("route", self.name)
        _check_arms(self.arms)
        self._check_weights()
        kind, colon, what = self.sticky.partition(":")
        if self.sticky and not (kind in ("header", "cookie") and colon and _TOKEN.fullmatch(what)):
            raise InputError(f"sticky is {self.sticky!r}; it must be header:NAME, cookie:NAME or empty")
        if self.force_header and not _TOKEN.fullmatch(self.force_header):
            raise InputError(f"{self.force_header!r} cannot name a header: use letters, digits, hyphens")
        if not 0.001 <= self.timeout_seconds <= 3600:
            raise InputError(f"timeout_seconds is {self.timeout_seconds}; it must be from 0.001 to 3600")

    @property
    def weights(self) -> dict[str, int]:
        """Arm names and their percentages."""
        return {arm.name: arm.weight_percent for arm in self.arms}

    def with_weights(self, weights: Mapping[str, int]) -> Route:
        """Returns the same route with other weights, one for each arm.

        Raises:
            InputError: When an arm is missing or unknown, or they do not sum to 100.
        """
        names = [arm.name for arm in self.arms]
        if sorted(weights) != sorted(names):
            raise InputError(
                f"weights are given for {', '.join(sorted(weights)) or 'no arm'}; the route {self.name} needs one for"
                f" each of {', '.join(names)}"
            )
        arms = [dataclasses.replace(arm, weight_percent=weights[arm.name]) for arm in self.arms]
        return dataclasses.replace(self, arms=arms)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Route:
        """Returns the route that ``dataclasses.asdict`` once described."""
        return cls(**{**record, "arms": [Arm(**arm) for arm in record["arms"]]})

    def _check_weights(self) -> None:
        weights = self.weights
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100:
                raise InputError(f"the weight of the arm {name} is {weight!r}; it must be a whole number from 0 to 100")
        if sum(weights.values()) != 100:
            given = ", ".join(f"{name} {weight}" for name, weight in weights.items())
            raise InputError(f"the weights sum to {sum(weights.values())} ({given}); they must sum to 100")
        if self.mirror and weights.get(self.mirror) != 0:
            raise InputError(
                f"mirror is {self.mirror!r}; it must name an arm whose weight is 0, one of"
                f" {', '.join(name for name, weight in weights.items() if not weight) or 'which there is none'}"
            )


def check_name(what: str, name: str) -> None:
    """Checks the name of a route or an arm.

    Raises:
        InputError: When it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a{'n' * (what[0] in 'aeiou')} {what}: use a-z, 0-9 and hyphens, at most 63"
            " characters, a letter or digit first and last"
        )


def _check_arms(arms: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    if not 2 <= len(arms) <= _MOST_ARMS or len({*names}) != len(names):
        raise InputError(f"a route has two to {_MOST_ARMS} arms of different names, not {', '.join(names) or 'none'}")
    if len({bool(arm.grpc_url) for arm in arms}) != 1:
        raise InputError("some arms have a grpc_url and some have none; give it for each or for none")
    for arm in arms:
        check_name("arm", arm.name)
        for url in (arm.url, arm.grpc_url) if arm.grpc_url else (arm.url,):
            _check_url(arm.name, url)


def _check_url(arm: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        fits = False
    if not fits or parts.username is not None or parts.query or parts.fragment:
        raise InputError(f"the URL of the arm {arm} is {url!r}; it must be http://host:port")
