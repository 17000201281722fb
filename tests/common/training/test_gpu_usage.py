"""What is measured of GPUs while something trains; NVML is a library built here, see ``nvml.c``."""

import logging
import threading
import time

import pytest

from shipway.components.common.training.accelerators import Gpu, visible_gpus
from shipway.components.common.training.gpu_usage import GpuUsage

from .fake_nvml import build_library, gpu, install, mig

NAME = "NVIDIA A100-SXM4-40GB"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library, tmp_path, monkeypatch):
    """Makes this a machine with the given lines; NVML reads them when it is opened."""
    file = tmp_path / "machine"
    install(monkeypatch, library, file)

    def made(lines):
        file.write_text(lines)
        return visible_gpus()

    return made


def test_the_mean_of_all_and_each_ones_own(machine, caplog):
    gpus = machine(gpu("1", NAME, busy=90, used_gib=10.5) + gpu("2", NAME, busy=40, used_gib=12))
    with caplog.at_level(logging.INFO), GpuUsage(gpus, sample_seconds=0.01, log_seconds=0.05) as usage:
        time.sleep(0.3)
    assert usage.summary() == {
        "gpu_utilization_percent": 65.0,
        "gpu_memory_peak_gib": 12.0,
        "gpu_0_utilization_percent": 90.0,
        "gpu_0_memory_peak_gib": 10.5,
        "gpu_1_utilization_percent": 40.0,
        "gpu_1_memory_peak_gib": 12.0,
    }
    line = f"GPU 0 ({NAME}): 90 % busy, memory 10.5 of 40.0 GiB; GPU 1 ({NAME}): 40 % busy, memory 12.0 of 40.0 GiB"
    assert 2 <= caplog.messages.count(line) <= 8


def test_a_training_shorter_than_a_second_is_measured_too(machine):
    started = time.monotonic()
    with GpuUsage(machine(gpu("1", NAME, busy=7, used_gib=1))) as usage:
        pass
    assert usage.summary() == {"gpu_utilization_percent": 7.0, "gpu_memory_peak_gib": 1.0}
    assert time.monotonic() - started < 0.9


def test_nvml_does_not_say_how_busy_a_slice_is(machine):
    gpus = machine(gpu("1", NAME) + mig("2", f"{NAME} MIG 3g.20gb", used_gib=3))
    with GpuUsage(gpus, 0.01) as usage:
        pass
    assert usage.summary() == {"gpu_memory_peak_gib": 3.0}


def test_what_nvml_does_not_say_is_left_out(machine):
    with GpuUsage(machine(gpu("1", NAME, gib=-1)), 0.01) as usage:
        pass
    assert usage.summary() == {"gpu_utilization_percent": 50.0}
    with GpuUsage(machine(gpu("1", NAME, busy=-1)), 0.01) as usage:
        pass
    assert usage.summary() == {"gpu_memory_peak_gib": 2.0}


def test_without_gpus_nothing_is_done():
    before = threading.active_count()
    with GpuUsage(()) as usage:
        assert threading.active_count() == before
    assert usage.summary() == {}


def test_no_fault_leaves_it(machine, caplog, monkeypatch):
    gpus = machine(gpu("1", NAME))
    machine(gpu("1", NAME, fault=15))
    with GpuUsage(gpus, 0.01) as usage:
        time.sleep(0.05)
    assert usage.summary() == {}
    assert "not measured any more: NVMLError_GpuIsLost: GPU is lost" in caplog.text
    machine("init 9\n")
    with GpuUsage(gpus, 0.01) as usage:
        pass
    assert usage.summary() == {}
    monkeypatch.setattr("pynvml.nvmlDeviceGetHandleByUUID", lambda uuid: 1 / 0)
    machine(gpu("1", NAME))
    with GpuUsage(gpus, 0.01):
        pass
    assert "ZeroDivisionError" in caplog.text


def test_an_nvml_that_hangs_does_not_hold_up_the_end(monkeypatch, machine):
    machine(gpu("1", NAME))
    monkeypatch.setattr("shipway.components.common.training.gpu_usage.LONGEST_END_SECONDS", 0.1)
    released = threading.Event()
    monkeypatch.setattr("pynvml.nvmlDeviceGetHandleByUUID", lambda uuid: 1 / (not released.wait(20)))
    started = time.monotonic()
    with GpuUsage([Gpu(0, "GPU-1", NAME, 0, (8, 0), mig=False)], 0.01) as usage:
        time.sleep(0.05)
    assert time.monotonic() - started < 5
    assert usage.summary() == {}
    released.set()
    usage._thread.join(20)


def test_errors_of_the_training_pass(machine):
    with pytest.raises(ZeroDivisionError), GpuUsage(machine(gpu("1", NAME))):
        raise ZeroDivisionError
