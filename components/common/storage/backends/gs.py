"""Google Cloud Storage: ``gs://bucket/key``."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import re
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from google.api_core.exceptions import NotFound
from google.cloud import storage

from shipway.components.common.errors import (
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.backends.gs_client import GsClient, failure, told_as
from shipway.components.common.storage.checksums import Checksums, mismatch
from shipway.components.common.storage.objects import Listing, ObjectInfo, Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri

__all__ = ["GsStore"]

_GET, _LIST, _CREATE, _DELETE = (f"storage.objects.{verb}" for verb in ("get", "list", "create", "delete"))
_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18
_UNIT_BYTES = 1 << 18
_PAGE = {"kind", "items", "prefixes", "nextPageToken"}
_FIELDS = "items(name,size,generation,updated,crc32c,md5Hash),prefixes,nextPageToken"
_DONE, _RESUME, _FORGOTTEN = (200, 201, 204), 308, (404, 410)


class GsStore(Store):
    """A bucket. Versions are generations; an upload in parts is a resumable upload.

    The library's client asks for objects, lists, deletes and starts uploads. Bytes go through its session directly:
    a range comes in chunks instead of being pushed into a file, and a part goes from where the store wants it.
    """

    sequential_parts = True

    def __init__(self, root: StorageUri, profile: Profile, workers: int = 8) -> None:
        super().__init__(root, profile)
        self._gs = GsClient(str(root), profile, workers)
        self._offsets: dict[str, int] = {}
        """How many bytes each session has, as far as that is certain."""

    @property
    def heeds_conditions(self) -> bool:
        """The cloud itself does; emulators are tried out."""
        return not (self.profile.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST"))

    def _stat(self, key: str) -> ObjectInfo:
        with told_as(self.uri(key), _GET):
            blob = self._blob(key)
            blob.reload(timeout=self._gs.timeout, retry=None)
            return _listed(blob)

    def _list(self, directory: str, recursive: bool, page: str) -> Listing:
        with told_as(self.uri(directory), _LIST):
            found = self._gs.client.list_blobs(
                self._bucket,
                prefix=directory or None,
                delimiter=None if recursive else "/",
                page_token=page or None,
                fields=_FIELDS,
                timeout=self._gs.timeout,
                retry=None,
            )
            answer = next(found.pages)
            if unknown := answer.raw_page.keys() - _PAGE:
                uri = self.uri(directory)
                raise StorageUnavailable(f"{uri}: the store's listing has an unknown {min(unknown)!r}", uri)
            objects = [_listed(blob) for blob in answer]
            objects += [ObjectInfo(prefix) for prefix in found.prefixes]
            return Listing(tuple(sorted(objects, key=lambda entry: entry.key)), found.next_page_token or "")

    def _read(self, key: str, start: int, stop: int, version: str) -> Generator[bytes, None, None]:
        uri, left = self.uri(key), stop - start
        # Who does not take gzip gets an object stored as gzip unpacked, and whole.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"}
        query = self._query({"alt": "media", "ifGenerationMatch": _generation(version)})
        with told_as(uri, _GET):
            path = f"/download/storage/v1{self._blob(key).path}?{query}"
            with self._gs.send("GET", path, headers=headers, stream=True) as response:
                _require_range(response, uri, start, version)
                while left:
                    chunk = response.raw.read(min(_CHUNK_BYTES, left), decode_content=False)
                    if not chunk:
                        raise StorageUnavailable(f"{uri}: the answer ended {left:,} bytes early", uri)
                    left -= len(chunk)
                    yield chunk

    def _put(self, key: str, data: bytes, checksums: Checksums, if_match: str, if_none_match: bool) -> ObjectInfo:
        uri, boundary = self.uri(key), uuid.uuid4().hex
        parameters = {"uploadType": "multipart", "kmsKeyName": self.profile.kms_key}
        query = self._query({**parameters, "ifGenerationMatch": _generation(if_match, if_none_match)})
        document = json.dumps({"name": key, "crc32c": checksums.crc32c})
        opening = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{document}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        body = _Pieces([opening.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        with told_as(uri, _CREATE):
            path = f"/upload/storage/v1{self._bucket.path}/o?{query}"
            response = self._gs.send("POST", path, headers=headers, data=body)
            if response.status_code not in _DONE:
                raise failure(response, uri, _CREATE)
            return self._arrived(key, response.json(), len(data), checksums)

    def _delete(self, key: str, if_match: str) -> None:
        match = _generation(if_match)
        with told_as(self.uri(key), _DELETE):
            self._blob(key).delete(if_generation_match=match, timeout=self._gs.timeout, retry=None)

    def _start_upload(self, upload: Upload) -> str:
        if upload.part_bytes % _UNIT_BYTES:
            raise InputError(f"parts of {upload.part_bytes:,} bytes cannot go to gs://; take a multiple of 256 KiB")
        match = _generation(upload.if_match, upload.if_none_match)
        with told_as(self.uri(upload.key), _CREATE):
            blob = self._blob(upload.key)
            blob.crc32c = upload.checksums.crc32c
            address = blob.create_resumable_upload_session(
                size=upload.size,
                checksum=None,
                if_generation_match=match,
                timeout=self._gs.timeout,
                retry=None,
            )
        # Without the host: an emulator may name one that does not lead to it, and tokens go nowhere else.
        session = str(urlsplit(address)._replace(scheme="", netloc="").geturl())
        self._offsets[session] = 0
        return session

    def _sent_parts(self, upload: Upload) -> dict[int, str]:
        offset, resource = self._continued(upload, f"bytes */{upload.size}", b"")
        if resource:  # an earlier process had every byte sent; what it made may be replaced or deleted by now
            if self._stat(upload.key).version != str(json.loads(resource)["generation"]):
                uri = self.uri(upload.key)
                raise ObjectNotFound(f"{uri} was replaced since it was sent; send it again", uri)
            return dict.fromkeys(range(upload.parts), resource)
        return {part: _receipt(part) for part in range(offset // upload.part_bytes)}

    def _send_part(self, upload: Upload, part: int, data: bytes) -> str:
        uri, start, stop = self.uri(upload.key), part * upload.part_bytes, part * upload.part_bytes + len(data)
        offset, resource = self._offsets.get(upload.session), ""
        if offset is None or stop == upload.size <= offset:
            offset, resource = self._continued(upload, f"bytes */{upload.size}", b"")
        while offset < stop:
            if offset < start:
                raise StorageError(f"{uri}: the store has lost what was sent from byte {offset:,}; send it again", uri)
            before, rest = offset, memoryview(data)[offset - start :]
            offset, resource = self._continued(upload, f"bytes {offset}-{stop - 1}/{upload.size}", rest)
            if offset <= before:
                raise StorageUnavailable(f"{uri}: the store kept nothing of what was sent", uri)
        if stop == upload.size and not resource:
            raise StorageUnavailable(f"{uri}: the store has every byte and no object yet", uri)
        return resource or _receipt(part)

    def _continued(self, upload: Upload, content_range: str, data: bytes | memoryview) -> tuple[int, str]:
        """Returns how many bytes the session has after this request, and the object's resource if it is complete."""
        uri, session = self.uri(upload.key), upload.session
        self._offsets.pop(session, None)
        with told_as(uri, _CREATE):
            headers = {"Content-Range": content_range}
            response = self._gs.send("PUT", session, headers=headers, data=_Pieces([data]) if data else b"")
            if response.status_code in _DONE:
                offset, resource = upload.size, response.text
                made = response.json()
                if int(made["size"]) != upload.size:  # fake-gcs-server ends an upload when it is asked for its state
                    self._discard(made)
                    raise ObjectNotFound(f"{uri}: the store ended the upload too early; send it again", uri)
            elif response.status_code == _RESUME:
                kept = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", "bytes=0-0"))
                # gcp-storage-emulator says this of no byte; the cloud keeps none or many.
                offset, resource = (int(kept[1]) + 1 if kept and kept[1] != "0" else 0), ""
            elif response.status_code in _FORGOTTEN:
                raise ObjectNotFound(f"{uri}: the store has forgotten what was sent of it; send it again", uri)
            else:
                raise failure(response, uri, _CREATE)
        self._offsets[session] = offset
        return offset, resource

    def _finish_upload(self, upload: Upload, receipts: Mapping[int, str]) -> ObjectInfo:
        self._offsets.pop(upload.session, None)
        resource = json.loads(receipts[upload.parts - 1])
        with told_as(self.uri(upload.key), _CREATE):
            return self._arrived(upload.key, resource, upload.size, upload.checksums)

    def _abort_upload(self, upload: Upload) -> None:
        self._offsets.pop(upload.session, None)
        uri = self.uri(upload.key)
        with told_as(uri, _CREATE):
            response = self._gs.send("DELETE", upload.session, headers={"Content-Length": "0"})
            if response.status_code not in (499, 501, *_DONE, *_FORGOTTEN):  # 501: it cannot, and will in a week
                raise failure(response, uri, _CREATE)

    @property
    def _bucket(self) -> storage.Bucket:
        return self._gs.client.bucket(self.root.bucket, user_project=self.profile.project or None)

    def _blob(self, key: str, generation: int | None = None) -> storage.Blob:
        kms_key = self.profile.kms_key or None
        return storage.Blob(key, self._bucket, kms_key_name=kms_key, generation=generation)

    def _query(self, values: dict[str, str | int | None]) -> str:
        values = {**values, "userProject": self.profile.project}
        return urlencode({name: value for name, value in values.items() if value not in ("", None)})

    def _arrived(self, key: str, resource: dict[str, Any], size: int, checksums: Checksums) -> ObjectInfo:
        """Returns a new object; what did not arrive as it was sent, or elsewhere, is deleted."""
        info, uri = _answered(key, resource), self.uri(key)
        fault = mismatch(info.checksums, checksums)
        if info.size != size:
            fault = f"{info.size:,} bytes instead of {size:,}"
        elif resource["name"] != key:
            fault = f"the name is {resource['name']!r}"
        if fault:
            self._discard(resource)
            raise IntegrityError(f"{uri} arrived damaged: {fault}; it is deleted", uri)
        return info

    def _discard(self, resource: dict[str, Any]) -> None:
        """Deletes an object that should not be: this one, and nothing that has replaced it."""
        with contextlib.suppress(NotFound):
            blob = self._blob(resource["name"], int(resource["generation"]))
            blob.delete(timeout=self._gs.timeout, retry=None)


