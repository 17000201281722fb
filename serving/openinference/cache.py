"""The response cache: a body that was answered before gets the same answer without being looked at again."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

__all__ = ["ResponseCache"]

Reply = tuple[bytes, int | None]

# What an entry takes besides its answer's bytes: key, tuple, and their places in the dictionary, measured.
_ENTRY_BYTES = 300


class ResponseCache:
    """Answers by the digests of body and model, the least recently used given up first.

    A model's answer depends on nothing but the body, so an entry never goes stale: another model has another digest.

    Attributes:
        hits: How many bodies were found.
        misses: How many were not.
        bytes: What the answers that are held take.
        most_bytes: What they may take.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._replies: OrderedDict[bytes, Reply] = OrderedDict()
        self.hits = self.misses = self.bytes = 0

    @staticmethod
    def key(model: str, protocol: str, header_length: str | None, body: bytes) -> bytes:
        """Returns the key of a request, which holds all that decides its answer.

        Args:
            model: Its name and digest: v2 answers repeat both.
            protocol: Of the body.
            header_length: How long the JSON before binary tensors is.
            body: As it came.
        """
        person = blake2b(f"{protocol} {header_length} {model}".encode(), digest_size=16).digest()
        return blake2b(body, digest_size=16, person=person).digest()

    def get(self, key: bytes) -> Reply | None:
        """Returns a former answer."""
        reply = self._replies.get(key)
        if reply is None:
            self.misses += 1
            return None
        self.hits += 1
        self._replies.move_to_end(key)
        return reply

    def put(self, key: bytes, reply: Reply) -> None:
        """Keeps an answer, unless it alone is larger than the cache."""
        size = len(reply[0]) + _ENTRY_BYTES
        if size > self.most_bytes or key in self._replies:
            return
        self._replies[key] = reply
        self.bytes += size
        while self.bytes > self.most_bytes:
            _, (body, _) = self._replies.popitem(last=False)
            self.bytes -= len(body) + _ENTRY_BYTES
