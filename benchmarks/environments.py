"""One virtual environment for each library that is measured, with pinned versions, below ``build/bench``."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from shipway.pipelines.environments import make_environments, run_uv
from shipway.pipelines.families import FAMILIES

__all__ = ["BENCH", "environment", "own_environment", "packages"]

BENCH = Path("build/bench")

_FRAMES = ("numpy==2.3.5", "pandas==2.3.3", "pyarrow==26.0.1")
# What servers of the same model run it with, the same as ours.
_SCORING = (
    "numpy==2.4.6",
    "onnxruntime==1.32.0",
    "orjson==3.13.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "httptools==0.9.0",
)
_REQUIREMENTS = {
    # Beam writes no TFRecord without it, and TFDV's CSV path writes one.
    "crc32c": ("google-crc32c==1.8.0",),
    "datasets": (*_FRAMES, "palmerpenguins==0.1.6", "scikit-learn==1.9.1", "statsmodels==0.15.0"),
    "duckdb": ("duckdb==2.0.0",),
    "evidently": (*_FRAMES, "evidently==0.7.23"),
    "fastapi": (*_SCORING, "fastapi==0.165.0", "pydantic==2.14.4"),
    "great_expectations": (*_FRAMES, "great-expectations==1.24.1"),
    # Its client breaks with later kubernetes.
    "kserve": (*_SCORING, "kserve==0.21.0", "kubernetes==30.1.0"),
    "mlserver": (*_SCORING, "mlserver==1.7.1"),
    "pandera": (*_FRAMES, "pandera[pandas]==0.35.0", "pyyaml"),
    "polars": ("polars==2.1.0",),
    # whylogs was written for numpy 1.
    "whylogs": ("numpy==1.26.4", "pandas==2.3.3", "pyarrow==17.0.0", "whylogs==1.6.4"),
    "ydata_profiling": (*_FRAMES, "ydata-profiling==4.18.4", "setuptools==80.9.0"),
}


def environment(name: str) -> Path:
    """Returns the interpreter of a library's environment, made now if it is not there; bytecode is compiled.

    Raises:
        EnvironmentFailed: With uv's last lines.
    """
    requirements = _REQUIREMENTS[name]
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    directory = BENCH / "environments" / f"{name}-{digest}"
    python = (directory / "bin" / "python").absolute()
    complete = directory / ".complete"
    if not complete.exists():
        print(f"environment {name}: installing (first time only) …", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        run_uv(name, "venv", "--python", sys.executable, str(directory))
        run_uv(name, "pip", "install", "--python", str(python), "--compile-bytecode", *requirements)
        complete.touch()
    return python


def packages(name: str) -> Path:
    """Returns the directory of packages of a library's environment, to lend them to another interpreter."""
    return next(environment(name).parent.parent.glob("lib/python*/site-packages"))


def own_environment() -> Path:
    """Returns the interpreter of the data family's environment, in which Shipway and TFDV run.

    Raises:
        EnvironmentFailed: With uv's last lines.
    """
    return make_environments([FAMILIES["data"]], print)["data"].python
