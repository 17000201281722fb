"""Where what outlives a run is kept for this user: endpoints, uploads to be resumed, and what can be had again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory", "state_directory"]


def state_directory() -> Path:
    """Returns ``SHIPWAY_STATE_DIR``, else ``shipway`` below ``XDG_STATE_HOME``, else ``~/.local/state/shipway``."""
    default = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "shipway"
    return Path(os.environ.get("SHIPWAY_STATE_DIR") or default).absolute()


def cache_directory() -> Path:
    """Returns ``SHIPWAY_CACHE_DIR``, else ``shipway`` below ``XDG_CACHE_HOME``, else ``~/.cache/shipway``."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shipway"
    return Path(os.environ.get("SHIPWAY_CACHE_DIR") or default).absolute()
