"""What lies in a store, as ``shipway storage ls`` tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from shipway.components.common.errors import ObjectNotFound
from shipway.components.common.storage.checksums import Checksums
from shipway.components.common.storage.manifests import MANIFEST
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.store import Store

__all__ = ["entries", "long_line", "short_line"]

_AT_A_TIME = 1000
_KINDS = ("crc32c", "sha256", "md5", "crc32", "md5_of_parts")


def entries(store: Store, key: str, directory: bool, recursive: bool, details: bool) -> Iterator[dict[str, Any]]:
    """Yields what is to be told of each object or directory; of a directory also whether it is a published version.

    Args:
        store: The store.
        key: An object or a directory.
        directory: Whether ``key`` is a directory even where an object has its name.
        recursive: Whether to go into directories.
        details: Whether to ask for the checksums that a listing does not tell.

    Raises:
        ObjectNotFound: When there is nothing.
    """
    if key and not directory:
        try:
            info = store.stat(key)
        except ObjectNotFound:
            pass
        else:
            yield _entry(store, info, PurePosixPath(key).name)
            return
    listed = store.list(key, recursive)
    prefix, found = f"{key}/" if key else "", False
    while page := list(islice(listed, _AT_A_TIME)):
        found = True
        full, published = _looked_up(store, page, details)
        for info in page:
            name = info.key.removeprefix(prefix)
            yield {**_entry(store, full.get(info.key, info), name), "published": info.key in published}
    if not found:
        raise ObjectNotFound(f"{store.uri(key)} holds nothing; is it spelt right?", store.uri(key))


def _looked_up(store: Store, page: list[ObjectInfo], details: bool) -> tuple[dict[str, ObjectInfo], set[str]]:
    """Returns the objects whose checksums the listing did not tell, and the directories with a manifest."""
    full: dict[str, ObjectInfo] = {}
    published: set[str] = set()

    def look_up(info: ObjectInfo) -> None:
        if not info.is_directory:
            full[info.key] = store.stat(info.key)
        elif store.exists(info.key + MANIFEST):
            published.add(info.key)

    unknown = details and not store.reads_are_cheap
    store.effort.each(look_up, [info for info in page if info.is_directory or (unknown and not info.checksums)])
    return full, published


def _entry(store: Store, info: ObjectInfo, name: str) -> dict[str, Any]:
    if info.is_directory:
        return {"name": name, "uri": store.uri(info.key), "directory": True}
    return {
        "name": name,
        "uri": store.uri(info.key),
        "directory": False,
        "size": info.size,
        "modified": info.modified.isoformat() if info.modified else None,
        "version": info.version,
        "checksums": _known(info.checksums),
    }


def _known(checksums: Checksums) -> dict[str, str]:
    return {kind: getattr(checksums, kind) for kind in _KINDS if getattr(checksums, kind)}


def short_line(entry: Mapping[str, Any]) -> str:
    """Returns an entry's name."""
    return f"{entry['name']}   (published)" if entry.get("published") else str(entry["name"])


def long_line(entry: Mapping[str, Any]) -> str:
    """Returns an entry's size, date, checksum and name."""
    if entry["directory"]:
        return f"{'-':>18}  {'-':<19}  {'-':<15}  {short_line(entry)}"
    checksum = next((f"{kind}:{value}" for kind, value in entry["checksums"].items()), "-")
    modified = (entry["modified"] or "-")[:19].replace("T", " ")
    return f"{entry['size']:>18,}  {modified:<19}  {checksum:<15}  {entry['name']}"
