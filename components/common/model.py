"""The Model artifact: what ``model.json`` and ``golden.json`` say, and whether the files are the ones it names.

Light on purpose: serving, the lifecycle steps and the command line read models with the standard library alone.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from shipway.components.common.artifacts import directory_digest, file_digest, read_json, write_json
from shipway.components.common.errors import InputError

__all__ = [
    "GOLDEN_FILE",
    "MODEL_FILE",
    "Digests",
    "Epoch",
    "Golden",
    "ModelDescription",
    "Tensor",
    "digests_of",
    "read_golden",
    "read_model",
    "verify_files",
    "write_golden",
    "write_model",
]

FORMAT_VERSION = 1
MODEL_FILE = "model.json"
GOLDEN_FILE = "golden.json"
_CODE_DIGEST_VARIABLE = "SHIPWAY_CODE_DIGEST"
_LOCK_DIGEST_VARIABLE = "SHIPWAY_LOCK_DIGEST"


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model.

    Attributes:
        name: The feature's name, ``scores`` or ``label``.
        datatype: ``FP32`` (NaN: missing) or ``BYTES`` (UTF-8; empty: missing).
        shape: Sizes; -1 is the batch. A vector feature has ``(-1, size)``.
    """

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: tuple[int, ...] = (-1,)


@dataclass(frozen=True)
class Digests:
    """What the model was made from: training data, the project's code, the environment's lock; "" where unknown."""

    data: str
    code: str
    environment: str


@dataclass(frozen=True)
class Epoch:
    """One epoch of the history; an AUC is None where the split cannot define one.

    Attributes:
        epoch: Counted from 1.
        loss: Mean of what was minimised in the epoch, with weights and dropout.
        validation_loss: Log loss of the validation split, in nats.
        validation_roc_auc: ROC AUC of the validation split.
        training_loss: Log loss of a sample of the training split with the same weights as the validation split's.
        training_roc_auc: ROC AUC of that sample.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_roc_auc: float | None
    training_loss: float | None = None
    training_roc_auc: float | None = None


@dataclass(frozen=True)
class ModelDescription:
    """What ``model.json`` says.

    Attributes:
        name: The model's name.
        framework: ``pytorch`` or ``tensorflow``.
        task: ``binary`` or ``multiclass``.
        label: Name of the label's column.
        label_names: The classes in the order of the scores, sorted; the last is a binary task's positive one.
        inputs: One tensor per feature, raw, in the order of the Dataset's columns.
        outputs: ``scores`` (FP32 ``[-1, classes]``, probabilities) and ``label`` (BYTES ``[-1]``).
        digests: What it was made from.
        metrics: Numbers by name, None where undefined.
        history: One entry per epoch.
        training: Hyperparameters and circumstances of the training.
        digest: ``sha256:…`` over every file but ``model.json``; :func:`write_model` sets it.
        files: Digest of every file but ``model.json`` by relative path; :func:`write_model` sets it.
        format_version: Of ``model.json``.
    """

    name: str
    framework: Literal["pytorch", "tensorflow"]
    task: Literal["binary", "multiclass"]
    label: str
    label_names: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    digests: Digests
    metrics: dict[str, float | None]
    history: tuple[Epoch, ...]
    training: dict[str, Any]
    digest: str = ""
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def kinds(self) -> dict[str, Literal["numeric", "string", "vector"]]:
        """The kind of every feature, in order, as :mod:`.preprocessing` calls it."""
        return {
            tensor.name: "string" if tensor.datatype == "BYTES" else "vector" if len(tensor.shape) > 1 else "numeric"
            for tensor in self.inputs
        }

    @property
    def sizes(self) -> dict[str, int]:
        """How many values each vector feature has."""
        return {tensor.name: tensor.shape[1] for tensor in self.inputs if len(tensor.shape) > 1}

    @property
    def summary(self) -> dict[str, Any]:
        """What an artifact's metadata repeats: the same for every run that gives the same model."""
        return {
            "name": self.name,
            "framework": self.framework,
            "digest": self.digest,
            "task": self.task,
            "label": self.label,
            "label_names": list(self.label_names),
            "rows": self.training.get("rows"),
            "accelerator": self.training.get("accelerator"),
        }

    @property
    def logged_metrics(self) -> dict[str, float]:
        """What a training step shows: the metrics that are defined, its speed, and the use of its GPUs."""
        shown = ("rows_per_second", "gpu_utilization_percent", "gpu_memory_peak_gib")
        numbers = {**self.metrics, **{name: self.training.get(name) for name in shown}}
        return {name: float(value) for name, value in numbers.items() if value is not None}


@dataclass(frozen=True)
class Golden:
    """What ``golden.json`` says: requests with the answers that the model gave when it was made.

    Attributes:
        instances: Rows as a client sends them: a value, a list of values or None by feature.
        scores: The answer's ``scores``, one list per row.
        labels: The answer's ``label``, one per row.
        tolerance: How far a score may be off, absolute.
    """

    instances: tuple[dict[str, Any], ...]
    scores: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]
    tolerance: float = 1e-4


