"""Which engine serves a Model: the one that was asked for, or the fastest that answers right."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from shipway.components.common.errors import InputError
from shipway.components.common.model import Golden, ModelDescription, read_golden, verify_files
from shipway.serving.engines.engine import Engine
from shipway.serving.openinference.door import tensors_of_instances
from shipway.serving.openinference.golden import golden_check

__all__ = ["ENGINES", "load_engine"]

logger = logging.getLogger(__name__)

_ROWS = (1, 256)
_RUNS = 50
_FEWEST_RUNS = 3
_SECONDS = 0.2
# So much faster must another engine be to stand in ONNX Runtime's place, which is what the model was evaluated with.
_WORTH_IT = 0.8


@dataclass(frozen=True)
class _Kind:
    """A kind of engine.

    Attributes:
        file: What it needs of a Model.
        library: What it needs of the environment.
        load: Loads it: the directory, what ``model.json`` says, threads, device.
    """

    file: str
    library: str
    load: Callable[[Path, ModelDescription, int, str], Engine]


@dataclass(frozen=True)
class _Measured:
    """An engine that answers right, and what a batch of each of :data:`_ROWS` takes it."""

    name: str
    engine: Engine
    microseconds: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Smaller is better; both sizes count alike."""
        one, many = self.microseconds
        return one * many

    def __str__(self) -> str:
        one, many = (f"{microseconds:.0f}" for microseconds in self.microseconds)
        return f"{self.name} {one} µs for {_ROWS[0]} row and {many} µs for {_ROWS[1]}"


def load_engine(directory: Path, engine: str = "auto", threads: int = 1, device: str = "auto") -> Engine:
    """Loads the engine of a Model, once its files are those that it names, and has it answer the golden requests.

    ``auto`` measures what the Model holds a file for and this environment has the library of; where that is ONNX
    Runtime alone nothing is measured.

    Args:
        directory: A Model directory.
        engine: One of :data:`ENGINES`.
        threads: Threads of one forward pass; 0 leaves it to the library.
        device: One of :data:`.engine.DEVICES`.

    Raises:
        InputError: When the directory is no Model, or the engine's file, library or device is not there.
        DeploymentError: When it does not answer as it did after training.
    """
    if engine not in ENGINES:
        raise InputError(f"there is no engine {engine!r}; it can be {', '.join(ENGINES)}")
    description, golden = verify_files(directory), read_golden(directory)
    if engine != "auto":
        return _checked(engine, directory, description, golden, threads, device)
    found: dict[str, Engine] = {}
    failures: list[Exception] = []
    for name, kind in _KINDS.items():
        if (directory / kind.file).exists() and find_spec(kind.library):
            try:
                found[name] = _checked(name, directory, description, golden, threads, device)
            except Exception as error:  # noqa: BLE001 - a library's, whichever; another engine may serve
                failures.append(error)
                logger.warning("%s is not served by %s: %s", description.name, name, error)
    if not found:
        raise failures[0] if failures else InputError(f"{directory} holds no file that an engine could serve")
    return _fastest(found, golden)


def _checked(
    name: str, directory: Path, description: ModelDescription, golden: Golden, threads: int, device: str
) -> Engine:
    kind = _KINDS[name]
    if not (directory / kind.file).exists():
        raise InputError(
            f"the engine {name} needs {kind.file}, which the model at {directory} does not hold; it is one of"
            f" {description.framework}, and quantized models have model.onnx only: ask for auto"
        )
    if find_spec(kind.library) is None:
        raise InputError(
            f"the engine {name} needs {kind.library}, which this environment lacks: run the server in the environment"
            f" of {description.framework}, or ask for onnxruntime"
        )
    engine = kind.load(directory, description, threads, device)
    golden_check(engine, golden)
    return engine


def _fastest(engines: dict[str, Engine], golden: Golden) -> Engine:
    if len(engines) == 1:
        return next(iter(engines.values()))
    measured = [_Measured(name, engine, _microseconds(engine, golden)) for name, engine in engines.items()]
    first, best = measured[0], min(measured, key=lambda each: each.cost)
    chosen = best if best.cost < _WORTH_IT * first.cost else first
    logger.info(
        "%s is served by %s, the fastest that answers right: %s",
        chosen.engine.description.name,
        chosen.name,
        "; ".join(map(str, measured)),
    )
    return chosen.engine


def _microseconds(engine: Engine, golden: Golden) -> tuple[float, ...]:
    return tuple(_median_microseconds(engine, golden, rows) for rows in _ROWS)


def _median_microseconds(engine: Engine, golden: Golden, rows: int) -> float:
    repeated = [golden.instances[row % len(golden.instances)] for row in range(rows)]
    tensors = tensors_of_instances(engine.description.inputs, {"instances": repeated})
    for _ in range(_FEWEST_RUNS):  # the first runs are slow
        engine.run(tensors)
    times: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(times) < _FEWEST_RUNS or (len(times) < _RUNS and time.perf_counter() < until):
        started = time.perf_counter()
        engine.run(tensors)
        times.append(time.perf_counter() - started)
    return median(times) * 1e6


def _onnxruntime(directory: Path, description: ModelDescription, threads: int, device: str) -> Engine:
    from shipway.serving.engines.onnx import OnnxModel

    return OnnxModel(directory, threads, device, description)


def _torch(file: str) -> Callable[[Path, ModelDescription, int, str], Engine]:
    def load(directory: Path, description: ModelDescription, threads: int, device: str) -> Engine:
        from shipway.serving.engines.torch import TorchModel, preprocessing_of

        return TorchModel(directory / file, preprocessing_of(directory), description, threads, device)

    return load


def _tensorflow(directory: Path, description: ModelDescription, threads: int, device: str) -> Engine:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else it greets
    from shipway.serving.engines.savedmodel import SavedModel

    return SavedModel(directory / "saved_model", description, threads, device)


# ONNX Runtime is first: it starts soonest, and every Model holds its file.
_KINDS = {
    "onnxruntime": _Kind("model.onnx", "onnxruntime", _onnxruntime),
    "torch": _Kind("model.pt2", "torch", _torch("model.pt2")),
    "torchscript": _Kind("model.ts.pt", "torch", _torch("model.ts.pt")),
    "tensorflow": _Kind("saved_model", "tensorflow", _tensorflow),
}

ENGINES = ("auto", *_KINDS)
"""What a Model can be served by."""
