"""The client of Google Cloud Storage: credentials, certificates, proxy; and what its errors mean."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import google.auth
import google.auth.credentials
import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage

from shipway.components.common.errors import (
    AccessDenied,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.profiles import Profile

__all__ = ["GsClient", "failure", "told_as"]

_CONNECT_SECONDS = 10.0
_TOKENS = "https://oauth2.googleapis.com"
_METADATA_SERVERS = ("http://metadata.google.internal", "http://169.254.169.254")
_SESSION = re.compile(r"(upload_id=)[^&\s]+")
_BUSY = (408, 425, 429)

# Else each client asks for its bucket in a thread, again and again where it may not, for traces that nobody collects.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


class GsClient:
    """google-cloud-storage's client for a profile, and the session that it sends its requests by.

    Both are made when they are first asked for, so that a store without credentials can be opened and named.
    """

    def __init__(self, root: str, profile: Profile, workers: int) -> None:
        self._root, self._profile, self._workers = root, profile, workers
        self._lock = threading.Lock()
        self._made: tuple[storage.Client, AuthorizedSession] | None = None
        self.timeout = (min(_CONNECT_SECONDS, profile.stall_seconds), profile.stall_seconds)

    @property
    def client(self) -> storage.Client:
        """The client.

        Raises:
            AccessDenied: When there are no credentials.
        """
        return self._both()[0]

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends one request to the endpoint and returns the answer, whatever its status."""
        client, session = self._both()
        url = client.api_endpoint + path
        return session.request(method, url, timeout=self.timeout, allow_redirects=False, **options)  # type: ignore[no-untyped-call, no-any-return]

    def _both(self) -> tuple[storage.Client, AuthorizedSession]:
        with self._lock:
            if self._made is None:
                self._made = self._new()
            return self._made

    def _new(self) -> tuple[storage.Client, AuthorizedSession]:
        endpoint = self._profile.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST", "")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        request = Request(self._equipped(requests.Session(), _TOKENS))
        credentials = self._credentials(request, bool(endpoint))
        session = AuthorizedSession(credentials, auth_request=request)  # type: ignore[no-untyped-call]
        self._equipped(session, endpoint or _TOKENS)
        options = {"api_endpoint": endpoint.rstrip("/")} if endpoint else None
        return storage.Client(project=None, credentials=credentials, _http=session, client_options=options), session

    def _equipped(self, session: requests.Session, url: str) -> requests.Session:
        """Gives a session the profile's certificates and proxy, which requests would let the environment's overrule."""
        profile = self._profile
        found = session.merge_environment_settings(url, {}, None, None, None)
        session.trust_env = False
        session.verify = profile.verify_tls and (profile.ca_bundle or found["verify"])
        proxies = {"http": profile.proxy, "https": profile.proxy} if profile.proxy else found["proxies"]
        session.proxies = {**proxies, **dict.fromkeys(_METADATA_SERVERS, "")}
        for scheme in ("https://", "http://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=max(10, self._workers)))
        return session

    def _credentials(self, request: Request, emulated: bool) -> Any:
        path = self._profile.credentials_file
        try:
            if path:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # it warns of files that strangers wrote
                    credentials, _ = google.auth.load_credentials_from_file(path, request=request)  # type: ignore[no-untyped-call]
            elif self._profile.anonymous or emulated:
                return google.auth.credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]
            else:
                credentials, _ = google.auth.default(request=request)
            # With scopes from the start the library would ask for the project, which nobody needs, over the network.
            return google.auth.credentials.with_scopes_if_required(credentials, storage.Client.SCOPE)  # type: ignore[no-untyped-call]
        except TransportError:
            raise
        except GoogleAuthError as error:
            raise AccessDenied(
                f"{self._root}: no usable credentials ({error}); name a service account's or an external account's JSON"
                " as credentials_file in the profile or by GOOGLE_APPLICATION_CREDENTIALS, run where Workload Identity"
                " offers some, or set anonymous for a public bucket",
                self._root,
            ) from error


class _HideSessions(logging.Filter):
    """Keeps the addresses of uploads, which let anybody write, out of urllib3's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_hidden(value) if isinstance(value, str) else value for value in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_HideSessions())


@contextlib.contextmanager
def told_as(uri: str, permission: str) -> Iterator[None]:
    """Raises what the libraries raise as the tree's errors.

    Args:
        uri: What it is about.
        permission: What the request needs, such as ``storage.objects.get``.
    """
    try:
        yield
    except GoogleAPICallError as error:
        if error.response is None:
            raise StorageError(f"{uri}: {_hidden(str(error))}", uri) from None
        raise failure(error.response, uri, permission) from None
    except (GoogleAuthError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unanswered(error, uri) from None
    except (KeyError, ValueError) as error:
        reason = _reason(error).partition("\n")[0][:100]
        raise StorageUnavailable(f"{uri}: the store's answer makes no sense: {reason}", uri) from None
    except OSError as error:  # requests' word for a bundle that is not there
        raise StorageError(f"{uri}: {error}; correct ca_bundle in the profile", uri) from None


def _unanswered(error: Exception, uri: str) -> StorageError:
    """Returns the error for a request that got no answer, or not even a token."""
    reason = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return StorageError(f"{uri}: {reason}; name the authority's certificates as ca_bundle in the profile", uri)
    if isinstance(error, TransportError) or (isinstance(error, GoogleAuthError) and error.retryable):
        return StorageUnavailable(f"{uri}: no token could be got: {reason}", uri)
    if isinstance(error, GoogleAuthError):
        return AccessDenied(f"{uri}: the credentials are not accepted: {reason}; the profile can name others", uri)
    if isinstance(error, ValueError) and not isinstance(error, requests.JSONDecodeError):
        return StorageError(f"{uri}: {reason}; correct endpoint_url or proxy in the profile", uri)
    return StorageUnavailable(
        f"{uri}: the store does not answer: {reason}; check endpoint_url, the network and the proxy", uri
    )


def failure(response: requests.Response, uri: str, permission: str) -> StorageError:
    """Returns the error that an answer stands for."""
    status = response.status_code
    said = f"{status}: {_said(response)}"
    if status in _BUSY or status >= 500:
        return StorageUnavailable(f"{uri}: the store is busy ({said})", uri)
    if status in (401, 403):
        needed = f"the credentials need {permission}, which the role Storage Object User has"
        return AccessDenied(f"{uri}: access denied ({said}); {needed}, or the profile has to name others", uri)
    if status in (404, 410):
        return ObjectNotFound(f"{uri} does not exist, or its bucket does not ({said}); correct the name", uri)
    if status == 412:
        return PreconditionFailed(f"{uri} is not the version expected ({said}); read it again", uri)
    if status == 400 and "crc32c" in said.lower():
        return IntegrityError(f"{uri}: what arrived was not what was sent ({said}); nothing was written", uri)
    return StorageError(f"{uri}: the store refused the request ({said})", uri)


def _said(response: requests.Response) -> str:
    """Returns an answer's own words."""
    try:
        text = str(response.json()["error"]["message"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        plain = response.headers.get("Content-Type", "").startswith("text/plain")
        text = response.text.strip() if plain else str(response.reason)
    return _hidden(text)[:300]


def _reason(error: BaseException) -> str:
    """Returns an error's innermost cause in words: the others tell the address asked, which may be secret."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    inner = getattr(error, "reason", None)
    return _hidden(str(inner if isinstance(inner, BaseException) else error)) or type(error).__name__


def _hidden(text: str) -> str:
    return _SESSION.sub(r"\1...", text)
