"""The digests that registries have for the tags of ``manifests/images.lock``.

``python -m shipway.pipelines.pinning [--registry HOST/PATH]`` (``make pin-images``) asks for all of them and writes the
lock when all are known. Credentials come from ``~/.netrc``.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from shipway.components.common.errors import InputError, IntegrityError, ShipwayError, TransientError
from shipway.pipelines.images import LOCK, Image, read_lock, write_lock

__all__ = ["digest_of", "main", "pinned"]

_OWN = "shipway/"  # of no public registry: there anybody may have taken the name
_HUB = "registry-1.docker.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_TIMEOUT_SECONDS = 30


def pinned(images: Mapping[str, Image], registry: str = "") -> dict[str, Image]:
    """Returns the images with the digests that their registries have for them now.

    Args:
        images: By the names that they have in the manifests.
        registry: ``HOST[/PATH]`` where the project's own images are; while none was ever given they keep their tags.

    Raises:
        InputError: When a registry does not have an image, or lets nobody see it.
        IntegrityError: When its answer is not what its digest says.
        TransientError: When it does not answer.
    """
    found = {}
    for name, image in images.items():
        if name.startswith(_OWN) and registry:
            image = Image.of(f"{registry}/{name}:{image.tag}")
        nowhere = name.startswith(_OWN) and image.name == name
        found[name] = image if nowhere else replace(image, digest=digest_of(image))
    return found


def digest_of(image: Image) -> str:
    """Returns the digest that an image's registry has for its tag.

    Raises:
        InputError: When it does not have the image, or lets nobody see it.
        IntegrityError: When its answer is not what its digest says.
        TransientError: When it does not answer.
    """
    host = _HUB if image.host in ("", "docker.io") else image.host
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{host}/v2/{image.path}/manifests/{image.tag}"
    with requests.Session() as session:
        session.headers["Accept"] = ", ".join(_MANIFESTS)
        answer = _get(session, url)
        if answer.status_code == 401:
            answer = _get(session, url, auth=_Bearer(_token(session, answer, image)))
    if answer.status_code != 200:
        raise InputError(f"{image}: {host} answers with {answer.status_code}; push it there, or log in by ~/.netrc")
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if kind not in _MANIFESTS or answer.headers.get("Docker-Content-Digest", digest) != digest:
        raise IntegrityError(f"{url} sent something else than the manifest of its digest; ask again", url)
    return digest


class _Bearer(requests.auth.AuthBase):
    """Sends a token; as ``auth`` it goes before ``~/.netrc``."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _token(session: requests.Session, refusal: requests.Response, image: Image) -> str:
    challenge = refusal.headers.get("WWW-Authenticate", "")
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or "realm" not in asked:
        raise InputError(f"{image}: {refusal.url.split('/')[2]} wants a login; put one into ~/.netrc")
    scope = asked.get("scope", f"repository:{image.path}:pull")
    answer = _get(session, asked["realm"], params={"service": asked.get("service", ""), "scope": scope})
    token = _member(answer, "token") or _member(answer, "access_token")
    if answer.status_code != 200 or not token:
        where = answer.url.split("/")[2]
        raise InputError(f"{image}: {where} gives no token (HTTP {answer.status_code}); log in by ~/.netrc")
    return token


def _member(answer: requests.Response, name: str) -> str:
    try:
        value = answer.json().get(name)
    except (ValueError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""


def _get(session: requests.Session, url: str, **options: Any) -> requests.Response:
    where = url.partition("?")[0]
    try:
        answer = session.get(url, timeout=_TIMEOUT_SECONDS, **options)
    except requests.RequestException as error:
        raise TransientError(f"{where} does not answer: {error}; the lock is as it was") from error
    if answer.status_code == 429 or answer.status_code >= 500:
        raise TransientError(f"{where} answers with {answer.status_code}; the lock is as it was, try again later")
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Pins the lock; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make pin-images", description="Adds their digests to the images' tags.")
    parser.add_argument("--registry", default="", help="HOST[/PATH] where the project's own images are")
    parser.add_argument("--lock", type=Path, default=LOCK)
    options = parser.parse_args(arguments)
    try:
        images = pinned(read_lock(options.lock), options.registry)
        write_lock(images, options.lock)
    except ShipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    for name, image in images.items():
        print(image if image.digest else f"{name} keeps its tag: --registry says where the project's own images are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
