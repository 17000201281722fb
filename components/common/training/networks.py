"""Networks: what a builder is told, how the user's own is found, and what it must give.

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training.blame import blame_package, users_code
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["NetworkSpec", "find_builder", "network_digest", "require_logits", "require_loss"]


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
    blame_package(name.partition(".")[0])
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


def require_logits(network: str, given: Any, tensor: type[Any], shape: tuple[int, int]) -> None:
    """Checks what a network gives for a few rows.

    Args:
        network: Its name.
        given: What it gave.
        tensor: What tensors are in its framework.
        shape: How many rows it was given, and how many classes there are.

    Raises:
        InputError: When it is not one tensor of this shape.
    """
    found = tuple(given.shape) if isinstance(given, tensor) else f"a {type(given).__name__}, which is no tensor"
    if found != shape:
        raise InputError(
            f"{network} must give logits [rows, classes], {shape} for {shape[0]} rows, and nothing else; it gave"
            f" {found}"
        )


def require_loss(step: Callable[..., Any], shape: tuple[int, ...] | None) -> None:
    """Checks what a network's own ``training_step`` returns.

    Args:
        step: The method.
        shape: Of what it returned; None where that is no tensor.

    Raises:
        InputError: When it is no scalar.
    """
    if shape != ():
        code = getattr(step, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        found = "no tensor" if shape is None else f"a tensor of shape {shape}"
        raise InputError(
            f"{getattr(step, '__qualname__', step)}{where} must return the loss of the batch, a scalar: the mean over"
            f" its rows, each times its weight; it returned {found}"
        )


def _built_in(network: str, builder: Callable[[NetworkSpec], Any], spec: NetworkSpec) -> Any:
    if spec.parameters:
        known = sorted({field.name for field in fields(Hyperparameters)} - {"parameters"})
        raise InputError(
            f"the network {network} has no hyperparameter {', '.join(spec.parameters)}; there are {', '.join(known)},"
            " and what a network of your own reads"
        )
    return builder(spec)


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
