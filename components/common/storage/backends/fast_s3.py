"""Reads many small objects from S3 at a fraction of boto3's cost, through obstore where that does the same."""

from __future__ import annotations

import datetime
import logging
import os
import threading
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

from shipway.components.common.storage.backends.s3_client import S3Client
from shipway.components.common.storage.profiles import Profile

__all__ = ["FAST_BYTES", "FastReader"]

FAST_BYTES = 4 << 20
"""Up to which size an object is worth it; larger ones cost boto3 no more."""
_LOG = logging.getLogger(__name__)
_FAILURES = 3
_CREDENTIALS_SECONDS = 480  # botocore renews its own at least ten minutes before they end
_CONNECT_SECONDS = 10.0
_STALLS = 10  # how many times stall_seconds a request may take in all
_NO_PROXY = "http://unused.invalid"

# Its threads do not survive a fork, and a child would wait for them.
_FORKED = threading.Event()
os.register_at_fork(after_in_child=_FORKED.set)


class FastReader:
    """Reads whole objects in one request each, unchecked; or says that it cannot.

    It uses boto3's credentials, endpoint and proxy. Where obstore is not there or cannot be told all that the profile
    says, and after three failures, it says so at once.
    """

    def __init__(self, client: S3Client, bucket: str, profile: Profile) -> None:
        self._client, self._bucket, self._profile = client, bucket, profile
        self._lock = threading.Lock()
        self._made: Any = None
        self._failures = 0

    def get(self, key: str, version: str) -> bytes | None:
        """Returns an object's bytes; None when they, or what is wrong, must be found out in another way.

        Args:
            key: The object.
            version: The version that it must be; "" for any.
        """
        if self._failures >= _FAILURES or _FORKED.is_set():
            return None
        try:
            import obstore
        except ImportError:
            self._failures = _FAILURES
            return None
        try:
            result = self._store().get(key, options={"if_match": version} if version else {})
            if version and result.meta["e_tag"] != version:
                return None
            return bytes(result.bytes())
        except (obstore.exceptions.PreconditionError, FileNotFoundError):
            return None
        except (obstore.exceptions.BaseError, BotoCoreError, OSError, ValueError) as error:
            self._failures += 1
            _LOG.debug("%s/%s cannot be read by obstore: %s", self._bucket, key, type(error).__name__)
            return None

    def _store(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._new()
            return self._made

    def _new(self) -> Any:
        from obstore.store import S3Store

        meta = self._client.client.meta
        endpoint, region = str(meta.endpoint_url), str(meta.region_name)
        self._require_expressible(endpoint)
        return S3Store(
            self._bucket,
            endpoint=endpoint,
            aws_endpoint_url_s3=endpoint,
            region="us-east-1" if region == "aws-global" else region,
            virtual_hosted_style_request=False,
            skip_signature=self._profile.anonymous,
            credential_provider=None if self._profile.anonymous else self._credentials,
            client_options={
                "allow_http": True,
                "allow_invalid_certificates": not self._profile.verify_tls,
                "connect_timeout": datetime.timedelta(seconds=min(_CONNECT_SECONDS, self._profile.stall_seconds)),
                "read_timeout": datetime.timedelta(seconds=self._profile.stall_seconds),
                "timeout": datetime.timedelta(seconds=_STALLS * self._profile.stall_seconds),
                **self._proxy(endpoint),
            },
            retry_config={"max_retries": 0},
        )

    def _require_expressible(self, endpoint: str) -> None:
        """Raises ValueError where obstore would do something else than boto3."""
        if self._profile.addressing_style == "virtual":
            raise ValueError("the bucket is part of the host's name")
        if endpoint.startswith("https://") and self._profile.verify_tls and self._client.ca_bundle:
            raise ValueError("obstore would trust the usual certificates too")

    def _proxy(self, endpoint: str) -> dict[str, str]:
        """Returns the proxy that boto3 takes; obstore must not look for one by rules of its own."""
        parts = urlsplit(endpoint)
        proxy = self._profile.proxy or get_environ_proxies(endpoint).get(parts.scheme, "")
        if not proxy:
            return {"proxy_url": _NO_PROXY, "proxy_excludes": str(parts.hostname)}
        if not proxy.startswith("http://"):
            raise ValueError("only http:// proxies are known to be the same")
        return {"proxy_url": proxy}

    def _credentials(self) -> dict[str, Any]:
        frozen = self._client.credentials.get_frozen_credentials()
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=_CREDENTIALS_SECONDS)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": until,
        }
