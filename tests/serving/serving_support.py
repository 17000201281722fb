"""What the tests of serving and of the lifecycle steps share."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from shipway.components.common.artifacts import directory_digest, write_json
from shipway.components.common.model import read_model, write_model

FIXTURES = Path(__file__).parent / "fixtures"


def ask(url: str, body: Any = None, content_type: str = "application/json", **headers: str) -> tuple[int, Any]:
    """Sends JSON or bytes (POST), or nothing (GET); returns the status and the decoded answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": content_type, **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def write_variant(source: str, target: Path, **changes: Any) -> Path:
    """Copies a fixture model with changed golden answers, its digests made to fit."""
    shutil.copytree(FIXTURES / source, target)
    golden = json.loads((target / "golden.json").read_text())
    write_json(target / "golden.json", {**golden, **changes})
    write_model(target, read_model(target))
    return target


def release_at(root: Path, model: Path) -> dict[str, Any]:
    """Lays a model out like a release in ``root``; returns what release.json would say about it."""
    root.mkdir(parents=True)
    (root / "model").symlink_to(model)
    digest = read_model(model).digest
    return {
        "name": "fixture",
        "release": digest.removeprefix("sha256:")[:16],
        "digest": directory_digest(model),
        "model_digest": digest,
        "uri": str(root),
    }
