"""What an S3 store says of its objects, read with the doubt that each store's habits deserve."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from shipway.components.common.storage.checksums import Checksums
from shipway.components.common.storage.objects import ObjectInfo

__all__ = ["CRC32C_METADATA", "info_in", "md5_in", "version_in"]

CRC32C_METADATA = "shipway-crc32c"
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,4}")
_CRC = re.compile(r"[A-Za-z0-9+/]{6}==")
_SHA256 = re.compile(r"[A-Za-z0-9+/]{43}=")


def info_in(key: str, answer: Mapping[str, Any], size: int) -> ObjectInfo:
    """Returns what an answer, or an entry of a listing, says of an object."""
    return ObjectInfo(key, size, version_in(answer), answer.get("LastModified"), checksums_in(answer))


def version_in(answer: Mapping[str, Any]) -> str:
    """Returns the ETag in the quotes that preconditions need and some listings lack."""
    etag = str(answer["ETag"])
    return etag if etag.endswith('"') else f'"{etag}"'


def md5_in(answer: Mapping[str, Any]) -> str:
    """Returns the MD5 that the ETag is: not with keys of one's own, and not of objects sent in parts."""
    etag = str(answer["ETag"]).strip('"').lower()
    known = answer.get("ServerSideEncryption", "AES256") == "AES256" and not answer.get("SSECustomerAlgorithm")
    return etag if known and _MD5.fullmatch(etag) else ""


def checksums_in(answer: Mapping[str, Any]) -> Checksums:
    """Returns the checksums of the whole object; ``md5_of_parts`` without the parts' size.

    A checksum of parts' checksums is none of the object's. AWS calls it COMPOSITE and ends it with ``-N``; others do
    neither, but then the ETag tells that there are parts.
    """
    etag = str(answer["ETag"]).strip('"').lower()
    in_parts = bool(_MD5_OF_PARTS.fullmatch(etag))
    whole = answer.get("ChecksumType") == "FULL_OBJECT" or not in_parts
    crc32c = _matching(_CRC, answer.get("ChecksumCRC32C")) if whole else ""
    sha256 = _matching(_SHA256, answer.get("ChecksumSHA256")) if whole else ""
    return Checksums(
        crc32c=_matching(_CRC, _own_crc32c(answer)) or crc32c,
        crc32=_matching(_CRC, answer.get("ChecksumCRC32")) if whole else "",
        md5=md5_in(answer),
        sha256=base64.b64decode(sha256).hex(),
        md5_of_parts=etag if in_parts else "",
    )


def _own_crc32c(answer: Mapping[str, Any]) -> str:
    """Returns the CRC32C that Shipway wrote beside the object; some stores change the name's case."""
    metadata = answer.get("Metadata", {})
    return next((str(value) for name, value in metadata.items() if name.lower() == CRC32C_METADATA), "")


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
