"""How busy the GPUs are while something trains on them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from shipway.components.common.training.gpus import Gpu, open_nvml

__all__ = ["GpuUsage"]

GIB = 2**30
LONGEST_END_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass
class _Device:
    """What was seen of one GPU."""

    gpu: Gpu
    busy_percents: int = 0
    busy_samples: int = 0
    used_bytes: int = 0
    peak_bytes: int = 0

    def sample(self, nvml: Any) -> None:
        handle = nvml.nvmlDeviceGetHandleByUUID(self.gpu.uuid)
        with contextlib.suppress(nvml.NVMLError_NotSupported):
            self.used_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        if not self.gpu.mig:
            with contextlib.suppress(nvml.NVMLError_NotSupported):
                self.busy_percents += int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                self.busy_samples += 1


class GpuUsage:
    """Samples by NVML, in a thread of its own, how busy GPUs are and how much of their memory is used, by any process.

    A context manager around the training; without GPUs it does nothing, and no fault of NVML's ever leaves it. NVML
    does not say how busy a MIG slice is, so of slices there is only the memory.

    Args:
        gpus: The GPUs, in the framework's order.
        sample_seconds: Time between samples; NVML itself averages over at most a second.
        log_seconds: Time between lines in the log.
    """

    def __init__(self, gpus: Sequence[Gpu], sample_seconds: float = 1.0, log_seconds: float = 30.0) -> None:
        self._devices = [_Device(gpu) for gpu in gpus]
        self._sample_seconds, self._log_seconds = sample_seconds, log_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-usage", daemon=True)

    def __enter__(self) -> GpuUsage:
        if self._devices:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._devices:
            self._thread.join(LONGEST_END_SECONDS)

    def summary(self) -> dict[str, float]:
        """Returns numbers by name, as far as they were seen.

        ``gpu_utilization_percent`` is the mean over time and GPUs of the share of time in which a kernel ran;
        ``gpu_memory_peak_gib`` the most that any GPU's memory was used. Of several GPUs, each has its own too, with
        its number in the framework's order: ``gpu_0_utilization_percent``, ``gpu_0_memory_peak_gib``.
        """
        several = len(self._devices) > 1
        groups = {"gpu": self._devices, **({f"gpu_{i}": [d] for i, d in enumerate(self._devices)} if several else {})}
        found: dict[str, float] = {}
        for name, devices in groups.items():
            if samples := sum(device.busy_samples for device in devices):
                busy = sum(device.busy_percents for device in devices) / samples
                found[f"{name}_utilization_percent"] = round(busy, 1)
            if peak := max((device.peak_bytes for device in devices), default=0):
                found[f"{name}_memory_peak_gib"] = round(peak / GIB, 3)
        return found

    def _run(self) -> None:
        try:
            with open_nvml() as nvml:
                if nvml is not None:
                    self._watch(nvml)
        except Exception as error:  # noqa: BLE001 - nothing here is worth a training
            logger.warning("the use of the GPUs is not measured any more: %s: %s", type(error).__name__, error)

    def _watch(self, nvml: Any) -> None:
        logged = time.monotonic()
        ended = False
        while not ended:
            ended = self._end.wait(self._sample_seconds)
            for device in self._devices:
                device.sample(nvml)
            if ended or time.monotonic() - logged >= self._log_seconds:
                logged = time.monotonic()
                logger.info("%s", "; ".join(_said(number, device) for number, device in enumerate(self._devices)))


def _said(number: int, device: _Device) -> str:
    mean = f"{device.busy_percents / device.busy_samples:.0f} % busy, " if device.busy_samples else ""
    whole = f" of {device.gpu.memory_bytes / GIB:.1f}" if device.gpu.memory_bytes else ""
    return f"GPU {number} ({device.gpu.name}): {mean}memory {device.used_bytes / GIB:.1f}{whole} GiB"
