"""The client of an S3 store: credentials, region, certificates, proxy."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.utils import parse_timestamp

from shipway.components.common.errors import InputError
from shipway.components.common.storage.profiles import Profile

__all__ = ["S3Client"]

_CONNECT_SECONDS = 10.0
_DEFAULT_REGION = "us-east-1"  # what stores other than AWS take when they have no regions


class S3Client:
    """The client that boto3 offers too, made when it is first asked for and shared by all threads.

    Attributes:
        accepted: Whether the store has answered a request with these credentials.
    """

    def __init__(self, profile: Profile, workers: int) -> None:
        self._profile, self._workers = profile, workers
        self._lock = threading.Lock()
        self._made: tuple[botocore.session.Session, Any] | None = None
        self.accepted = False

    @property
    def client(self) -> Any:
        """The client.

        Raises:
            InputError: When the endpoint is no address.
        """
        return self._both()[1]

    @property
    def credentials(self) -> Any:
        """What the client signs with and renews; None where there is nothing."""
        return self._both()[0].get_credentials()

    @property
    def ca_bundle(self) -> str:
        """The file of certificates that the profile, AWS_CA_BUNDLE or AWS's configuration names; "" for none."""
        return self._profile.ca_bundle or self._both()[0].get_config_variable("ca_bundle") or ""

    def _both(self) -> tuple[botocore.session.Session, Any]:
        with self._lock:
            if self._made is None:
                self._made = self._new()
            return self._made

    def _new(self) -> tuple[botocore.session.Session, Any]:
        profile, session = self._profile, botocore.session.Session()
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        if profile.access_key or profile.secret_key:
            session.set_credentials(profile.access_key, profile.secret_key, profile.session_token or None)
        region = profile.region or session.get_config_variable("region")
        try:
            client = session.create_client(
                "s3",
                region_name=region or (_DEFAULT_REGION if profile.endpoint_url else None),
                endpoint_url=profile.endpoint_url or None,
                verify=(profile.ca_bundle or None) if profile.verify_tls else False,
                config=self._config(),
            )
        except ValueError as error:
            raise InputError(f"{error}; correct endpoint_url in the profile") from error
        return session, client

    def _config(self) -> Config:
        profile = self._profile
        options: dict[str, Any] = {"addressing_style": profile.addressing_style}
        if (profile.endpoint_url or "https://").startswith("https://"):
            # TLS keeps the body whole, and hashing it once more would halve the speed of uploads.
            options["payload_signing_enabled"] = False
        return Config(
            user_agent="shipway",  # botocore would make up its own anew for every request
            signature_version=UNSIGNED if profile.anonymous else None,
            connect_timeout=min(_CONNECT_SECONDS, profile.stall_seconds),
            read_timeout=profile.stall_seconds,
            max_pool_connections=max(10, self._workers),
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies={"http": profile.proxy, "https": profile.proxy} if profile.proxy else None,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3=options,
        )


def _moment(value: Any) -> datetime.datetime:
    """Returns a time out of an answer; botocore's own way takes most of the time that reading a listing does."""
    try:
        return datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment: datetime.datetime = parse_timestamp(value)
        return moment
