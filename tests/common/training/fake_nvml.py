"""Machines with GPUs, as NVML would tell of them: the real pynvml on a library built from ``nvml.c``."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml.c")
GIB = 2**30


def build_library(directory: Path) -> Path:
    """Returns ``libnvidia-ml.so.1``, built in a directory."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler is here to build the faked NVML")
    library = directory / "libnvidia-ml.so.1"
    options = ["-shared", "-fPIC", "-Wall", "-Werror", "-Wno-format-truncation"]
    subprocess.run([compiler, *options, "-o", str(library), str(SOURCE)], check=True)
    return library


def install(monkeypatch: pytest.MonkeyPatch, library: Path, machine: Path) -> None:
    """Lets pynvml use the built library, which reads the machine from a file."""
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("FAKE_NVML", str(machine))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def gpu(uuid, name, capability=(8, 0), gib=40, used_gib=2, busy=50, fault=0):
    """A line of the machine's file."""
    total = gib * GIB if gib >= 0 else -1
    return f"gpu {fault} GPU-{uuid} {capability[0]} {capability[1]} {total} {int(used_gib * GIB)} {busy} {name}\n"


def mig(uuid, name, gib=20, used_gib=1, fault=0):
    """A slice of the GPU of the line above."""
    return f"mig {fault} MIG-{uuid} {gib * GIB} {int(used_gib * GIB)} {name}\n"
