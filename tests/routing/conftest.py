from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.serving.routing import router

# Importlib mode leaves the tests' directories out of the path; these hold what tests share.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "serving")]

from routing_support import ArmServer, PlainArm  # noqa: E402 - the path is set above


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state directory: a long one, as users have; a socket's address in it would not fit."""
    if not os.environ.get(router.PYTHON_VARIABLE):
        pytest.fail(f"{router.PYTHON_VARIABLE} must name the routing environment's interpreter; `make test` sets it")
    directory = tmp_path / ("a-long-directory-" * 6) / "state"
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(directory))
    yield directory
    router.stop_all()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ArmServer, ArmServer]]:
    """Two of the project's servers, of different models under one name."""
    with tempfile.TemporaryDirectory() as directory:
        stable, canary = ArmServer("binary", Path(directory)), ArmServer("binary_other", Path(directory))
        yield stable, canary
        stable.end()
        canary.end()


@pytest.fixture
def plain_arm() -> Iterator[Callable[..., PlainArm]]:
    """Starts small servers that do what no proper one does on request."""
    with contextlib.ExitStack() as stack:

        def start(name: str, **how: Any) -> PlainArm:
            return stack.enter_context(contextlib.closing(PlainArm(name, **how)))

        yield start
