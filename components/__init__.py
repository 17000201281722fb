"""Shipway's components, by name.

>>> from shipway.components import train_pytorch, validate_data

Definitions are loaded when they are asked for: inside a running step most of ``kfp.dsl`` is absent, and a
step must be able to import its logic from this package all the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FAMILY_OF = {
    "resolve_data": "data",
    "ingest_data": "data",
    "transform_data": "data",
    "split_data": "data",
    "generate_statistics": "data",
    "resolve_schema": "data",
    "infer_schema": "data",
    "propose_schema": "data",
    "validate_data": "data",
    "prepare_data": "data",
    "create_feature_repository": "features",
    "retrieve_features": "features",
    "materialize_features": "features",
    "train_tensorflow": "tensorflow",
    "tune_tensorflow": "tensorflow",
    "prune_tensorflow": "tensorflow",
    "create_tfserving_model": "tensorflow",
    "train_pytorch": "pytorch",
    "tune_pytorch": "pytorch",
    "prune_pytorch": "pytorch",
    "quantize_model": "lifecycle",
    "train_baselines": "lifecycle",
    "train_distributed": "lifecycle",
    "predict": "lifecycle",
    "resolve_champion": "lifecycle",
    "predict_champion": "lifecycle",
    "evaluate_model": "lifecycle",
    "select_model": "lifecycle",
    "create_release": "lifecycle",
    "create_torchserve_archive": "lifecycle",
    "download_release": "lifecycle",
    "replicate_release": "lifecycle",
    "deploy_model": "lifecycle",
    "smoke_test": "lifecycle",
    "promote_model": "lifecycle",
}

__all__ = [*_FAMILY_OF]


def __getattr__(name: str) -> Any:
    if name not in _FAMILY_OF:
        raise AttributeError(f"module {__name__!r} has no component {name!r}; it has {', '.join(_FAMILY_OF)}")
    return getattr(import_module(f"{__name__}.{_FAMILY_OF[name]}.components"), name)
