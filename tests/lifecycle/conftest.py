from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# The fixture models and some helpers are those of the serving tests, the stores those of the storage tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from servers import ACCESS_KEY, SECRET_KEY, STARTS, Server
from serving_support import FIXTURES

from shipway.components.lifecycle import evaluation, prediction
from shipway.components.lifecycle.gate import Thresholds
from shipway.serving import endpoints

BINARY = FIXTURES / "binary"
OTHER = FIXTURES / "binary_other"

GENEROUS = Thresholds(min_auc=0.0)


@pytest.fixture(scope="session")
def serving_python() -> str:
    python = os.environ.get(endpoints.PYTHON_VARIABLE)
    if not python:
        pytest.fail(f"{endpoints.PYTHON_VARIABLE} must name the serving environment's interpreter; `make test` sets it")
    return python


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serving_python: str) -> Iterator[Path]:
    directory = tmp_path / "state"
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(directory))
    yield directory
    endpoints.stop_all()


@pytest.fixture(scope="session")
def s3() -> Iterator[Server]:
    with STARTS["seaweedfs"]() as server:
        yield server


@pytest.fixture(scope="session")
def gs() -> Iterator[Server]:
    with STARTS["fake-gcs"]() as server:
        yield server


@pytest.fixture
def repositories(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Returns the URI of a new repository of releases, by its scheme; "" is a plain path."""
    for variable in ("SHIPWAY_STORAGE_PROFILES", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SHIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SHIPWAY_PVC_ROOT", str(tmp_path / "claims"))

    def create(scheme: str) -> str:
        if scheme in ("s3", "gs"):
            server: Server = request.getfixturevalue(scheme)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            monkeypatch.setenv("AWS_ENDPOINT_URL" if scheme == "s3" else "STORAGE_EMULATOR_HOST", server.url)
            return f"{scheme}://{server.new_bucket()}/models"
        if scheme == "pvc":
            claim = f"claim-{uuid.uuid4().hex[:12]}"
            (tmp_path / "claims" / claim).mkdir(parents=True)
            return f"pvc://{claim}/models"
        directory = tmp_path / f"repository{scheme}"
        return directory.as_uri() if scheme else str(directory)

    return create


def write_dataset(directory: Path, **columns: Any) -> Path:
    directory.mkdir(parents=True)
    pq.write_table(pa.table(columns), directory / "part-00000.parquet")
    return directory


def flights(rows: int = 600, seed: int = 0) -> dict[str, Any]:
    """Columns of a Dataset for the binary fixture models, missing values included."""
    random = np.random.default_rng(seed)
    distance = random.normal(size=rows)
    wind = random.normal(size=rows)
    carrier = random.choice(["AA", "B6", "EV", "UA", "ZZ"], rows)
    late = (distance - wind + random.normal(scale=2, size=rows) > 0.5).astype(np.int64)
    return {
        "distance": pa.array([None if i % 17 == 0 else value for i, value in enumerate(distance)]),
        "wind": pa.array(wind),
        "carrier": pa.array([None if i % 19 == 0 else str(value) for i, value in enumerate(carrier)]),
        "origin": pa.array(random.choice(["EWR", "JFK", "LGA"], rows)),
        "late": pa.array(late),
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset", **flights())


@pytest.fixture
def evaluated(tmp_path: Path, dataset: Path) -> Callable[..., Path]:
    """Evaluates a model directory on the dataset; returns the Evaluation directory."""

    def run(model: Path, champion: str = "", thresholds: Thresholds = GENEROUS, slices: tuple[str, ...] = ()) -> Path:
        root = tmp_path / f"evaluation-{len(list(tmp_path.iterdir()))}"
        columns = list(slices)
        prediction.predict(dataset, model, root / "predictions", "late", columns)
        prediction.predict_champion(dataset, champion, root / "champion", "late", columns)
        evaluation.evaluate_model(
            model,
            root / "predictions",
            root / "champion",
            root / "evaluation",
            root / "report.html",
            columns,
            thresholds,
            seed=0,
        )
        return root / "evaluation"

    return run


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    directory = tmp_path / "schema"
    directory.mkdir()
    (directory / "schema.pbtxt").write_text('feature { name: "distance" type: FLOAT }\n')
    return directory
