"""What training runs on, on how many, in which precision, and why."""

from __future__ import annotations

import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shipway.components.common.errors import InputError
from shipway.components.common.training.gpus import Gpu, visible_gpus

__all__ = ["Accelerator", "Gpu", "visible_gpus"]

Precision = Literal["fp32", "bf16", "fp16"]

# From these compute capabilities on, tensor cores multiply bf16 (Ampere) and fp16 (Volta): CUDA's programming guide.
BF16_CAPABILITY = (8, 0)
FP16_CAPABILITY = (7, 0)


@dataclass(frozen=True)
class Accelerator:
    """What training runs on.

    Attributes:
        name: ``cpu`` or ``gpu``.
        devices: How many GPUs; on the CPU, processes.
        reason: Why this one.
        precision: What products of matrices are computed in; weights stay fp32.
        precision_reason: Why this one.
        gpus: The GPUs, as far as NVML knows them.
    """

    name: Literal["cpu", "gpu"]
    devices: int
    reason: str
    precision: Precision
    precision_reason: str
    gpus: tuple[Gpu, ...] = ()

    @classmethod
    def choose(
        cls,
        accelerator: str,
        devices: int,
        precision: str,
        gpus: Sequence[Gpu],
        framework_devices: int,
        framework: str,
    ) -> Accelerator:
        """Returns what to train on, with the reasons.

        Args:
            accelerator: ``auto`` (GPUs where there are any), ``cpu`` or ``gpu``.
            devices: How many of them; 0 for all GPUs, and for one process on the CPU.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; ``auto`` is fp32 on the CPU, and on GPUs what the
                oldest of them has tensor cores for: bf16 from compute capability 8.0, fp16 from 7.0, else fp32.
            gpus: What :func:`visible_gpus` found.
            framework_devices: How many GPUs the framework sees.
            framework: Its name, for messages.

        Raises:
            InputError: When a value is unknown, GPUs are asked for and there are none or fewer, this build of the
                framework cannot use them, or they cannot compute in the precision asked for.
        """
        for name, value, choices in (
            ("accelerator", accelerator, ("auto", "cpu", "gpu")),
            ("precision", precision, ("auto", *typing.get_args(Precision))),
        ):
            if value not in choices:
                raise InputError(f"{name} is {value!r}, it must be {', '.join(choices[:-1])} or {choices[-1]}")
        if accelerator == "gpu" and not framework_devices:
            raise InputError(_no_gpu(gpus, framework))
        if accelerator == "cpu" or not framework_devices:
            reason = "asked for" if accelerator == "cpu" else _why_cpu(gpus, framework)
            return cls("cpu", devices or 1, reason, *_cpu_precision(precision))
        visible = min(framework_devices, len(gpus)) if gpus else framework_devices
        if devices > visible:
            raise InputError(
                f"devices is {devices}, but this step sees {_count(visible)}{_names(gpus)}: lower devices, or set it"
                " to 0 for all"
            )
        reason = f"{visible} visible" if gpus else f"{visible} visible to {framework}, though not to NVML"
        chosen = _gpu_precision(precision, gpus)
        reason = "asked for" if accelerator == "gpu" else reason
        return cls("gpu", devices or visible, reason, *chosen, tuple(gpus[: devices or visible]))

    @property
    def record(self) -> dict[str, Any]:
        """What ``model.json`` keeps of it."""
        return {
            "accelerator": self.name,
            "accelerator_reason": self.reason,
            "devices": self.devices,
            "precision": self.precision,
            "precision_reason": self.precision_reason,
            "gpus": [gpu.name for gpu in self.gpus],
        }


def _cpu_precision(wanted: str) -> tuple[Precision, str]:
    if wanted == "fp16":
        raise InputError("precision='fp16', but training runs on the CPU: use bf16, fp32 or auto")
    if wanted == "bf16":
        return "bf16", "asked for"
    return "fp32", "asked for" if wanted == "fp32" else "the CPU computes in fp32 unless bf16 is asked for"


def _gpu_precision(wanted: str, gpus: Sequence[Gpu]) -> tuple[Precision, str]:
    oldest = min(gpus, key=lambda gpu: gpu.compute_capability, default=None)
    known = oldest is not None and oldest.compute_capability != (0, 0)
    said = f"{oldest.name} has compute capability {_dotted(oldest.compute_capability)}" if oldest else ""
    if wanted == "bf16" and oldest and known and oldest.compute_capability < BF16_CAPABILITY:
        raise InputError(
            f"precision='bf16', but {said} and bf16 needs {_dotted(BF16_CAPABILITY)}: use fp16 (its loss is scaled),"
            " fp32 or auto"
        )
    for precision in typing.get_args(Precision):
        if wanted == precision:
            return precision, "asked for"
    if not oldest or not known:
        return "fp32", "NVML does not tell the compute capability"
    if oldest.compute_capability >= BF16_CAPABILITY:
        return "bf16", f"{said}, bf16 needs {_dotted(BF16_CAPABILITY)}"
    if oldest.compute_capability >= FP16_CAPABILITY:
        return "fp16", f"{said}, bf16 needs {_dotted(BF16_CAPABILITY)} and fp16 {_dotted(FP16_CAPABILITY)}"
    return "fp32", f"{said}, fp16 needs {_dotted(FP16_CAPABILITY)}"


def _no_gpu(gpus: Sequence[Gpu], framework: str) -> str:
    if gpus:
        return (
            f"accelerator='gpu' and NVML sees {_count(len(gpus))}{_names(gpus)}, but this build of {framework} cannot"
            " use any: install one with CUDA, of a version that the driver supports (nvidia-smi shows it), or use"
            " accelerator='cpu'"
        )
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f" (it is {variable!r})" if variable is not None else ""
    return (
        "accelerator='gpu', but no GPU is visible to this step and NVML sees none; check the driver, the step's"
        f" nvidia.com/gpu limit and CUDA_VISIBLE_DEVICES{hidden}, or use accelerator='auto'"
    )


def _why_cpu(gpus: Sequence[Gpu], framework: str) -> str:
    if not gpus:
        return "no GPU is visible"
    return f"this build of {framework} cannot use the {_count(len(gpus))} that NVML sees{_names(gpus)}"


def _count(number: int) -> str:
    return f"{number} GPU" if number == 1 else f"{number} GPUs"


def _names(gpus: Sequence[Gpu]) -> str:
    return f" ({', '.join(gpu.name for gpu in gpus)})" if gpus else ""


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
