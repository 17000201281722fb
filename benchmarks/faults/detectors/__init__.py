"""Who looks for the faults. Each module runs in its own environment, as ``python -m … INDEX.JSON OUTPUT.JSON``."""
