from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

# Importlib mode leaves the tests' directories out of the path; these hold what the tests share.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from environments import ROOT
from places import Place
from servers import STARTS, Server

set_hypothesis_home_dir(ROOT / "build" / "hypothesis")
settings.register_profile("storage", database=None, deadline=None)
settings.load_profile("storage")


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[[str], Server]]:
    """Starts a server by its name when it is first asked for; all end with the session."""
    with contextlib.ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(STARTS[name]()))


# The emulator answers one connection at a time, and only some tests need it.
@pytest.fixture(params=[name for name in STARTS if name != "gcp-emulator"])
def server(request: pytest.FixtureRequest, start: Callable[[str], Server]) -> Server:
    """Every server in turn."""
    return start(request.param)


@pytest.fixture
def place(server: Server) -> Place:
    """A fresh directory in every server in turn."""
    return Place(server)


@pytest.fixture
def seaweedfs(start: Callable[[str], Server]) -> Server:
    return start("seaweedfs")


@pytest.fixture
def moto(start: Callable[[str], Server]) -> Server:
    return start("moto")


@pytest.fixture
def rclone(start: Callable[[str], Server]) -> Server:
    return start("rclone")


@pytest.fixture
def fake_gcs(start: Callable[[str], Server]) -> Server:
    return start("fake-gcs")


@pytest.fixture
def gcp_emulator(start: Callable[[str], Server]) -> Server:
    return start("gcp-emulator")