class _Pieces:
    """A body that is sent piece by piece, without a copy: a socket's timeout is for all that it is given at once."""

    def __init__(self, buffers: Sequence[bytes | memoryview]) -> None:
        self._buffers = [memoryview(buffer) for buffer in buffers]

    def __len__(self) -> int:
        return sum(len(buffer) for buffer in self._buffers)

    def __iter__(self) -> Iterator[memoryview]:
        for buffer in self._buffers:
            for start in range(0, len(buffer), _PIECE_BYTES):
                yield buffer[start : start + _PIECE_BYTES]


def _require_range(response: requests.Response, uri: str, start: int, version: str) -> None:
    if version and response.status_code == 404:
        raise PreconditionFailed(f"{uri} has been deleted since its version {version} was found", uri)
    if response.status_code not in (200, 206):
        raise failure(response, uri, _GET)
    found = response.headers.get("X-Goog-Generation", version)
    if version and found != version:
        raise PreconditionFailed(f"{uri} is version {found} by now and not {version}; read it again", uri)
    if response.headers.get("Content-Range", "bytes 0-").startswith(f"bytes {start}-"):
        return
    raise StorageError(f"{uri}: the store sent something else than the bytes from {start:,} on", uri)


def _generation(version: str, none_yet: bool = False) -> int | None:
    """Returns the generation that a request is for: 0 where there must be no object, None for any."""
    if version and not version.isdecimal():
        raise InputError(f"{version!r} is no version of an object of gs://; take one that stat returned")
    return 0 if none_yet else int(version) if version else None


def _receipt(part: int) -> str:
    return f"part {part}"


def _listed(blob: storage.Blob) -> ObjectInfo:
    if blob.size is None or blob.generation is None:
        raise StorageUnavailable(f"{blob.name}: the store's answer lacks its size or generation")
    return _info(blob.name, blob.size, blob.generation, blob.updated, blob.crc32c, blob.md5_hash)


def _answered(key: str, resource: dict[str, Any]) -> ObjectInfo:
    modified = datetime.datetime.fromisoformat(resource["updated"]) if "updated" in resource else None
    size, generation = int(resource["size"]), int(resource["generation"])
    return _info(key, size, generation, modified, resource.get("crc32c"), resource.get("md5Hash"))


def _info(
    key: str, size: int, generation: int, modified: datetime.datetime | None, crc32c: str | None, md5: str | None
) -> ObjectInfo:
    checksums = Checksums(crc32c=crc32c or "", md5=base64.b64decode(md5 or "").hex())
    return ObjectInfo(key, size, str(generation), modified, checksums)
