"""How far long work has come, on stderr: a bar on a terminal, elsewhere a line every 15 seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["bytes_progress", "progress"]

_LINE_SECONDS = 15.0
_MIB = 1 << 20
_SHARE_BAR = "{desc} {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
_BYTES_BAR = "{desc} {percentage:3.0f} % |{bar}| {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left"


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Yields what takes the share done, from 0 to 1, and shows it."""
    with _shown(what, {"total": 1.0, "bar_format": _SHARE_BAR}, lambda share, _whole, _rate: f"{share:.0%}") as tell:
        yield lambda share: tell(min(share, 1.0), 1.0)


@contextlib.contextmanager
def bytes_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields what takes the bytes done and the bytes in all, from any thread, and shows them with the speed."""

    def words(done: float, whole: float, rate: float) -> str:
        share = done / whole if whole else 1.0
        return f"{done / _MIB:,.0f} of {whole / _MIB:,.0f} MiB ({share:.0%}), {rate / _MIB:,.1f} MiB/s"

    bar = {"total": 0, "bar_format": _BYTES_BAR, "unit": "iB", "unit_scale": True, "unit_divisor": 1024}
    with _shown(what, bar, words) as tell:
        yield tell


@contextlib.contextmanager
def _shown(
    what: str, settings: dict[str, Any], words: Callable[[float, float, float], str]
) -> Iterator[Callable[[float, float], None]]:
    lock = threading.Lock()
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread beside processes that fork
        with tqdm(desc=what, leave=False, file=sys.stderr, **settings) as bar:

            def draw(done: float, whole: float) -> None:
                with lock:
                    bar.total = whole
                    bar.update(done - bar.n)
                    if done >= whole:
                        bar.refresh()

            yield draw
        return
    told, before = time.monotonic(), 0.0

    def tell(done: float, whole: float) -> None:
        nonlocal told, before
        with lock:
            seconds = time.monotonic() - told
            if seconds >= _LINE_SECONDS:
                print(f"{what}: {words(done, whole, (done - before) / seconds)}", file=sys.stderr, flush=True)
                told, before = time.monotonic(), done

    yield tell
