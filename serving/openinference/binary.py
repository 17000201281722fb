"""Tensors as bytes: the protocol's binary extension over REST, and its raw contents over gRPC.

Numbers are little-endian, row by row; ``BYTES`` are strings, each after its length in four bytes.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTYPES", "count_of", "finite", "floats", "numbers", "packed", "texts", "unpacked"]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind[0].lower()}{size}") for kind in ("INT", "UINT") for size in (1, 2, 4, 8)},
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


_MOST_DIMENSIONS = 8
_NUMBER_TYPES = {float, int, bool, type(None)}
_TEXT_TYPES = {str, type(None)}


def floats(values: Sequence[Any]) -> NDArray[np.float32]:
    """Returns numbers that JSON held, None as NaN; several times as fast as NumPy's own way.

    Raises:
        ValueError: When one is something else.
        OverflowError: When one is beyond the range of a 32-bit float.
    """
    try:
        return np.frombuffer(struct.pack(f"<{len(values)}f", *values), np.float32)
    except struct.error:  # it packs no None
        if not set(map(type, values)) <= _NUMBER_TYPES:
            raise ValueError from None
        with np.errstate(over="ignore"):
            return finite(np.array(values, np.float32))


def texts(values: Sequence[Any]) -> NDArray[np.object_]:
    """Returns strings that JSON held, None as "".

    Raises:
        ValueError: When one is something else.
    """
    if not set(map(type, values)) <= _TEXT_TYPES:
        raise ValueError
    return np.array([value or "" for value in values], object)


def finite(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the tensor; NaN, which means missing, may be in it.

    Raises:
        OverflowError: When an infinity is.
    """
    if np.isinf(tensor).any():
        raise OverflowError
    return tensor


def count_of(shape: Sequence[int]) -> int:
    """Returns how many values a tensor of this shape has.

    Raises:
        ValueError: When it has more dimensions than any tensor; to multiply a million sizes takes minutes.
    """
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a shape of {len(shape)} sizes is none")
    return math.prod(shape)


def numbers(raw: bytes, datatype: str, count: int) -> NDArray[Any]:
    """Returns a tensor's numbers, flat.

    Raises:
        KeyError: When the datatype is none of numbers.
        ValueError: When there are more or fewer than ``count``, or a BOOL is neither 0 nor 1.
    """
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise ValueError(f"{count} values of {datatype} are {count * dtype.itemsize} bytes, not {len(raw)}")
    if datatype == "BOOL" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        raise ValueError("a BOOL is neither 0 nor 1")
    return np.frombuffer(raw, dtype)


def packed(texts: list[str]) -> bytes:
    """Returns strings as ``BYTES``."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for text in encoded for part in (len(text).to_bytes(4, "little"), text))


def unpacked(raw: bytes, count: int) -> list[str]:
    """Returns the strings of ``BYTES``.

    Raises:
        ValueError: When there are more or fewer than ``count``, or one is no UTF-8.
    """
    texts, start = [], 0
    for _ in range(count):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw):
            raise ValueError(f"{count} strings are longer than the {len(raw)} bytes that there are")
        texts.append(raw[start + 4 : end].decode())
        start = end
    if start != len(raw):
        raise ValueError(f"{len(raw) - start} bytes follow the last of {count} strings")
    return texts
