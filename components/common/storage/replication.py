"""From store to store: a published version, or any directory or object, part by part through memory."""

from __future__ import annotations

from pathlib import PurePosixPath

from shipway.components.common.errors import InputError, IntegrityError, ObjectNotFound
from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums
from shipway.components.common.storage.downloads import Transfer
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.manifests import Entry, manifest_of
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.readings import checked_bytes, content_crc32c, known_checksums
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uploads import holds, new_upload, send_parts
from shipway.components.common.storage.uris import inside
from shipway.components.common.storage.versions import Published, publish_entries, required_entries

__all__ = ["copy", "replicate"]


def replicate(source: str, target: str, options: Options | None = None) -> Published:
    """Copies a published version to another place, its manifest last; what is there already is not sent.

    Nothing touches the disk: an operation holds at most a part per worker. A kill loses nothing: run it again.

    Args:
        source: A version that publish_version has published.
        target: The directory of the copy.
        options: How to go about it.

    Raises:
        ObjectNotFound: When the source is no published version.
        IntegrityError: When the source's bytes are not what its manifest says.
        VersionConflictError: When something else is published at the target.
        CapabilityMissing: When the target's store ignores conditional writes.
    """
    effort = Effort(options)
    origin, key = open_store(source, effort)
    destination, target_key = open_store(target, effort)
    manifest = manifest_of(origin, key)
    entries = required_entries(manifest, origin.uri(key))

    def send(entry: Entry, name: str) -> None:
        info = origin.stat(_below(key, entry.path))
        if info.size != entry.size:
            where = origin.uri(info.key)
            raise IntegrityError(f"{where} has {info.size:,} bytes, and {entry.size:,} in the manifest", where)
        _copy_object(origin, info, destination, name, entry.checksums, destination.takes_conditions)

    return publish_entries(destination, target_key, manifest, entries, send)


def copy(source: str, target: str, options: Options | None = None) -> Transfer:
    """Copies an object, or all objects below a directory, from store to store; what is there already is not sent.

    Args:
        source: The object or directory.
        target: The object or directory to write.
        options: How to go about it.

    Raises:
        ObjectNotFound: When there is nothing.
        IntegrityError: When bytes arrive damaged.
    """
    effort = Effort(options)
    origin, key = open_store(source, effort)
    destination, target_key = open_store(target, effort)
    objects = _objects(origin, key, source.endswith("/"))
    effort.total_bytes = sum(info.size for info in objects.values())
    if destination.root.scheme in ("file", "pvc"):
        for name in filter(None, objects):
            inside(destination.root.directory / target_key, name, origin.uri(key))
    unchanged = []

    def send(name: str) -> None:
        info, there = objects[name], _below(target_key, name)
        full = info if info.checksums.crc32c else origin.stat(info.key)
        try:
            if holds(destination, destination.stat(there), info.size, lambda _like: known_checksums(origin, full)):
                unchanged.append(name)
                effort.advance(info.size)
                return
        except ObjectNotFound:
            pass
        _copy_object(origin, full, destination, there, NO_CHECKSUMS)

    effort.each_by_size(send, objects, lambda name: objects[name].size)
    return Transfer(len(objects), effort.total_bytes, effort.moved_bytes, len(unchanged))


def _objects(store: Store, key: str, directory: bool) -> dict[str, ObjectInfo]:
    """Returns the objects by their names below ``key``; "" is the name of the object itself."""
    if key and not directory:
        try:
            return {"": store.stat(key)}
        except ObjectNotFound:
            pass
    found = {info.key.removeprefix(f"{key}/" if key else ""): info for info in store.list(key)}
    if not found:
        raise ObjectNotFound(f"{store.uri(key)} holds nothing; is it spelt right?", store.uri(key))
    return found


def _below(key: str, name: str) -> str:
    joined = str(PurePosixPath(key, name))
    if joined == ".":
        raise InputError("the target names a store and no object; give a name in it")
    return joined


def _copy_object(
    origin: Store,
    info: ObjectInfo,
    destination: Store,
    key: str,
    expected: Checksums,
    if_none_match: bool = False,
) -> None:
    if info.size <= origin.effort.options.part_bytes:
        data = origin.effort.twice(lambda: checked_bytes(origin, info, expected))
        destination.put_bytes(key, data, if_none_match=if_none_match)
        origin.effort.advance(info.size)
        return
    crc32c = expected.crc32c or info.checksums.crc32c or content_crc32c(origin, info)
    prepared = new_upload(destination, key, info.size, Checksums(crc32c=crc32c), if_none_match=if_none_match)

    def read(part: int) -> bytes:
        start = part * prepared.part_bytes
        stop = min(start + prepared.part_bytes, info.size)
        return origin.part(info.key, start, stop, info.version)

    origin.effort.twice(lambda: send_parts(destination, prepared, read))
