"""Web servers as stores that can only be read, file by file: ``http://`` and ``https://``.

What a file is, HEAD tells, or GET where a server knows no HEAD, forbids it (addresses that are signed for GET alone)
or gives it no length. Where GET gives none either, the whole body is read once to count it. Bytes are taken as the
server keeps them: none that it compressed on the way is asked for, and what comes compressed all the same stays so.

The version is the strong ETag; without one, a file that changes between two requests is noticed only by its bytes.
Certificates are those of the system and certifi, with SSL_CERT_FILE, SSL_CERT_DIR and REQUESTS_CA_BUNDLE, or those of
the profile's ``ca_bundle`` alone. Proxies are the profile's, or the environment's (``https_proxy``, ``no_proxy``).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import email.utils
import re
import ssl
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NoReturn

import requests
import requests.adapters
import urllib3

from shipway.components.common.errors import (
    AccessDenied,
    CapabilityMissing,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums
from shipway.components.common.storage.objects import Listing, ObjectInfo
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri, shown

__all__ = ["WebStore"]

_CHUNK_BYTES = 1 << 20
_CONNECT_SECONDS = 10.0
_NO_HEAD = (400, 401, 403, 405, 406, 501)
_DENIED = (401, 403, 407)
_ABSENT = (404, 410)
_LATER = (408, 425, 429)
_WHOLE, _PART, _NO_SUCH_PART = 200, 206, 416
_BROKE_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class WebStore(Store):
    """One host. A key is the path and the query of an address; messages leave the query out."""

    has_directories = False

    def __init__(self, root: StorageUri, profile: Profile, workers: int = 8) -> None:
        super().__init__(root, profile)
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "shipway", "Accept-Encoding": "identity"})
        self._session.auth = self._signed
        usual = profile.verify_tls and not profile.ca_bundle
        adapter = _Adapter(ssl.create_default_context() if usual else None, workers)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def uri(self, key: str) -> str:
        """Returns an address for messages, without its query."""
        return shown(super().uri(key))

    def _signed(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.profile.bearer_token.strip()
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    @contextlib.contextmanager
    def _answer(self, method: str, key: str, byte_range: str = "") -> Iterator[requests.Response]:
        uri, profile = self.uri(key), self.profile
        try:
            with self._session.request(
                method,
                super().uri(key),
                headers={"Range": f"bytes={byte_range}"} if byte_range else {},
                stream=method != "HEAD",  # which is over at once, and leaves its connection to the next
                timeout=(min(_CONNECT_SECONDS, profile.stall_seconds), profile.stall_seconds),
                verify=profile.verify_tls and (profile.ca_bundle or True),
                proxies=dict.fromkeys(("http", "https"), profile.proxy) if profile.proxy else {},
            ) as answer:
                yield answer
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise _failure(error, uri) from None  # the original's text has the query in it

    def _stat(self, key: str) -> ObjectInfo:
        with self._answer("HEAD", key) as answer:
            if answer.status_code not in _NO_HEAD:
                _check_status(answer, self.uri(key))
                size = _size(answer)
                if size:  # some servers claim that the body they leave out of a HEAD is empty
                    return _info(key, size, answer)
        with self._answer("GET", key, "0-0") as answer:
            if answer.status_code == _NO_SUCH_PART:
                return ObjectInfo(key)
            _check_status(answer, self.uri(key))
            size = _size(answer)
            if size is not None:
                return _info(key, size, answer)
        with self._answer("GET", key) as answer:
            _check_status(answer, self.uri(key))
            return _info(key, sum(map(len, _chunks(answer))), answer)

    def _list(self, directory: str, recursive: bool, page: str) -> Listing:  # noqa: ARG002
        uri = self.uri(directory)
        raise StorageError(
            f"{uri} is no file, and what lies below an address cannot be listed; give the address of one file, or put"
            " the directory where it can be listed: gs://, s3://, pvc:// or a path",
            uri,
        )

    def _read(self, key: str, start: int, stop: int, version: str) -> Generator[bytes, None, None]:
        uri = self.uri(key)
        with self._answer("GET", key, f"{start}-{stop - 1}") as answer:
            if answer.status_code == _NO_SUCH_PART:
                raise PreconditionFailed(f"{uri} has become shorter than {stop:,} bytes; read it again", uri)
            _check_status(answer, uri)
            found = _version(answer)
            if version and found and found != version:
                raise PreconditionFailed(f"{uri} is no longer the version {version} but {found}; read it again", uri)
            skip, left = _before(answer, start, uri), stop - start
            for chunk in _chunks(answer):
                wanted = chunk[skip : skip + left]
                skip = max(0, skip - len(chunk))
                if wanted:
                    left -= len(wanted)
                    yield wanted
                if not left:
                    return

    def _refuse(self, *_request: Any, **_named: Any) -> NoReturn:
        raise CapabilityMissing(
            f"{self.root.root} can only be read; write to gs://, s3://, pvc:// or a path", self.root.root
        )

    _put = _delete = _start_upload = _sent_parts = _send_part = _finish_upload = _abort_upload = _refuse


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections that trust what ``context`` trusts; and besides, what ``verify`` names."""

    def __init__(self, context: ssl.SSLContext | None, workers: int) -> None:
        self._context = context
        super().__init__(pool_maxsize=workers)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    yield from answer.raw.stream(_CHUNK_BYTES, decode_content=False)


