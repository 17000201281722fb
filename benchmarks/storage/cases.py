"""The cases: which contender moves what, from where to where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

__all__ = ["LATENCY_SECONDS", "MANY", "MANY_BYTES", "Case", "cases"]

MANY = 1000
MANY_BYTES = 100 << 10
LATENCY_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: What the tables call it.
        contender: Its name in ``contenders.py``.
        endpoint: The server's name.
        uri: Where it reads or writes in the store.
        path: The file or directory that it reads or writes.
        workers: Requests at a time.
    """

    name: str
    contender: str
    endpoint: str
    uri: str
    path: Path
    workers: int = 8

    @property
    def writes_files(self) -> bool:
        """Whether it downloads."""
        return "download" in self.contender

    def with_fresh_target(self, name: str) -> Case:
        """Returns it with a new name for what it writes."""
        if self.writes_files:
            return dataclasses.replace(self, path=self.path / name)
        return dataclasses.replace(self, uri=f"{self.uri}/{name}")


def cases(uris: Mapping[str, str], fast: Path, disk: Path) -> list[Case]:
    """Returns the cases.

    Args:
        uris: The buckets.
        fast: A directory in memory; ``large`` and ``many`` in it are uploaded.
        disk: A directory on the disk.
    """
    s3, gs, large = uris["s3"], uris["gs"], fast / "large"
    return [
        Case("gs down, shipway", "shipway_download", "gs", f"{gs}/large", fast),
        Case("gs down, google-cloud-storage", "google_download", "gs", f"{gs}/large", fast),
        Case("s3 down, shipway", "shipway_download", "s3", f"{s3}/large", fast),
        Case("s3 down, boto3", "boto3_download", "s3", f"{s3}/large", fast),
        Case("s3 down, uploaded by boto3, shipway", "shipway_download", "s3", f"{s3}/large-by-boto3", fast),
        Case("s3 down to disk and durable, shipway", "shipway_download", "s3", f"{s3}/large", disk),
        Case("s3 down to disk, boto3", "boto3_download", "s3", f"{s3}/large", disk),
        Case("gs up, shipway", "shipway_upload", "null", uris["null"], large),
        Case("gs up, google-cloud-storage", "google_upload", "null", uris["null"], large),
        Case("s3 up, shipway", "shipway_upload", "sink", uris["sink"], large),
        Case("s3 up, boto3", "boto3_upload", "sink", uris["sink"], large),
        Case("s3 to s3, shipway", "shipway_copy", "s3", f"{s3}/copies", large),
        Case("many down, shipway", "shipway_download", "s3", f"{s3}/many/", fast),
        Case("many down, shipway without obstore", "shipway_download_without_fast_path", "s3", f"{s3}/many/", fast),
        Case("many down, boto3", "boto3_download_many", "s3", f"{s3}/many", fast),
        Case("many down from afar, shipway, 32 workers", "shipway_download", "far", f"{s3}/many/", fast, 32),
        Case("many down from afar, shipway, 1 worker", "shipway_download", "far", f"{s3}/many/", fast, 1),
    ]
