"""Whose fault an error in a training is: the user's code, with its line, or the memory, with what to try."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from shipway.components.common.errors import InputError, ShipwayError

__all__ = ["blame_package", "is_out_of_memory", "memory_for", "memory_for_network", "users_code"]

_users_packages: set[str] = set()
_MEMORY_SIGNS = ("OutOfMemory", "out of memory", "can't allocate memory", "ResourceExhausted", "OOM when")
# Colours, and the names that TensorFlow has for what it was doing.
_DECORATION = re.compile(r"\x1b\[[\d;]*m|\{\{.*?\}\} ?")
_HINT = re.compile(r"\s*For more information, run with TORCH_LOGS=\S+")


def blame_package(name: str) -> None:
    """Has the lines of a package count as the user's also where it is installed among the libraries."""
    _users_packages.add(name)


@contextlib.contextmanager
def users_code(what: str, wholly: bool = True) -> Iterator[None]:
    """Runs code of the user's; its errors become an InputError with the line they come from.

    Args:
        what: What was done, such as ``building the network``.
        wholly: Whether every error is the user's; else only one that passed through the user's code.

    Raises:
        InputError: When the code fails with anything but an error of this project's, or ends the process.
    """
    try:
        yield
    except ShipwayError:
        raise
    except (Exception, SystemExit) as error:
        line = _line(error)
        if is_out_of_memory(error) or not (wholly or line):
            raise
        where = line or "no line of the network's code"
        raise InputError(f"{what} failed with {type(error).__name__}: {_told(error)} ({where})") from error


@contextlib.contextmanager
def memory_for(rows_per_step: int) -> Iterator[None]:
    """Runs a training with batches of so many rows.

    Raises:
        InputError: When memory runs out, with the batch size to try.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        advice = f"try batch_size={rows_per_step // 2}" if rows_per_step > 1 else "the network itself is too large"
        raise InputError(
            f"out of memory with batches of {rows_per_step} rows: {advice}, or a smaller network, or more memory"
            f" ({_lack(error)})"
        ) from error


@contextlib.contextmanager
def memory_for_network(network: str) -> Iterator[None]:
    """Builds a network, before anything is learned.

    Raises:
        InputError: When memory runs out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        advice = "build a smaller one" if ":" in network else "take fewer or narrower hidden_units"
        raise InputError(
            f"the network itself needs too much memory ({_lack(error)}): {advice}, or take more memory"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether memory ran out, on whatever device; both frameworks have errors of their own for it."""
    words = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(sign in words for sign in _MEMORY_SIGNS)


def _lack(error: Exception) -> str:
    """Returns the line of an error's message that says what there was no memory for."""
    lines = _told(error).splitlines()
    telling = (line.strip() for line in lines if any(sign in line for sign in _MEMORY_SIGNS))
    return next(telling, lines[0] if lines else type(error).__name__)


def _told(error: BaseException) -> str:
    """Returns an error's message without colours, and without the pages of hints that torch's own errors come with."""
    text = _DECORATION.sub("", str(error)).strip()
    if type(error).__module__.partition(".")[0] == "torch":
        text = _HINT.sub("", text.partition("\n\n")[0])
    return text


def _line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    trace = error.__traceback__
    frames = zip(traceback.walk_tb(trace), traceback.extract_tb(trace), strict=True)
    users = [line for (frame, _), line in frames if _is_users(line.filename, frame.f_globals.get("__name__", ""))]
    if not users:
        return ""
    last = users[-1]
    return f"{last.filename}:{last.lineno}, in {last.name}: {last.line}"


def _is_users(filename: str, module: str) -> bool:
    if filename.startswith(str(Path(__file__).parents[2])):
        return False
    libraries = ("site-packages", "dist-packages", sys.base_prefix, "<frozen")
    return module.partition(".")[0] in _users_packages or not any(part in filename for part in libraries)