def digests_of(dataset: str | Path) -> Digests:
    """Returns the digests for a model trained on a Dataset by this process: code and environment from its variables."""
    return Digests(
        data=directory_digest(dataset),
        code=os.environ.get(_CODE_DIGEST_VARIABLE, ""),
        environment=os.environ.get(_LOCK_DIGEST_VARIABLE, ""),
    )


def write_model(directory: str | Path, description: ModelDescription) -> ModelDescription:
    """Writes ``model.json`` beside the model's other files, which must be complete; returns it with their digests."""
    root = Path(directory)
    files = {
        path.relative_to(root).as_posix(): file_digest(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path != root / MODEL_FILE
    }
    complete = replace(description, digest=directory_digest(root, exclude={MODEL_FILE}), files=files)
    write_json(root / MODEL_FILE, asdict(complete))
    return complete


def read_model(directory: str | Path) -> ModelDescription:
    """Reads ``model.json``; the files it names are not looked at, see :func:`verify_files`.

    Raises:
        InputError: When it is missing, malformed or of another format version.
    """
    path = Path(directory) / MODEL_FILE
    value = read_json(path)
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {version!r}, this Shipway reads {FORMAT_VERSION}")
    description = _parse(ModelDescription, value, str(path))
    _check(description, path)
    return description


def verify_files(directory: str | Path) -> ModelDescription:
    """Reads ``model.json`` and checks that the directory holds exactly the files it names, bytes included.

    Raises:
        InputError: When ``model.json`` is malformed, or a file is missing, changed or not named.
    """
    root = Path(directory)
    description = read_model(root)
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} - {MODEL_FILE}
    faults = [f"{name} is missing" for name in sorted(description.files.keys() - found)]
    faults += [f"{name} is not named" for name in sorted(found - description.files.keys())]
    faults += [
        f"{name} has changed"
        for name in sorted(found & description.files.keys())
        if file_digest(root / name) != description.files[name]
    ]
    if not faults and directory_digest(root, exclude={MODEL_FILE}) != description.digest:
        faults.append("the model's digest does not match its files")
    if faults:
        raise InputError(f"the model at {root} is not what its {MODEL_FILE} says: {'; '.join(faults)}; fetch it again")
    return description


def write_golden(directory: str | Path, golden: Golden) -> None:
    """Writes ``golden.json``."""
    write_json(Path(directory) / GOLDEN_FILE, asdict(golden))


def read_golden(directory: str | Path) -> Golden:
    """Reads ``golden.json``.

    Raises:
        InputError: When it is missing or malformed.
    """
    path = Path(directory) / GOLDEN_FILE
    golden = _parse(Golden, read_json(path), str(path))
    if not len(golden.instances) == len(golden.scores) == len(golden.labels) or not golden.instances:
        raise InputError(f"{path} must hold as many instances as scores and labels, and at least one")
    return golden


def _check(description: ModelDescription, path: Path) -> None:
    names = description.label_names
    faults = []
    if len(names) < 2 or list(names) != sorted(set(names)):
        faults.append("label_names are not two or more distinct names, sorted")
    if (description.task == "binary") != (len(names) == 2):
        faults.append(f"the task {description.task} does not fit {len(names)} label_names")
    if not description.inputs:
        faults.append("inputs is empty")
    if strange := [tensor.name for tensor in description.inputs if not _is_feature(tensor)]:
        faults.append(f"inputs has shapes other than [-1] and, with numbers, [-1, size]: {', '.join(strange)}")
    if [tensor.name for tensor in description.outputs] != ["scores", "label"]:
        faults.append("outputs are not scores and label")
    if faults:
        raise InputError(f"{path} is no description of a model: {'; '.join(faults)}")


def _is_feature(tensor: Tensor) -> bool:
    if tensor.shape == (-1,):
        return True
    return tensor.datatype == "FP32" and len(tensor.shape) == 2 and tensor.shape[0] == -1 and tensor.shape[1] > 0


_T = TypeVar("_T")


def _parse(kind: type[_T], value: Any, where: str) -> _T:
    """Returns ``value``, which comes from JSON, as ``kind``: a dataclass, a container, a literal or a plain type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    parsed: Any = value
    if is_dataclass(kind):
        parsed = kind(**_members(kind, value, where))
    elif origin is tuple and isinstance(value, list):
        parsed = tuple(_parse(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    elif origin is dict and isinstance(value, dict):
        parsed = {key: _parse(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    elif origin is Literal:
        if value not in arguments:
            raise InputError(f"{where} is {value!r}, it must be one of {', '.join(map(repr, arguments))}")
    elif origin is types.UnionType and value is None:
        pass
    elif origin is types.UnionType:
        parsed = _parse(arguments[0], value, where)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        parsed = float(value)
    elif kind is not Any and (type(value) is not kind or origin is not None):
        raise InputError(f"{where} must be {getattr(kind, '__name__', kind)}, it is {value!r}")
    return typing.cast(_T, parsed)


def _members(kind: type[Any], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be an object, it is {value!r}")
    hints = typing.get_type_hints(kind)
    known = {member.name: member.default for member in fields(kind)}
    # What may be undefined may be missing: files of before may not have known it.
    if lacking := [name for name, default in known.items() if name not in value and default is not None]:
        raise InputError(f"{where} lacks {', '.join(lacking)}")
    return {name: _parse(hints[name], value.get(name), f"{where}: {name}") for name in known}
