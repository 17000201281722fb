"""Which GPUs are found and what is chosen; NVML is a library built here, see ``nvml.c``."""

import itertools
import json
import os
import random
import subprocess
import sys
from importlib.util import find_spec

import pytest

from shipway.components.common.errors import InputError
from shipway.components.common.training.accelerators import Accelerator, Gpu, visible_gpus

from .fake_nvml import GIB, build_library, gpu, install, mig

A100, H100, V100, T4 = "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-16GB", "Tesla T4"
THREE = gpu("aa11-0", A100) + gpu("aa22-1", A100) + gpu("bb33-2", A100)
SLICED = gpu("aa11-0", A100) + mig("cc44-0", f"{A100} MIG 3g.20gb") + mig("cc55-1", f"{A100} MIG 1g.5gb", gib=5)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library, tmp_path, monkeypatch):
    """Makes this a machine with the given lines, and CUDA_VISIBLE_DEVICES; returns the GPUs that are found."""
    file = tmp_path / "machine"
    install(monkeypatch, library, file)

    def found(lines, visible=None):
        file.write_text(lines)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return visible_gpus()

    return found


def test_what_nvml_says_of_a_gpu(machine):
    assert machine(gpu("1", V100, (7, 0), 16) + gpu("2", H100, (9, 0), 80)) == (
        Gpu(0, "GPU-1", V100, 16 * GIB, (7, 0), mig=False),
        Gpu(1, "GPU-2", H100, 80 * GIB, (9, 0), mig=False),
    )


def test_no_library_no_module_and_no_driver(machine, monkeypatch, caplog):
    assert machine("init 9\n" + THREE) == ()
    assert "NVML says 'Driver Not Loaded'" in caplog.text
    caplog.clear()
    monkeypatch.setattr("pynvml.nvmlLib", None)
    monkeypatch.setattr("pynvml.CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert visible_gpus() == ()
    assert not caplog.records, "a machine without GPUs is no reason to complain"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert visible_gpus() == ()
    assert "nvidia-ml-py is not installed" in caplog.text


def test_a_library_of_another_driver_is_said(machine, caplog):
    assert machine("init 18\n" + THREE) == ()
    assert "version mismatch" in caplog.text


def test_a_gpu_that_does_not_answer_is_left_out(machine, caplog):
    lines = gpu("1", A100) + gpu("2", A100, fault=15) + gpu("3", A100)
    assert [found.index for found in machine(lines)] == [0, 2]
    assert "GPU 1 is left out, NVML says 'GPU is lost'" in caplog.text
    assert [found.index for found in machine(lines, "1,2")] == [2]


def test_what_nvml_does_not_say_is_unknown_and_no_error(machine):
    (found,) = machine(gpu("1", "NVIDIA GB10", (-1, 0), gib=-1))
    assert (found.compute_capability, found.memory_bytes, found.mig) == ((0, 0), 0, False)


def test_an_old_driver_without_mig_has_gpus(machine, monkeypatch):
    monkeypatch.setattr("pynvml.nvmlDeviceGetMigMode", lambda _: raise_not_found())
    assert len(machine(THREE)) == 3


def raise_not_found():
    import pynvml

    raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("none", []),
        ("NoDevFiles", []),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,2,-1,1", [0, 2]),
        ("0,7,1", [0]),
        ("0,,1", [0]),
        ("1,1", []),
        ("0,1,0", []),
        ("1x,2", [1, 2]),
        ("0,GPU-bb", [0]),
        ("GPU-bb33-2,GPU-aa11-0", [2, 0]),
        ("GPU-bb,GPU-aa2", [2, 1]),
        ("GPU-aa", []),
        ("GPU-bb,GPU-aa,GPU-aa1", [2]),
        ("GPU-bb,GPU-zz,GPU-aa1", [2]),
        ("GPU-bb,GPU-bb33", []),
        ("GPU-bb,0", [2]),
        ("MIG-cc44-0", []),
    ],
)
def test_cuda_visible_devices(machine, visible, indices):
    assert [found.index for found in machine(THREE, visible)] == indices


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["MIG-cc44-0"]),
        ("0", ["MIG-cc44-0"]),
        ("1", ["GPU-bb33-2"]),
        ("1,0", ["MIG-cc44-0"]),
        ("GPU-aa", ["MIG-cc44-0"]),
        ("MIG-cc55-1", ["MIG-cc55-1"]),
        ("MIG-cc5", ["MIG-cc55-1"]),
        ("MIG-cc5,MIG-cc4", ["MIG-cc55-1"]),
        ("MIG-cc", []),
        ("MIG-dd", []),
    ],
)
def test_a_process_has_one_mig_slice_or_whole_gpus(machine, visible, uuids):
    assert [found.uuid for found in machine(SLICED + gpu("bb33-2", A100), visible)] == uuids


