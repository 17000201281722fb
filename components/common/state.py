"""Where what outlives a run is kept for this user: endpoints, uploads to be resumed."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["state_directory"]


def state_directory() -> Path:
    """Returns ``SHIPWAY_STATE_DIR``, else ``shipway`` below ``XDG_STATE_HOME``, else ``~/.local/state/shipway``."""
    default = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "shipway"
    return Path(os.environ.get("SHIPWAY_STATE_DIR") or default).absolute()
