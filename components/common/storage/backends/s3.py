"""Buckets of S3: AWS, MinIO, Ceph, SeaweedFS and others that speak it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

from shipway.components.common.errors import (
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.backends.fast_s3 import FAST_BYTES, FastReader
from shipway.components.common.storage.backends.s3_answers import CRC32C_METADATA, info_in, md5_in, version_in
from shipway.components.common.storage.backends.s3_client import S3Client
from shipway.components.common.storage.backends.s3_errors import code_of, told_as
from shipway.components.common.storage.checksums import Checksums, crc32c_of, encoded_crc32c
from shipway.components.common.storage.objects import Listing, ObjectInfo, Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uris import StorageUri

__all__ = ["S3Store"]

_CHUNK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")
_WHOLE = "FULL_OBJECT"
_UNSUPPORTED = {"NotImplemented", "InvalidArgument"}


class S3Store(Store):
    """One bucket.

    Its versions are ETags. Each object is written with its CRC32C as metadata, for most stores keep no checksum of
    the whole of an object that was sent in parts. Each part, and each object sent at once, goes with its CRC32C for
    the store to refuse what is damaged; of a store that does not confirm it, the ETag is compared with the MD5.
    """

    def __init__(self, root: StorageUri, profile: Profile, workers: int = 8) -> None:
        super().__init__(root, profile)
        self._client = S3Client(profile, workers)
        self._fast = FastReader(self._client, root.bucket, profile)
        self._encryption: dict[str, str] = {}
        if profile.kms_key:
            self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": profile.kms_key}

    @property
    def heeds_conditions(self) -> bool:
        """AWS itself does; others are tried out."""
        host = urlsplit(str(self._client.client.meta.endpoint_url)).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def whole(self, key: str, size: int, version: str = "") -> bytes:
        """Returns all bytes of a small object; by the fast client where it can, and else as any other."""
        data = self._fast.get(key, version) if size <= FAST_BYTES else None
        if data is None or len(data) != size:
            return super().whole(key, size, version)
        self.effort.moved(size, self.uri(key))
        return data

    def _stat(self, key: str) -> ObjectInfo:
        answer = self._ask("head_object", key, ChecksumMode="ENABLED", needs=("ETag", "ContentLength"))
        info = info_in(key, answer, int(answer["ContentLength"]))
        if info.checksums or not info.checksums.md5_of_parts:
            return info
        part_bytes = self._part_bytes(key, info.size, int(info.checksums.md5_of_parts.rpartition("-")[2]))
        return dataclasses.replace(info, checksums=dataclasses.replace(info.checksums, md5_part_bytes=part_bytes))

    def _part_bytes(self, key: str, size: int, parts: int) -> int:
        """Returns the size of an object's parts, all that it takes to check its ETag; 0 where it cannot be told."""
        try:
            first, last = (
                self._ask("head_object", key, PartNumber=part).get("ContentLength", 0) for part in (1, parts)
            )
        except StorageUnavailable:
            raise
        except StorageError:
            return 0
        return int(first) if first * (parts - 1) + last == size else 0

    def _list(self, directory: str, recursive: bool, page: str) -> Listing:
        options: dict[str, Any] = {"ContinuationToken": page} if page else {}
        if not recursive:
            options["Delimiter"] = "/"
        answer = self._ask("list_objects_v2", directory, **options)
        where = self.uri(directory)
        try:
            found = [info_in(entry["Key"], entry, int(entry["Size"])) for entry in answer.get("Contents", [])]
            found += [ObjectInfo(entry["Prefix"]) for entry in answer.get("CommonPrefixes", [])]
        except KeyError as error:
            raise StorageUnavailable(f"{where}: the store's listing lacks {error}", where) from error
        following = answer.get("NextContinuationToken", "")
        if bool(following) != bool(answer.get("IsTruncated")):
            raise StorageUnavailable(f"{where}: the store's listing does not tell whether it goes on", where)
        return Listing(tuple(sorted(found, key=lambda info: info.key)), following)

    def _read(self, key: str, start: int, stop: int, version: str) -> Generator[bytes, None, None]:
        uri = self.uri(key)
        options: dict[str, Any] = {"IfMatch": version} if version else {}
        answer = self._ask("get_object", key, Range=f"bytes={start}-{stop - 1}", needs=("ETag", "Body"), **options)
        with contextlib.closing(answer["Body"]) as body:
            if version and version_in(answer) != version:
                raise PreconditionFailed(f"{uri} was replaced while it was read; read it again", uri)
            found = _CONTENT_RANGE.match(answer.get("ContentRange", ""))
            if found and int(found[1]) != start:
                raise StorageUnavailable(f"{uri}: the answer begins at byte {found[1]} instead of {start}", uri)
            skipped, left = 0 if found else start, stop - start  # a store without ranges sends it all
            while left:
                with told_as(uri, self.profile, self._client.accepted):
                    chunk = body.read(min(_CHUNK_BYTES, skipped or left))
                if not chunk:
                    raise StorageUnavailable(f"{uri}: the answer ended {left:,} bytes early", uri)
                if skipped:
                    skipped -= len(chunk)
                else:
                    left -= len(chunk)
                    yield chunk

    def _put(self, key: str, data: bytes, checksums: Checksums, if_match: str, if_none_match: bool) -> ObjectInfo:
        uri = self.uri(key)
        answer = self._write(
            "put_object",
            key,
            if_match,
            if_none_match,
            Body=io.BytesIO(data),
            ChecksumCRC32C=checksums.crc32c,
            Metadata={CRC32C_METADATA: checksums.crc32c},
            **self._encryption,
        )
        version = version_in(answer)
        if not _arrived(answer, data, checksums.crc32c):
            with contextlib.suppress(StorageError):
                self._delete(key, version)
            raise IntegrityError(f"{uri}: something else arrived than was sent (ETag {version}); send it again", uri)
        return ObjectInfo(key, len(data), version, checksums=dataclasses.replace(checksums, md5=md5_in(answer)))

    def _delete(self, key: str, if_match: str) -> None:
        if not if_match:
            self._ask("delete_object", key)
            return
        uri = self.uri(key)
        if self._stat(key).version != if_match:  # for stores that take the condition and ignore it
            raise PreconditionFailed(f"{uri} is not the version expected; read it again", uri)
        try:
            self._ask("delete_object", key, IfMatch=if_match)
        except StorageError as error:
            if code_of(error.__cause__) not in _UNSUPPORTED:
                raise
            self._ask("delete_object", key)

    def _start_upload(self, upload: Upload) -> str:
        answer = self._ask(
            "create_multipart_upload",
            upload.key,
            ChecksumAlgorithm="CRC32C",
            ChecksumType=_WHOLE,
            Metadata={CRC32C_METADATA: upload.checksums.crc32c},
            needs=("UploadId",),
            **self._encryption,
        )
        return json.dumps({"id": answer["UploadId"], "compares_whole": answer.get("ChecksumType") == _WHOLE})

    def _sent_parts(self, upload: Upload) -> dict[int, str]:
        sent: dict[int, str] = {}
        marker = 0
        while True:
            answer = self._ask("list_parts", upload.key, UploadId=_upload_id(upload), PartNumberMarker=marker)
            for part in answer.get("Parts", []):
                sent[int(part["PartNumber"]) - 1] = _receipt(part)
            following = int(answer.get("NextPartNumberMarker") or 0)
            if not answer.get("IsTruncated") or following <= marker:
                return sent
            marker = following

    def _send_part(self, upload: Upload, part: int, data: bytes) -> str:
        uri = self.uri(upload.key)
        crc32c = encoded_crc32c(crc32c_of(data))
        answer = self._ask(
            "upload_part",
            upload.key,
            UploadId=_upload_id(upload),
            PartNumber=part + 1,
            Body=io.BytesIO(data),
            ChecksumCRC32C=crc32c,
            needs=("ETag",),
        )
        if not _arrived(answer, data, crc32c):
            raise StorageUnavailable(f"{uri}: part {part + 1} arrived damaged (ETag {answer['ETag']})", uri)
        return _receipt(answer)

    def _finish_upload(self, upload: Upload, receipts: Mapping[int, str]) -> ObjectInfo:
        forgotten = None
        try:
            self._complete(upload, receipts)
        except ObjectNotFound as error:  # an earlier try, whose answer got lost, may have done it
            forgotten = error
        try:
            info = self._stat(upload.key)
        except ObjectNotFound as error:
            raise forgotten or error from error
        if info.size == upload.size and info.checksums.agree(upload.checksums):
            return info
        if forgotten:
            raise forgotten
        uri = self.uri(upload.key)
        if info.checksums.crc32c != upload.checksums.crc32c:
            raise PreconditionFailed(f"{uri} was replaced by another object right after it was written", uri)
        self._delete(upload.key, info.version)
        raise IntegrityError(f"{uri} had {info.size:,} of {upload.size:,} bytes once written; it is deleted", uri)

    def _complete(self, upload: Upload, receipts: Mapping[int, str]) -> None:
        parts = [{"PartNumber": part + 1, **json.loads(receipts[part])} for part in range(upload.parts)]
        compared: dict[str, str] = {}
        if json.loads(upload.session)["compares_whole"]:
            compared = {"ChecksumCRC32C": upload.checksums.crc32c, "ChecksumType": _WHOLE}
        try:
            self._write(
                "complete_multipart_upload",
                upload.key,
                upload.if_match,
                upload.if_none_match,
                UploadId=_upload_id(upload),
                MultipartUpload={"Parts": parts},
                **compared,
            )
        except StorageUnavailable as error:
            if code_of(error.__cause__) != "BadDigest":
                raise
            uri = self.uri(upload.key)
            raise IntegrityError(f"{uri}: the parts that arrived are not what was to be sent", uri) from error

    def _abort_upload(self, upload: Upload) -> None:
        with contextlib.suppress(ObjectNotFound):
            self._ask("abort_multipart_upload", upload.key, UploadId=_upload_id(upload))

    def _write(self, operation: str, key: str, if_match: str, if_none_match: bool, **parameters: Any) -> dict[str, Any]:
        conditions = {"IfMatch": if_match} if if_match else {"IfNoneMatch": "*"} if if_none_match else {}
        try:
            return self._ask(operation, key, needs=("ETag",), **conditions, **parameters)
        except ObjectNotFound as error:
            if if_match and code_of(error.__cause__) == "NoSuchKey":
                uri = self.uri(key)
                raise PreconditionFailed(f"{uri} is not the version expected: it is gone", uri) from error
            raise

    def _ask(self, operation: str, key: str, needs: tuple[str, ...] = (), **parameters: Any) -> dict[str, Any]:
        """Returns the answer to one request, which has what ``needs`` names."""
        uri = self.uri(key)
        named = {"Prefix": key} if operation == "list_objects_v2" else {"Key": key}
        with told_as(uri, self.profile, self._client.accepted):
            call = getattr(self._client.client, operation)
            answer: dict[str, Any] = call(Bucket=self.root.bucket, **named, **parameters)
        self._client.accepted = True
        if missing := [name for name in needs if name not in answer]:
            raise StorageUnavailable(f"{uri}: the store's answer lacks {missing[0]}", uri)
        return answer


def _arrived(answer: Mapping[str, Any], data: bytes, crc32c: str) -> bool:
    """Returns whether an answer confirms the bytes: by their CRC32C, else by their MD5 if the ETag is one."""
    confirmed = answer.get("ChecksumCRC32C")
    md5 = md5_in(answer)
    if confirmed or not md5:
        return confirmed in (crc32c, None)
    return md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()


def _upload_id(upload: Upload) -> str:
    return str(json.loads(upload.session)["id"])


def _receipt(answer: Mapping[str, Any]) -> str:
    """Returns what completes an upload: the ETag, and the CRC32C where the store has confirmed it."""
    return json.dumps({name: answer[name] for name in ("ETag", "ChecksumCRC32C") if answer.get(name)})
