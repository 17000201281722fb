"""Environments: made from a lock, once, whoever asks; never half there; clear when they cannot be made."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shipway.components.common.errors import EnvironmentFailed
from shipway.pipelines import environments
from shipway.pipelines.environments import environment_of, make_environments
from shipway.pipelines.families import Family, family_of_image


@pytest.fixture
def small_family(tmp_path, monkeypatch) -> Family:
    """A family with a lock of one small package, and an empty cache."""
    package = tmp_path / "small_family"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "requirements-host.txt").write_text("six==1.17.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SHIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    sys.modules.pop("small_family", None)
    return Family("small", "small_family", ("small_family",))


def test_it_holds_the_lock_and_the_executor_compiled(small_family):
    said = []
    environment = make_environments([small_family], said.append)["small"]
    assert environment.ready
    code = "import six, kfp.dsl, json; print(json.dumps([six.__version__, six.__cached__]))"
    variables = {**os.environ, "_KFP_RUNTIME": "true"}
    shown = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True, env=variables)
    version, compiled = json.loads(shown.stdout)
    assert version == "1.17.0"
    assert Path(compiled).is_file()
    assert len(said) == 2


def test_a_ready_one_is_not_made_again_and_another_lock_gets_another(small_family):
    environment = make_environments([small_family], print)["small"]
    said = []
    make_environments([small_family], said.append)
    assert said == []
    small_family.lock.write_text("six==1.16.0\n")
    assert environment_of(small_family).directory != environment.directory


def test_overrides_are_part_of_what_an_environment_is(small_family):
    before = environment_of(small_family).directory
    small_family.overrides.write_text("six==1.16.0\n")
    assert environment_of(small_family).directory != before


def test_two_that_ask_at_once_make_one(small_family):
    said = []
    threads = [threading.Thread(target=make_environments, args=([small_family], said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert environment_of(small_family).ready
    assert sum("installing" in line for line in said) == 1


def test_what_a_killed_installation_left_is_replaced(small_family):
    environment = environment_of(small_family)
    maker = os.fork()
    if maker == 0:
        with contextlib.suppress(BaseException):
            make_environments([small_family], print)
        os._exit(0)
    deadline = time.monotonic() + 30
    while not environment.directory.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    assert not environment.ready
    assert make_environments([small_family], print)["small"].ready


def test_a_package_that_is_nowhere_is_named_and_nothing_stays(small_family):
    small_family.lock.write_text("six==0.0.0.dev999\n")
    with pytest.raises(EnvironmentFailed, match=r"the environment small could not be made(.|\n)*six==0\.0\.0\.dev999"):
        make_environments([small_family], print)
    assert not environment_of(small_family).directory.exists()


@pytest.mark.tmpfs
def test_a_full_disk_is_named_with_what_to_do_and_the_next_run_works(small_family, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("SHIPWAY_CACHE_DIR", str(disk))
        with pytest.raises(EnvironmentFailed, match=r"the disk is full .* make room, or set SHIPWAY_CACHE_DIR"):
            make_environments([small_family], print)
        assert not environment_of(small_family).directory.exists()
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        assert make_environments([small_family], print)["small"].ready
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cache_that_cannot_be_written_is_named(small_family, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHIPWAY_CACHE_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(EnvironmentFailed, match="set SHIPWAY_CACHE_DIR"):
        make_environments([small_family], print)


def test_pips_settings_reach_uv(monkeypatch):
    variables = environments._uv_variables({"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "a", "UV_DEFAULT_INDEX": "b"})
    assert variables["UV_FIND_LINKS"] == "/wheels"
    assert variables["UV_DEFAULT_INDEX"] == "b"


@pytest.mark.parametrize(
    "image",
    ["shipway/data:0.1.0", "registry.example:5000/team/shipway/data:0.1.0", f"r.io/shipway/data@sha256:{0:064x}"],
)
def test_an_images_family_is_its_last_name(image):
    assert family_of_image(image).name == "data"
