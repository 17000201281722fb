"""What stores and the code that uses them tell each other: objects, pages of listings, uploads in parts."""

from __future__ import annotations

import dataclasses
import datetime

from shipway.components.common.storage.checksums import NO_CHECKSUMS, Checksums

__all__ = ["Listing", "ObjectInfo", "Upload"]


@dataclasses.dataclass(frozen=True)
class ObjectInfo:
    """An object, or a directory that a listing which does not go deeper found.

    Attributes:
        key: Below the store's root; ends with ``/`` for a directory.
        size: In bytes.
        version: For ``if_match``.
        modified: When it was written, where the store tells.
        checksums: What the store knows; a listing often knows less than :meth:`Store.stat`.
        has_ranges: Whether the store sends parts of it; else it is best read at once.
    """

    key: str
    size: int = 0
    version: str = ""
    modified: datetime.datetime | None = None
    checksums: Checksums = NO_CHECKSUMS
    has_ranges: bool = True

    @property
    def is_directory(self) -> bool:
        """Whether it stands for all that lies below it."""
        return self.key.endswith("/")


@dataclasses.dataclass(frozen=True)
class Listing:
    """One page of a listing.

    Attributes:
        objects: In the order of the keys; directories among them.
        next_page: What asks for the page after this one; "" when there is none.
    """

    objects: tuple[ObjectInfo, ...]
    next_page: str = ""


@dataclasses.dataclass(frozen=True)
class Upload:
    """An object to be written in parts; as JSON it lies in the state directory until it is done, to be resumed.

    Attributes:
        key: The object's key.
        size: Its size in bytes.
        part_bytes: Size of every part but the last.
        checksums: Of the whole object; crc32c at least.
        if_match: The version that it replaces; "" for any.
        if_none_match: Whether there must be none yet.
        session: The backend's own word for it.
    """

    key: str
    size: int
    part_bytes: int
    checksums: Checksums
    if_match: str = ""
    if_none_match: bool = False
    session: str = ""

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return max(1, -(-self.size // self.part_bytes))
