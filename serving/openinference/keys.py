"""Whether JSON says everything once."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from shipway.serving.openinference.door import BadRequest

__all__ = ["repeated_keys_first", "require_unique_keys"]


def require_unique_keys(text: bytes) -> None:
    """Checks that no object of a JSON text says anything twice: which one counts would be a guess.

    Args:
        text: JSON.

    Raises:
        BadRequest: When one does.
    """
    try:
        json.loads(text, object_pairs_hook=_unique, parse_int=float)
    except RecursionError:
        raise BadRequest("malformed request: it is nested too deeply") from None


@contextlib.contextmanager
def repeated_keys_first(text: bytes) -> Iterator[None]:
    """Has a JSON text that is refused be refused for a key that comes twice, which may be why something else lacks.

    Raises:
        BadRequest: Instead of another one, when an object says something twice.
    """
    try:
        yield
    except BadRequest:
        require_unique_keys(text)
        raise


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise BadRequest(f"malformed request: an object has the key {json.dumps(key)} {times} times")
    return found
