"""A release as a Bento: the project that ``bentoml build`` and ``bentoml serve`` read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from shipway.components.common.artifacts import new_directory
from shipway.components.common.model import verify_files
from shipway.serving.engines.engine import model_directory

__all__ = ["REQUIREMENTS", "write_project"]

REQUIREMENTS = ("msgspec", "numpy", "onnxruntime", "orjson", "prometheus-client", "pyyaml")
"""What the Bento's environment needs besides BentoML."""

_HOME = Path(__file__).parents[2]
_CODE = ("components/__init__.py", "components/common", "serving")
_SERVICE = '''"""A model of Shipway's, over KServe's v1 and v2 protocols."""

from pathlib import Path

import bentoml
from shipway.serving.openinference.application import create_app

application = create_app(Path(__file__).parent / "model", name={name!r})


@bentoml.service(name={tag!r})
@bentoml.asgi_app(application)
class Model:
    async def __is_ready__(self) -> bool:
        return application.ready
'''


def write_project(release: str | Path, directory: str | Path, name: str = "") -> None:
    """Writes ``service.py``, ``bentofile.yaml``, the model, and the code that serves it.

    Args:
        release: A Model or Release directory.
        directory: Replaced when all is written.
        name: Of the model in requests, and of the Bento; empty takes the model's own.

    Raises:
        InputError: When there is no model, or its files are not those that it names.
    """
    source = model_directory(release)
    description = verify_files(source)
    name = name or description.name
    tag = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    bentofile = {
        "service": "service:Model",
        "labels": {"model-digest": description.digest.removeprefix("sha256:")[:16]},
        "python": {"packages": list(REQUIREMENTS)},
    }
    with new_directory(directory) as aside:
        shutil.copytree(source, aside / "model")
        for part in _CODE:
            _copy(_HOME / part, aside / "shipway" / part)
        (aside / "service.py").write_text(_SERVICE.format(name=name, tag=tag), encoding="utf-8")
        (aside / "bentofile.yaml").write_text(yaml.safe_dump(bentofile, sort_keys=False), encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)
