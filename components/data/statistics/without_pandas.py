"""Arrow without pandas, which takes longer to load than the statistics of a small file."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa

__all__ = ["arrow_without_pandas"]


@contextlib.contextmanager
def arrow_without_pandas() -> Iterator[None]:
    """Keeps Arrow from loading pandas with the first array that it makes, unless pandas is loaded already.

    In the block, and in processes forked there, this thread cannot import pandas. Then all is as before.
    """
    if "pandas" in sys.modules:
        yield
        return
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)
        # Arrow remembers that there was none, and would take a pandas column for a list, without its missing values.
        pa.lib._pandas_api.__init__()


class _Refusal(MetaPathFinder):
    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> None:
        """Refuses pandas to one thread."""
        if fullname == "pandas" and threading.get_ident() == self.thread:
            raise ModuleNotFoundError("pandas is not to be loaded here", name=fullname)
