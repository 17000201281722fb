"""What tests of whole operations share: profiles that lead to servers, and what really lies in stores and directories.

The latter is seen past everything of Shipway's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import yaml
from range_server import RangeServer
from servers import ACCESS_KEY, SECRET_KEY, GsServer, S3Server, Server

SECONDS = 30


def use_profiles(
    patch: pytest.MonkeyPatch, path: Path, ways: Iterable[tuple[Server | RangeServer, str, str]], stall_seconds: float
) -> None:
    """Writes the file of profiles that leads to servers, and makes it the one in use.

    Args:
        patch: Undoes it.
        path: The file.
        ways: Servers, the URIs of their stores, and the URLs that they are reached at.
        stall_seconds: How long a connection may be silent.
    """
    document = {}
    for server, uri, url in ways:
        settings: dict[str, object] = {"stall_seconds": stall_seconds}
        if isinstance(server, S3Server):
            settings |= {"region": "us-east-1", "addressing_style": "path", "credentials": "env:TESTS_"}
        if isinstance(server, Server):
            settings |= {"endpoint_url": url, "anonymous": server.scheme == "gs"}
        document[uri] = settings
    path.write_text(yaml.safe_dump(document))
    patch.setenv("SHIPWAY_STORAGE_PROFILES", str(path))
    patch.setenv("TESTS_AWS_ACCESS_KEY_ID", ACCESS_KEY)
    patch.setenv("TESTS_AWS_SECRET_ACCESS_KEY", SECRET_KEY)


def stored(server: Server | RangeServer, bucket: str, directory: str) -> dict[str, bytes]:
    """Returns the objects below a directory of a bucket, by their names there."""
    prefix = f"{directory}/"
    if isinstance(server, S3Server):
        listed = server.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in listed]
        found = {key: server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    elif isinstance(server, GsServer):
        answer = _call(server, "GET", bucket, "", prefix=prefix).json()
        keys = [item["name"] for item in answer.get("items", [])]
        found = {key: _call(server, "GET", bucket, key, alt="media").content for key in keys}
    elif isinstance(server, RangeServer):
        found = {key: data for key, data in server.objects.items() if key.startswith(prefix)}
    else:
        return on_disk(server.directory / bucket / directory if bucket else Path("/", directory))
    return {key.removeprefix(prefix): data for key, data in found.items()}


def remove(server: Server | RangeServer, bucket: str, directory: str) -> None:
    """Deletes what lies below a directory of a bucket."""
    for name in stored(server, bucket, directory):
        key = f"{directory}/{name}"
        if isinstance(server, S3Server):
            server.client.delete_object(Bucket=bucket, Key=key)
        elif isinstance(server, GsServer):
            _call(server, "DELETE", bucket, key)
        elif isinstance(server, RangeServer):
            del server.objects[key]


def on_disk(directory: Path) -> dict[str, bytes]:
    """Returns the files below a directory, without what is still on its way beside its final name."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    names = {path.relative_to(directory): path for path in files}
    on_the_way = (".part", ".part.json")
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if not any(part.startswith(".") and part.endswith(on_the_way) for part in name.parts)
    }


def _call(server: Server, method: str, bucket: str, key: str, **parameters: str) -> requests.Response:
    url = f"{server.url}/storage/v1/b/{bucket}/o" + f"/{quote(key, safe='')}" * bool(key)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, url, params=parameters, timeout=SECONDS)
    answer.raise_for_status()
    return answer
