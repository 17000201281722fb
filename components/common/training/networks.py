"""Networks: what a builder is told, how the user's own is found, and whose fault an error in it is.

A builder is a function that takes a :class:`NetworkSpec` and returns a network: a ``torch.nn.Module`` or a
``keras.Model``, called with ``numeric`` (float32 ``[rows, numeric_width]``, in [0, 1]) and ``categorical`` (int64
``[rows, string features]``), giving logits ``[rows, classes]``::

    def build(spec):
        return MyNetwork(spec.numeric_width, spec.cardinalities, spec.classes, width=spec.parameters["width"])

A network may own its training step: with a method ``training_step(numeric, categorical, labels, weights)`` it returns
the loss of a batch, a scalar: the mean over its rows, each times its weight.

With TensorFlow a functional model names its inputs ``numeric`` and ``categorical``, random numbers come from
``keras.random`` with a ``SeedGenerator`` that the network holds (others do not resume exactly), and the builder is
called twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from shipway.components.common.errors import InputError, ShipwayError
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["NetworkSpec", "find_builder", "memory_for", "network_digest", "users_code"]

# Where networks come from: their lines are their authors' also where they are installed among the libraries.
_users_packages: set[str] = set()


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is built for.

    Attributes:
        encoders: The preprocessing, with the features' names, vocabularies and quantiles.
        label_names: The classes, in the order of the logits.
        hyperparameters: How it will be trained.
    """

    encoders: Encoders
    label_names: tuple[str, ...]
    hyperparameters: Hyperparameters

    @property
    def numeric_width(self) -> int:
        """Columns of the tensor ``numeric``."""
        return self.encoders.numeric_width

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many indices each column of the tensor ``categorical`` has."""
        return self.encoders.cardinalities

    @property
    def classes(self) -> int:
        """How many logits."""
        return len(self.label_names)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The hyperparameters that only the network knows about."""
        return self.hyperparameters.parameters

    def image(self) -> tuple[slice, tuple[int, int, int]]:
        """Returns which columns of ``numeric`` are the image, and its height, width and channels.

        Raises:
            InputError: When the data has not one list feature, or ``image_shape`` does not fit it.
        """
        if len(self.encoders.vectors) != 1:
            raise InputError(
                f"a network for images takes one feature of lists of numbers, the data has {len(self.encoders.vectors)}"
            )
        vector = self.encoders.vectors[0]
        shape = self.hyperparameters.image_shape
        if not shape:
            side = round(vector.size**0.5)
            shape = (side, side, 1)
        height, width, channels = shape
        if height * width * channels != vector.size:
            raise InputError(
                f"{vector.name!r} has {vector.size} values, which are no image of {height} x {width} x {channels}:"
                " set image_shape to height, width and channels"
            )
        return self.encoders.vector_columns(vector.name), (height, width, channels)


def find_builder(
    network: str, code: str, builtin: Mapping[str, Callable[[NetworkSpec], Any]]
) -> Callable[[NetworkSpec], Any]:
    """Returns the builder of a network.

    Args:
        network: A name in ``builtin``, or ``package.module:function``.
        code: A Python file (its name is the module's), or a directory that modules are found in; "" for none.
        builtin: The family's own networks.

    Raises:
        InputError: When there is none, or importing it fails; from a built-in one, when it is given hyperparameters
            that it does not know.
    """
    if network in builtin:
        return lambda spec: _built_in(network, builtin[network], spec)
    name, colon, function = network.partition(":")
    if not (colon and name and function):
        raise InputError(f"network is {network!r}; it must be {', '.join(builtin)} or package.module:function")
    _users_packages.add(name.partition(".")[0])
    with users_code(f"importing {name}"), _importable(code):
        module = _module(name, code)
    builder = getattr(module, function, None)
    if not callable(builder):
        raise InputError(f"{name} ({getattr(module, '__file__', '?')}) has no function {function!r}")

    def build(spec: NetworkSpec) -> Any:
        with users_code(f"{network} building the network"), _importable(code):
            return builder(spec)

    return build


def network_digest(network: str, code: str) -> str:
    """Returns what tells networks apart: the name, with a digest of the code and the files that come along."""
    if not code:
        return network
    root, digest = Path(code), hashlib.sha256()
    for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if file.is_file() and file.suffix != ".pyc":
            digest.update(f"{file.relative_to(root)} {file.stat().st_size} ".encode() + file.read_bytes())
    return f"{network}@{digest.hexdigest()[:16]}"


@contextlib.contextmanager
def users_code(what: str, wholly: bool = True) -> Iterator[None]:
    """Runs code of the user's; its errors become an InputError with the line they come from.

    Args:
        what: What was done, such as ``building the network``.
        wholly: Whether every error is the user's; else only one that passed through the user's code.

    Raises:
        InputError: When the code fails with anything but an error of this project's.
    """
    try:
        yield
    except ShipwayError:
        raise
    except Exception as error:
        line = _line(error)
        if is_out_of_memory(error) or not (wholly or line):
            raise
        where = line or "no line of the network's code"
        raise InputError(f"{what} failed with {type(error).__name__}: {error} ({where})") from error


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
            f" ({str(error).strip().splitlines()[0]})"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether memory ran out, on whatever device; both frameworks have errors of their own for it."""
    words = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(
        sign in words
        for sign in ("OutOfMemory", "out of memory", "can't allocate memory", "ResourceExhausted", "OOM when")
    )


def _built_in(network: str, builder: Callable[[NetworkSpec], Any], spec: NetworkSpec) -> Any:
    if spec.parameters:
        known = sorted({field.name for field in fields(Hyperparameters)} - {"parameters"})
        raise InputError(
            f"the network {network} has no hyperparameter {', '.join(spec.parameters)}; there are {', '.join(known)},"
            " and what a network of your own reads"
        )
    return builder(spec)


def _line(error: Exception) -> str:
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


@contextlib.contextmanager
def _importable(code: str) -> Iterator[None]:
    """Has modules found in a directory of code, before those that are installed."""
    folders = [code] if code and Path(code).is_dir() else []
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)


def _module(name: str, code: str) -> ModuleType:
    path = Path(code)
    if not code or path.is_dir():
        return importlib.import_module(name)
    if not path.is_file():
        raise InputError(f"network_code is {code}, where there is no file")
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=None)
    if spec is None or spec.loader is None:  # an artifact may lack the suffix .py
        from importlib.machinery import SourceFileLoader

        loader = SourceFileLoader(name, str(path))
        spec = importlib.util.spec_from_loader(name, loader)
    if spec is None or spec.loader is None:
        raise InputError(f"{code} cannot be imported; it must be a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
