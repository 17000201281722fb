"""What S3 stores and boto3 report, as the tree's errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import urllib3
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from shipway.components.common.errors import (
    AccessDenied,
    ObjectNotFound,
    PreconditionFailed,
    Preempted,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.profiles import Profile

__all__ = ["code_of", "told_as"]

_DAMAGED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_BUSY = {
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
}
_BUSY_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_DENIED = {
    "ExpiredToken": "the session token is too old; get new credentials",
    "InvalidAccessKeyId": "there is no such access key; `shipway storage profile URI` tells where it is from",
    "InvalidToken": "the session token is wrong; get new credentials",
    "RequestTimeTooSkewed": "this computer's clock is wrong",
    "SignatureDoesNotMatch": "the secret key is wrong; `shipway storage profile URI` tells where it is from",
}
_OTHER_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_NO_CREDENTIALS = (
    boto.CredentialRetrievalError,
    boto.LoginError,
    boto.NoAuthTokenError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.UnknownCredentialError,
)
# ResponseParserError and ValueError: an answer that a damaged byte made unreadable.
_BROKEN_OFF = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    ResponseParserError,
    ValueError,
    urllib3.exceptions.HTTPError,
)


@contextlib.contextmanager
def told_as(uri: str, profile: Profile, accepted: bool) -> Iterator[None]:
    """Raises what boto3 raises as the tree's errors.

    Args:
        uri: What it is about.
        profile: How the store is reached; its keys are kept out of messages.
        accepted: Whether the store has taken these credentials before. A signature that does not match then means
            that the request was damaged on its way.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _refused(error, uri, profile, accepted) from error
    except (boto.BotoCoreError, ResponseParserError, ValueError, urllib3.exceptions.HTTPError) as error:
        inner = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, Preempted):  # botocore takes a signal's exception for a broken connection
            raise inner from None
        raise _failed(error, uri, profile) from error
    except OSError as error:
        raise AccessDenied(f"{uri}: a file that the credentials come from cannot be read: {error}", uri) from error


def code_of(error: BaseException | None) -> str:
    """Returns the code that an S3 store gave, such as ``NoSuchUpload``; "" for an error that is not a store's."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def _refused(error: boto.ClientError, uri: str, profile: Profile, accepted: bool) -> StorageError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = str(error.response.get("Error", {}).get("Message", ""))
    said = _without_keys(f"{code}: {message}" if message and message != code else code, profile)
    if code in _DAMAGED or (accepted and code == "SignatureDoesNotMatch"):
        return StorageUnavailable(f"{uri}: the request arrived damaged, nothing was written ({said})", uri)
    if code in _BUSY or (status in _BUSY_STATUSES and code not in ("NotImplemented", "PreconditionFailed")):
        return StorageUnavailable(f"{uri}: the store is busy ({said})", uri)
    if code == "PreconditionFailed" or status == 412:
        return PreconditionFailed(f"{uri} is not the version expected ({said}); read it again", uri)
    if code == "NoSuchBucket":
        bucket = uri.partition("://")[2].partition("/")[0]
        where = profile.endpoint_url or "AWS"
        return ObjectNotFound(f"{uri}: there is no bucket {bucket!r} at {where}; correct the name, or make it", uri)
    if code == "NoSuchUpload":
        return ObjectNotFound(f"{uri}: the store has forgotten the upload in parts; start it again", uri)
    if status == 404:
        return ObjectNotFound(f"{uri} does not exist ({said})", uri)
    if status in (401, 403) or code in _DENIED:
        hint = _DENIED.get(code, "the credentials are wrong or may not do this, or the object is not there")
        return AccessDenied(f"{uri}: access denied ({said}); {hint}", uri)
    hint = "; set the bucket's region in the profile" if code in _OTHER_REGION else ""
    return StorageError(f"{uri}: the store refused the request ({status}, {said}){hint}", uri)


def _failed(error: Exception, uri: str, profile: Profile) -> StorageError:
    reason = getattr(error, "kwargs", {}).get("error", "")  # botocore leaves it out of some messages
    said = _without_keys(f"{error}: {reason}" if str(reason) not in str(error) else str(error), profile)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            f"{uri}: no usable credentials ({said}); give the profile access_key and secret_key, set AWS_PROFILE, run"
            " where a role offers some, or set anonymous for a public bucket",
            uri,
        )
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return StorageError(f"{uri}: {said}; name the authority's certificates as ca_bundle in the profile", uri)
    if isinstance(error, boto.SSLError) and "[Errno 2]" in said:
        return StorageError(f"{uri}: the certificates are not there ({said}); correct ca_bundle in the profile", uri)
    if "WRONG_VERSION_NUMBER" in said:
        return StorageError(f"{uri}: the store speaks no TLS ({said}); is its endpoint_url an http:// one?", uri)
    if isinstance(error, _BROKEN_OFF):
        return StorageUnavailable(
            f"{uri}: the store does not answer: {said}; check endpoint_url, the network and the proxy", uri
        )
    return StorageError(f"{uri}: {said}", uri)


def _without_keys(text: str, profile: Profile) -> str:
    for key in (profile.access_key, profile.secret_key, profile.session_token):
        text = text.replace(key, "...") if key else text
    return text
