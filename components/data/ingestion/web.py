"""Reading http(s) addresses with the standard library: a few tries on passing faults, whole bodies or none.

Proxies (``https_proxy``, ``no_proxy``) and certificates (``SSL_CERT_FILE``) are taken from the environment.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

from shipway.components.common.errors import InputError, TransientError

__all__ = ["download", "head", "shown", "tag_digest"]

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 30.0
_PAUSES_SECONDS = (0.2, 0.8, 2.0)
_CHUNK_BYTES = 1 << 20
_LATER = {408, 425, 429, 500, 502, 503, 504}
_NO_HEAD = {405, 501}

Result = TypeVar("Result")


def head(url: str) -> Message:
    """Returns the headers that ``url`` answers to HEAD; none when the server does not know HEAD.

    Raises:
        InputError: When there is no such server or document, or reading it is not allowed.
        TransientError: When the server still asks to come later after several tries.
    """

    def read() -> Message:
        try:
            with _open(url, "HEAD") as answer:
                return answer.headers
        except urllib.error.HTTPError as error:
            if error.code in _NO_HEAD:
                return Message()
            raise

    return _persistently(url, read)


def download(url: str, target: BinaryIO) -> Message:
    """Writes the document at ``url`` to ``target`` and returns the headers it came with.

    Raises:
        InputError, TransientError: As :func:`head`; an answer shorter than announced is tried again.
    """

    def read() -> Message:
        target.seek(0)
        target.truncate()
        with _open(url, "GET") as answer:
            announced = answer.headers.get("Content-Length")
            while chunk := answer.read(_CHUNK_BYTES):
                target.write(chunk)
            received = target.tell()
            if announced is not None and received != int(announced):
                raise ConnectionError(f"the answer ended after {received} of {announced} bytes")
            return answer.headers

    headers = _persistently(url, read)
    target.flush()
    return headers


def tag_digest(headers: Message) -> str:
    """Returns ``sha256:<hex>`` over a strong ETag and the length; ``""`` where the headers lack either."""
    tag, length = headers.get("ETag", ""), headers.get("Content-Length", "")
    if not tag.startswith('"') or not length:
        return ""
    return f"sha256:{hashlib.sha256(f'{tag} {length}'.encode()).hexdigest()}"


def shown(url: str) -> str:
    """Returns ``url`` for messages: without user, password, query and fragment, which may hold secrets."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _open(url: str, method: str) -> http.client.HTTPResponse:
    if "@" in urlsplit(url).netloc:
        raise InputError(f"{shown(url)}: take user and password out of the address; sign-in is not supported")
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "shipway", "Accept": "*/*"})  # noqa: S310
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)  # noqa: S310
    return answer


def _persistently(url: str, read: Callable[[], Result]) -> Result:
    for pause in _PAUSES_SECONDS:
        try:
            return _translated(url, read)
        except (TransientError, _Unreachable) as error:
            _LOG.warning("%s; trying again in %.1f s", error, pause)
            time.sleep(pause)
    return _translated(url, read)


class _Unreachable(InputError):
    """No answer at all: tried again like a passing fault, and the caller's mistake when it stays."""


def _translated(url: str, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except urllib.error.HTTPError as error:
        answered = f"{shown(url)} answered {error.code} {error.reason}"
        if error.code in _LATER:
            raise TransientError(f"{answered}; try again later") from error
        hint = "sign-in is not supported" if error.code in (401, 403) else "is data_uri spelt right?"
        raise InputError(f"{answered}; {hint}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise InputError(f"{shown(url)} is no usable address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise InputError(
                f"{shown(url)}: the certificate is not trusted ({reason.verify_message}); "
                "set SSL_CERT_FILE to the certificates to trust"
            ) from error
        raise _Unreachable(
            f"{shown(url)} cannot be read: {reason}; check the address, the network and the proxy settings"
        ) from error