def test_a_slice_has_its_own_memory_and_its_gpus_capability(machine):
    lines = gpu("0", H100, (9, 0), 80) + gpu("1", A100) + mig("gone", "x", fault=6) + mig("5", "A100 MIG 1g.5gb", 5)
    assert machine(lines, "1") == (Gpu(1, "MIG-5", "A100 MIG 1g.5gb", 5 * GIB, (8, 0), mig=True),)


def test_a_gpu_in_mig_mode_without_slices_is_none(machine):
    assert machine(gpu("1", A100) + mig("gone", "x", fault=6)) == ()


def test_indices_of_gpus_that_differ_may_mean_others(machine, monkeypatch, caplog):
    lines = gpu("1", T4, (7, 5)) + gpu("2", A100)
    machine(THREE, "0")
    machine(lines, "GPU-1")
    assert not caplog.records
    machine(lines, "0")
    assert "set CUDA_DEVICE_ORDER to PCI_BUS_ID" in caplog.text
    caplog.clear()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    machine(lines, "0")
    assert not caplog.records


AS_TORCH_COUNTS = """
import json, os, sys, torch
from shipway.components.common.training.accelerators import visible_gpus
counts = []
for visible in json.load(sys.stdin):
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    counts.append([torch.cuda._device_count_nvml(), len(visible_gpus())])
print(json.dumps(counts))
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="compares with torch")
def test_cuda_visible_devices_as_torch_reads_it(library, tmp_path):
    (tmp_path / "machine").write_text(THREE)
    chance = random.Random(0)
    entries = ["0", "1", "2", "3", "-1", "", " 1", "2x", "GPU-aa11-0", "GPU-aa", "GPU-aa2", "GPU-b", "GPU-", "x"]
    texts = [",".join(t) for length in (1, 2) for t in itertools.product(entries, repeat=length)]
    texts += [",".join(chance.choices(entries, k=chance.randint(3, 6))) for _ in range(300)]
    variables = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML": str(tmp_path / "machine")}
    command = [sys.executable, "-c", AS_TORCH_COUNTS]
    done = subprocess.run(command, input=json.dumps(texts), env=variables, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert [(t, *c) for t, c in zip(texts, counts, strict=True) if c[0] != c[1]] == []
    assert {ours for _, ours in counts} == {0, 1, 2, 3}


def gpus(*capabilities):
    return [
        Gpu(i, f"GPU-{i}", f"G{major}.{minor}", 16 * GIB, (major, minor), mig=False)
        for i, (major, minor) in enumerate(capabilities)
    ]


def choose(accelerator="auto", devices=0, precision="auto", there=(), sees=None, framework="PyTorch"):
    return Accelerator.choose(accelerator, devices, precision, there, len(there) if sees is None else sees, framework)


def test_the_accelerator_says_why():
    chosen = choose()
    assert (chosen.name, chosen.devices, chosen.reason) == ("cpu", 1, "no GPU is visible")
    chosen = choose(there=gpus((8, 0), (8, 0)))
    assert (chosen.name, chosen.devices, chosen.reason, len(chosen.gpus)) == ("gpu", 2, "2 visible", 2)
    chosen = choose("gpu", there=gpus((8, 0), (8, 0)))
    assert (chosen.name, chosen.devices, chosen.reason) == ("gpu", 2, "asked for")
    chosen = choose("cpu", there=gpus((8, 0)))
    assert (chosen.name, chosen.devices, chosen.reason, chosen.gpus) == ("cpu", 1, "asked for", ())


def test_a_gpu_that_is_not_there_is_never_replaced_silently(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(
        InputError, match=r"no GPU is visible to this step and NVML sees none; .* CUDA_VISIBLE_DEVICES,"
    ):
        choose("gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES \(it is '-1'\)"):
        choose("gpu")


def test_a_build_without_cuda_is_told_from_a_machine_without_gpus():
    there = gpus((7, 5), (8, 0))
    with pytest.raises(InputError, match=r"NVML sees 2 GPUs \(G7.5, G8.0\), but this build of TensorFlow cannot"):
        choose("gpu", there=there, sees=0, framework="TensorFlow")
    chosen = choose(there=there, sees=0)
    assert (chosen.name, chosen.precision) == ("cpu", "fp32")
    assert chosen.reason == "this build of PyTorch cannot use the 2 GPUs that NVML sees (G7.5, G8.0)"


def test_gpus_that_only_the_framework_sees_are_used():
    chosen = choose(sees=2)
    assert (chosen.name, chosen.devices, chosen.gpus) == ("gpu", 2, ())
    assert chosen.reason == "2 visible to PyTorch, though not to NVML"
    assert (chosen.precision, chosen.precision_reason) == ("fp32", "NVML does not tell the compute capability")
    assert choose("gpu", 1, "bf16", sees=2).precision == "bf16"


@pytest.mark.parametrize("there", [gpus((8, 0)), [Gpu(0, "MIG-1", "G8.0", GIB, (8, 0), mig=True)]])
def test_never_more_devices_than_nvml_and_the_framework_see(there):
    assert choose(there=there, sees=2).devices == 1
    with pytest.raises(InputError, match=r"devices is 2, but this step sees 1 GPU \(G8.0\): lower devices"):
        choose("gpu", 2, there=there, sees=2)


def test_as_many_devices_as_asked_for():
    chosen = choose("auto", 2, there=gpus((8, 0), (8, 6), (9, 0)))
    assert (chosen.devices, [one.index for one in chosen.gpus], chosen.reason) == (2, [0, 1], "3 visible")
    assert choose("cpu", 2).devices == choose("auto", 2).devices == 2
    with pytest.raises(InputError, match="devices is 4, but this step sees 3 GPUs"):
        choose("auto", 4, there=gpus((8, 0), (8, 6), (9, 0)))


@pytest.mark.parametrize(
    ("capabilities", "precision", "why"),
    [
        ([(8, 0)], "bf16", "G8.0 has compute capability 8.0, bf16 needs 8.0"),
        ([(9, 0), (8, 9)], "bf16", "G8.9 has compute capability 8.9, bf16 needs 8.0"),
        ([(12, 0)], "bf16", "G12.0 has compute capability 12.0, bf16 needs 8.0"),
        ([(9, 0), (7, 0)], "fp16", "G7.0 has compute capability 7.0, bf16 needs 8.0 and fp16 7.0"),
        ([(7, 5)], "fp16", "G7.5 has compute capability 7.5, bf16 needs 8.0 and fp16 7.0"),
        ([(7, 0), (6, 1)], "fp32", "G6.1 has compute capability 6.1, fp16 needs 7.0"),
        ([(0, 0), (9, 0)], "fp32", "NVML does not tell the compute capability"),
    ],
)
def test_the_precision_is_what_the_oldest_gpu_is_made_for(capabilities, precision, why):
    chosen = choose(there=gpus(*capabilities))
    assert (chosen.precision, chosen.precision_reason) == (precision, why)


def test_a_precision_that_was_asked_for():
    for precision in ("fp32", "bf16", "fp16"):
        chosen = choose(precision=precision, there=gpus((8, 0)))
        assert (chosen.precision, chosen.precision_reason) == (precision, "asked for")
    assert choose(precision="fp16", there=gpus((6, 0))).precision == "fp16"
    assert choose(precision="bf16").precision == "bf16"
    assert choose().precision_reason == "the CPU computes in fp32 unless bf16 is asked for"
    with pytest.raises(InputError, match="precision='fp16', but training runs on the CPU"):
        choose(precision="fp16")
    with pytest.raises(InputError, match=r"G7.5 has compute capability 7.5 and bf16 needs 8.0: use fp16"):
        choose(precision="bf16", there=gpus((9, 0), (7, 5)))


def test_unknown_words():
    with pytest.raises(InputError, match="accelerator is 'tpu', it must be auto, cpu or gpu"):
        choose("tpu")
    with pytest.raises(InputError, match="precision is 'fp8', it must be auto, fp32, bf16 or fp16"):
        choose(precision="fp8")


def test_the_record_is_json():
    record = choose(there=gpus((8, 0))).record
    assert json.loads(json.dumps(record)) == record
    assert record == {
        "accelerator": "gpu",
        "accelerator_reason": "1 visible",
        "devices": 1,
        "precision": "bf16",
        "precision_reason": "G8.0 has compute capability 8.0, bf16 needs 8.0",
        "gpus": ["G8.0"],
    }
