"""TensorFlow Data Validation without the packages that it loads and a step does not use.

``import tensorflow_data_validation`` loads TensorFlow, Apache Beam and pandas, more than nine tenths of its time.
Statistics of record batches, schemas and validation need none of them. So while TFDV is imported here, stand-ins
take the places of those packages: TensorFlow and pandas are loaded when something of them is first used, Beam never.
What runs on Beam goes into :func:`whole_tfdv`. When TFDV does not load in this way (another version may not), it is
loaded as usual.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["stats_impl", "table_util", "tensorflow_data_validation", "top_k_uniques_stats_util", "whole_tfdv"]

# With this TensorFlow does not load Keras while it is imported, which saves a quarter of the time.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_BEAM = "apache_beam"
_LOADED_ON_USE = ("tensorflow", "pandas", "joblib", "IPython")
_OWN = ("tensorflow_data_validation", "tfx_bsl")


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


# All that schemas and validation need of TensorFlow.
_OURS = {"tensorflow.compat.as_bytes": _as_bytes}


class _Later:
    """A name of a package that is not loaded: inert while TFDV is imported, afterwards the real thing on first use."""

    importing = True

    def __init__(self, path: str) -> None:
        self._path = path

    def _beam(self) -> bool:
        return self._path.split(".")[0] == _BEAM

    def _inert(self) -> bool:
        return _Later.importing or self._path.startswith(f"{_BEAM}.metrics")  # outside a pipeline they count nothing

    def _real(self) -> Any:
        if self._beam():
            raise RuntimeError(f"{self._path} is not loaded; what runs on Beam belongs in whole_tfdv()")
        parent, _, name = self._path.rpartition(".")
        if not parent:
            return importlib.import_module(self._path)
        real = _Later(parent)._real()
        return getattr(real, name) if hasattr(real, name) else importlib.import_module(self._path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self._path}.{name}"
        if path in _OURS:
            return _OURS[path]
        later = _Later(path)
        lazy = self._inert() or self._beam() or any(known.startswith(path) for known in _OURS)
        return later if lazy else later._real()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self if self._inert() else self._real()(*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self if self._inert() else self._real()[key]

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (_NotLoaded,)


class _NotLoaded:
    """The base of classes whose real base is not loaded; they cannot be made."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{cls.__name__} needs a package that is not loaded; it belongs in whole_tfdv()")


class _LaterModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_Later(self.__name__), name)


class _StandIns(MetaPathFinder, Loader):
    """Imports stand-ins of packages and of everything below them."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LaterModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leaves the module empty."""


def _own_modules() -> dict[str, ModuleType]:
    """TFDV's modules as far as they can be loaded twice: not the compiled ones and not the messages."""
    return {
        name: module
        for name, module in sys.modules.items()
        if name.split(".")[0] in _OWN
        and not name.endswith("_pb2")
        and isinstance(module.__spec__, ModuleSpec)
        and not isinstance(module.__spec__.loader, ExtensionFileLoader)
    }


def _forget(names: Sequence[str]) -> None:
    for name in names:
        sys.modules.pop(name, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _import_all() -> None:
    for name in ("", ".statistics.stats_impl", ".utils.top_k_uniques_stats_util"):
        importlib.import_module(f"tensorflow_data_validation{name}")
    importlib.import_module("tfx_bsl.arrow.table_util")


def _import_lean() -> bool:
    """Imports TFDV with stand-ins; returns whether that worked."""
    try:
        with _stand_ins():
            _import_all()
        _try()
    except (ImportError, AttributeError, TypeError, ValueError, KeyError, NameError, RuntimeError):
        _forget([*_own_modules()])
        return False
    return True


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    finder = _StandIns([name for name in (_BEAM, *_LOADED_ON_USE) if name not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget([name for name, module in sys.modules.items() if isinstance(module, _LaterModule)])
        _Later.importing = False


def _try() -> None:
    """Uses what the statistics, schemas and validation use, so that what does not work is known at once."""
    tfdv = importlib.import_module("tensorflow_data_validation")
    impl = importlib.import_module("tensorflow_data_validation.statistics.stats_impl")
    generators = impl.get_generators(tfdv.StatsOptions(), in_memory=True)
    accumulators = [generator.create_accumulator() for generator in generators]
    statistics = impl.extract_statistics_output(accumulators, generators)
    tfdv.validate_statistics(statistics, tfdv.infer_schema(statistics))


@contextlib.contextmanager
def whole_tfdv() -> Iterator[Any]:
    """Yields ``tensorflow_data_validation`` with everything that it can do, Beam pipelines too.

    While the block runs, ``import tensorflow_data_validation`` gives the same; loading it takes seconds the first
    time. TFDV's classes inside and outside are different ones, the messages (statistics, schemas) are the same.
    """
    if not _IS_LEAN or _WITHIN:
        yield sys.modules["tensorflow_data_validation"]
        return
    lean = _own_modules()
    _forget([*lean])
    sys.modules.update(_WHOLE)
    _WITHIN.append(True)
    try:
        with _quiet():
            _import_all()
        yield sys.modules["tensorflow_data_validation"]
    finally:
        _WITHIN.pop()
        _WHOLE.update(_own_modules())
        _forget([*_WHOLE])
        sys.modules.update(lean)


_WHOLE: dict[str, ModuleType] = {}
_WITHIN: list[bool] = []

with _quiet():
    _IS_LEAN = _import_lean()
    import tensorflow_data_validation
    from tensorflow_data_validation.statistics import stats_impl
    from tensorflow_data_validation.utils import top_k_uniques_stats_util
    from tfx_bsl.arrow import table_util
