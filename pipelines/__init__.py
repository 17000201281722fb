"""The ready pipelines, and what runs, compiles and submits them.

>>> from shipway.pipelines import train_and_deploy
"""

from __future__ import annotations

from typing import Any

__all__ = ["train_and_deploy"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    pipeline = getattr(import_module(f"{__name__}.{name}"), name)
    globals()[name] = pipeline  # in place of the module, which the import has put there
    return pipeline