def _check_status(answer: requests.Response, uri: str) -> None:
    status = answer.status_code
    if status in (_WHOLE, _PART):
        return
    answered = f"{uri} answered {status} {answer.reason}"
    if status in _DENIED:
        raise AccessDenied(f"{answered}; if it takes a token, set bearer_token in a profile", uri)
    if status in _ABSENT:
        raise ObjectNotFound(f"{answered}; is the address spelt right?", uri)
    if status in _LATER or status >= requests.codes.server_error:
        raise StorageUnavailable(f"{answered}; try again later", uri)
    raise StorageError(f"{answered}, which is no file; is the address spelt right?", uri)


def _before(answer: requests.Response, start: int, uri: str) -> int:
    """Returns how many bytes of the answer come before ``start``: a server need not heed Range."""
    if answer.status_code == _WHOLE:
        return start
    told = answer.headers.get("Content-Range", "")
    match = _RANGE.fullmatch(told)
    if not match or int(match[1]) != start:
        raise StorageError(f"{uri} was asked for the bytes from {start:,} and answered with {told[:100]!r}", uri)
    return 0


def _size(answer: requests.Response) -> int | None:
    if answer.status_code == _PART:
        told = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        told = answer.headers.get("Content-Length", "")
    return int(told) if told.isdecimal() else None


def _version(answer: requests.Response) -> str:
    tag: str = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""


def _info(key: str, size: int, answer: requests.Response) -> ObjectInfo:
    modified: datetime.datetime | None = None
    with contextlib.suppress(ValueError, TypeError):
        modified = email.utils.parsedate_to_datetime(answer.headers.get("Last-Modified", ""))
    ranges = answer.status_code == _PART or answer.headers.get("Accept-Ranges") == "bytes"
    return ObjectInfo(key, size, _version(answer), modified, _checksums(answer), ranges)


def _checksums(answer: requests.Response) -> Checksums:
    """Returns the checksums that an answer's headers tell of the whole file as it is stored."""
    headers = answer.headers
    stored = headers.get("x-goog-stored-content-encoding", "identity")
    if {stored, headers.get("Content-Encoding", "identity")} != {"identity"}:
        return NO_CHECKSUMS  # which form they are of is not certain
    google, digests = _listed(headers, "x-goog-hash"), _listed(headers, "Digest") | _listed(headers, "Repr-Digest")
    whole = headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"
    amazon = {
        name: headers.get(f"x-amz-checksum-{name}", "") if whole else "" for name in ("crc32c", "crc32", "sha256")
    }
    md5 = headers.get("Content-MD5", "") if answer.status_code == _WHOLE else ""
    return Checksums(
        crc32c=_base64(google.get("crc32c", ""), 4) or _base64(amazon["crc32c"], 4),
        crc32=_base64(amazon["crc32"], 4),
        md5=_hexadecimal(google.get("md5", ""), 16) or _hexadecimal(md5, 16),
        sha256=_hexadecimal(digests.get("sha-256", ""), 32) or _hexadecimal(amazon["sha256"], 32),
    )


def _listed(headers: Mapping[str, str], name: str) -> dict[str, str]:
    """Returns the values, by algorithm, of a header such as ``crc32c=AAAAAA==,md5=...`` or ``sha-256=:...:``."""
    pairs = (item.strip().partition("=") for item in headers.get(name, "").split(","))
    return {algorithm.lower(): value.strip(":") for algorithm, _, value in pairs}


def _base64(text: str, count: int) -> str:
    return text if _hexadecimal(text, count) else ""


def _hexadecimal(text: str, count: int) -> str:
    """Returns ``count`` bytes that are written in base64 as hexadecimal digits; "" where ``text`` is something else."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return ""
    return data.hex() if len(data) == count else ""


def _failure(error: Exception, uri: str) -> StorageError:
    """Returns the tree's error for one of requests or urllib3, whose own text may have the address's query in it."""
    reason = _reason(error)
    if isinstance(error, requests.exceptions.SSLError) and not isinstance(reason, _BROKE_OFF):
        return StorageError(
            f"{uri}: no secure connection: {reason}; set SSL_CERT_FILE, or ca_bundle in a profile, to the"
            " certificates to trust",
            uri,
        )
    connections = (requests.exceptions.ConnectionError, requests.exceptions.Timeout, urllib3.exceptions.HTTPError)
    if isinstance(error, connections):
        return StorageUnavailable(f"{uri} cannot be read: {reason}; check the address, the network and the proxy", uri)
    if isinstance(error, requests.exceptions.RequestException):
        return StorageError(f"{uri}, or what it leads to, is no usable address ({type(error).__name__})", uri)
    return StorageError(f"{uri} cannot be read: {reason}", uri)


def _reason(error: BaseException) -> BaseException:
    """Returns the innermost error, which knows nothing of the address."""
    inner = [each for each in (getattr(error, "reason", None), *error.args) if isinstance(each, BaseException)]
    return _reason(inner[-1]) if inner else error
