"""A request whose places may be in a store, and a worker process that knows this machine's files only."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shipway.components.common.errors import ObjectNotFound
from shipway.components.common.training.request import TrainingRequest

__all__ = ["placed"]

RANK_VARIABLE = "RANK"
_READ = ("train", "validation", "network_code")
_WRITTEN = ("model", "curves")

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def placed(request_file: str) -> Iterator[TrainingRequest | None]:
    """Yields a request that names local places; afterwards process 0 publishes what lies there.

    Where the model is published already, as after a restart at the very end, there is nothing to do: None.

    Raises:
        InputError: When the file holds no request.
        StorageError: When a split cannot be downloaded, or the model not be published.
    """
    asked = TrainingRequest.from_json(Path(request_file).read_text(encoding="utf-8"))
    remote = {name for name in (*_READ, *_WRITTEN) if "://" in getattr(asked, name)}
    if not remote:
        yield asked
        return
    from shipway.components.common.storage import download, publish_version, upload

    if "model" in remote and _published(asked.model):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="shipway-training-") as directory:
        here: dict[str, Any] = {name: str(Path(directory) / name) for name in remote}
        for name in remote.intersection(_READ):
            download(getattr(asked, name).rstrip("/"), here[name])
        yield replace(asked, **here)
        if os.environ.get(RANK_VARIABLE, "0") == "0":
            if "curves" in remote:
                upload(here["curves"], asked.curves)
            if "model" in remote:
                publish_version(here["model"], asked.model)


def _published(uri: str) -> bool:
    from shipway.components.common.storage import read_manifest

    try:
        read_manifest(uri)
    except ObjectNotFound:
        return False
    logger.info("the model of this training is published already: %s", uri)
    return True
