"""Which GPUs there are, as NVML tells: it answers without a CUDA context, and knows MIG slices."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Gpu", "open_nvml", "visible_gpus"]

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG slice of one.

    Attributes:
        index: NVML's number of the GPU; of the GPU that a slice belongs to.
        uuid: ``GPU-…`` or ``MIG-…``.
        name: Such as ``NVIDIA A100-SXM4-40GB``, for a slice with its profile.
        memory_bytes: All its memory, 0 where NVML does not say.
        compute_capability: Major and minor, ``(0, 0)`` where NVML does not say.
        mig: Whether it is a MIG slice.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    mig: bool


def visible_gpus() -> tuple[Gpu, ...]:
    """Returns the GPUs that CUDA shows this process, in its order; none without a driver.

    Heeds ``CUDA_VISIBLE_DEVICES`` as CUDA does: indices, or beginnings of UUIDs of GPUs or of MIG slices; the first
    bad entry ends the list, a repeated one empties it. Where a MIG slice is visible it is the only one, since CUDA
    shows a process one slice and no whole GPU beside it (NVIDIA's MIG user guide, device enumeration).
    """
    with open_nvml() as nvml:
        if nvml is None:
            return ()
        count = _ask(nvml, nvml.nvmlDeviceGetCount, otherwise=0)
        cards = [_card(nvml, index) for index in range(count)]
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [gpu for card in cards for gpu in card.gpus] if variable is None else _selected(cards, variable)
    slices = [gpu for gpu in gpus if gpu.mig]
    return tuple(slices[:1] or gpus)


@contextlib.contextmanager
def open_nvml() -> Iterator[Any]:
    """Gives the module ``pynvml``, ready for use, or None where there is no module, library, or driver."""
    nvml = _initialised()
    try:
        yield nvml
    finally:
        if nvml is not None:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def _initialised() -> Any:
    try:
        import pynvml
    except ImportError:
        logger.warning("nvidia-ml-py is not installed: no GPU is looked for")
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return None
    except pynvml.NVMLError as error:
        logger.warning("NVML says %r: no GPU is looked for; nvidia-smi on the node says more", str(error))
        return None
    return pynvml


@dataclass(frozen=True)
class _Card:
    """A GPU as ``CUDA_VISIBLE_DEVICES`` names it, and what it gives: itself, or its MIG slices."""

    uuid: str
    gpus: tuple[Gpu, ...]


def _card(nvml: Any, index: int) -> _Card:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
    except nvml.NVMLError as error:
        logger.warning("GPU %d is left out, NVML says %r", index, str(error))
        return _Card(f"GPU {index}, which did not answer", ())
    name = _ask(nvml, nvml.nvmlDeviceGetName, handle, otherwise="NVIDIA GPU")
    capability = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle, otherwise=(0, 0))
    if not _ask(nvml, nvml.nvmlDeviceGetMigMode, handle, otherwise=[0])[0]:
        return _Card(uuid, (Gpu(index, uuid, name, _memory(nvml, handle), capability, mig=False),))
    slices = []
    for number in range(_ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle, otherwise=0)):
        with contextlib.suppress(nvml.NVMLError):  # numbers without a slice are usual
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            part_uuid = nvml.nvmlDeviceGetUUID(part)
            part_name = _ask(nvml, nvml.nvmlDeviceGetName, part, otherwise=f"{name} MIG")
            slices.append(Gpu(index, part_uuid, part_name, _memory(nvml, part), capability, mig=True))
    return _Card(uuid, tuple(slices))


def _memory(nvml: Any, handle: Any) -> int:
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, otherwise=None)
    return int(memory.total) if memory else 0


def _ask(nvml: Any, function: Callable[..., T], *arguments: Any, otherwise: T) -> T:
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return otherwise


def _selected(cards: Sequence[_Card], variable: str) -> list[Gpu]:
    kind = next((kind for kind in ("GPU-", "MIG-") if variable.startswith(kind)), "")
    if kind == "MIG-":
        cards = [_Card(gpu.uuid, (gpu,)) for card in cards for gpu in card.gpus if gpu.mig]
    elif not kind and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and _differ(cards):
        logger.warning(
            "CUDA_VISIBLE_DEVICES is %r and the GPUs differ: NVML counts them by bus, CUDA the fastest first; set"
            " CUDA_DEVICE_ORDER to PCI_BUS_ID, or name the GPUs by their UUIDs",
            variable,
        )
    chosen: list[_Card] = []
    for entry in _entries(variable, kind):
        found = [card for card in cards if card.uuid.startswith(entry)] if kind else cards[int(entry) :][:1]
        if len(found) != 1:
            break
        if found[0] in chosen:
            return []
        chosen += found
    return [gpu for card in chosen for gpu in card.gpus]


def _entries(variable: str, kind: str) -> list[str]:
    """Returns the entries up to the first that is not of the kind; none where one is repeated."""
    entries: list[str] = []
    for text in variable.split(","):
        match = re.match(rf"{kind}.*" if kind else r"\+?\d+", text.strip())  # CUDA takes 1x for 1
        if match is None:
            break
        entry = match[0] if kind else str(int(match[0]))
        if entry in entries:
            return []
        entries.append(entry)
    return entries


def _differ(cards: Sequence[_Card]) -> bool:
    return len({gpu.name for card in cards for gpu in card.gpus}) > 1
