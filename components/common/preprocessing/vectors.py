"""Vector features of the length that a model knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from shipway.components.common.errors import InputError

__all__ = ["sized"]


def sized(values: np.ndarray[Any, Any], size: int, name: str) -> np.ndarray[Any, Any]:
    """Returns a vector feature's tensor with ``size`` columns: where every list is missing or empty, none told it.

    Raises:
        InputError: When the lists have another length.
    """
    if values.shape[1] == size:
        return values
    if values.shape[1]:
        raise InputError(
            f"the lists of column {name!r} have {values.shape[1]} values where {size} are expected: a feature's lists"
            " all have one length"
        )
    return np.full((len(values), size), np.nan, np.float32)
