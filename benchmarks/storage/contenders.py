"""What is measured: ``python -m benchmarks.storage.contenders CONTENDER URI PATH WORKERS``.

Each asks its store for one object first, so that clients, credentials and connections are there, then does its work
and prints its seconds as JSON. Endpoints and credentials come from the environment, the same for all.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Work = Callable[[], object]


def _shipway_download(uri: str, path: Path, workers: int) -> Work:
    from shipway.components.common import storage

    options = storage.Options(workers=workers)
    store, key = storage.open_store(uri, options)
    next(store.list(key), None)
    return lambda: storage.download(uri, path, options)


def _shipway_download_without_fast_path(uri: str, path: Path, workers: int) -> Work:
    sys.modules["obstore"] = None  # type: ignore[assignment]
    return _shipway_download(uri, path, workers)


def _shipway_upload(uri: str, path: Path, workers: int) -> Work:
    from shipway.components.common import storage

    options = storage.Options(workers=workers)
    store, key = storage.open_store(uri, options)
    store.exists(f"{key}-other")
    return lambda: storage.upload(path, uri, options)


def _shipway_copy(uri: str, _path: Path, workers: int) -> Work:
    from shipway.components.common import storage

    source = f"s3://{_bucket_and_key(uri)[0]}/large"
    return lambda: storage.copy(source, uri, storage.Options(workers=workers))


def _shipway_publish(uri: str, path: Path, workers: int) -> Work:
    from shipway.components.common import storage

    return lambda: storage.publish_version(path, uri, options=storage.Options(workers=workers))


def _boto3_download(uri: str, path: Path, workers: int) -> Work:
    bucket, key = _bucket_and_key(uri)
    client = _boto3(workers)
    client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return lambda: client.download_file(bucket, key, str(path), Config=_transfer(workers))


def _boto3_download_many(uri: str, path: Path, workers: int) -> Work:
    bucket, prefix = _bucket_and_key(uri)
    client = _boto3(workers)
    client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)

    def fetch(key: str) -> None:
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
        (path / key.rpartition("/")[2]).write_bytes(body.read())

    def work() -> None:
        path.mkdir()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        keys = itertools.chain.from_iterable(page["Contents"] for page in pages)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fetch, [entry["Key"] for entry in keys]))

    return work


def _boto3_upload(uri: str, path: Path, workers: int) -> Work:
    bucket, key = _bucket_and_key(uri)
    client = _boto3(workers)
    client.list_objects_v2(Bucket=bucket, Prefix=f"{key}-other", MaxKeys=1)
    return lambda: client.upload_file(str(path), bucket, key, Config=_transfer(workers))


def _google_download(uri: str, path: Path, _workers: int) -> Work:
    bucket, key = _bucket_and_key(uri)
    blob = _google().bucket(bucket).blob(key)
    blob.exists()
    return lambda: blob.download_to_filename(str(path))


def _google_upload(uri: str, path: Path, _workers: int) -> Work:
    bucket, key = _bucket_and_key(uri)
    blob = _google().bucket(bucket).blob(key)
    blob.exists()
    return lambda: blob.upload_from_filename(str(path))


def _boto3(workers: int) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(max_pool_connections=max(10, workers), s3={"addressing_style": "path"}))


def _transfer(workers: int) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(max_concurrency=workers)


def _google() -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    endpoint = {"api_endpoint": os.environ["STORAGE_EMULATOR_HOST"]}
    return storage.Client(project="tests", credentials=AnonymousCredentials(), client_options=endpoint)  # type: ignore[no-untyped-call]


def _bucket_and_key(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/")


def main(contender: str, uri: str, path: str, workers: str) -> None:
    """Runs one contender."""
    work = globals()[f"_{contender}"](uri, Path(path), int(workers))
    started = time.perf_counter()
    work()
    print(json.dumps({"transfer": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
