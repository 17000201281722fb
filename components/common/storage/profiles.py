"""How to reach a store: endpoint, credentials, certificates, proxy."""

from __future__ import annotations

import dataclasses

__all__ = ["Profile"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """What it takes to reach the stores below one URI.

    Attributes:
        endpoint_url: Where the store answers, such as ``https://minio.example:9000``; "" for the cloud's own. For gs
            an emulator's.
        region: S3's region; "" for the client's default.
        addressing_style: ``auto``, ``path`` or ``virtual``; of S3.
        access_key: Of S3.
        secret_key: Of S3.
        session_token: Of S3.
        credentials_file: A service account's or an external account's JSON for gs; "" for what the environment offers:
            Workload Identity, ``GOOGLE_APPLICATION_CREDENTIALS``.
        anonymous: Whether to send no credentials at all.
        bearer_token: Of ``https://``.
        ca_bundle: File of certificates to trust instead of the usual ones.
        verify_tls: Whether certificates are checked.
        proxy: URL of an HTTP proxy; "" for what the environment says.
        kms_key: The key that new objects are encrypted with: a CMEK's resource name, or an S3 KMS key id.
        project: Project that gs requests are billed to, for requester-pays buckets.
        unconditional_publish: Whether to publish to a store that ignores conditional writes, where of two who publish
            at the same time the later one wins.
        stall_seconds: How long a connection may be silent.
    """

    endpoint_url: str = ""
    region: str = ""
    addressing_style: str = "auto"
    access_key: str = dataclasses.field(default="", repr=False)
    secret_key: str = dataclasses.field(default="", repr=False)
    session_token: str = dataclasses.field(default="", repr=False)
    credentials_file: str = ""
    anonymous: bool = False
    bearer_token: str = dataclasses.field(default="", repr=False)
    ca_bundle: str = ""
    verify_tls: bool = True
    proxy: str = dataclasses.field(default="", repr=False)
    kms_key: str = ""
    project: str = ""
    unconditional_publish: bool = False
    stall_seconds: float = 30.0


def profile_for(uri: str) -> Profile:
    """Returns the profile of a URI."""
    return Profile()
