"""Feast, told to keep to itself, and a repository opened with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from shipway.components.common.errors import InputError

os.environ.setdefault("FEAST_USAGE", "False")
os.environ.setdefault("FEAST_TELEMETRY", "False")

from feast import FeatureStore, FeatureView
from feast.errors import FeastObjectNotFoundException

__all__ = ["REDIS_VARIABLE", "FeatureStore", "open_repository", "the_view"]

REDIS_VARIABLE = "FEAST_REDIS_CONNECTION_STRING"
"""The environment variable that holds redis' address, and its password where it has one."""

logging.getLogger("feast").setLevel(logging.WARNING)


def open_repository(repository: str | Path) -> FeatureStore:
    """Returns the store of a repository that ``create_feature_repository`` wrote.

    Raises:
        InputError: When there is none, or redis' address is not in the environment.
    """
    settings = Path(repository) / "feature_store.yaml"
    if not settings.is_file():
        raise InputError(f"{repository} holds no feature_store.yaml; was it written by create_feature_repository?")
    if REDIS_VARIABLE in settings.read_text(encoding="utf-8") and not os.environ.get(REDIS_VARIABLE):
        raise InputError(f"the repository's online store is redis; set {REDIS_VARIABLE}, such as localhost:6379")
    return FeatureStore(repo_path=str(repository))


def the_view(store: FeatureStore) -> FeatureView:
    """Returns the repository's one feature view.

    Raises:
        InputError: When it has none, or several.
    """
    try:
        views = store.list_feature_views()
    except FeastObjectNotFoundException as error:
        raise InputError(f"the repository's registry cannot be read: {error}; generate it again") from error
    if len(views) != 1:
        raise InputError(f"the repository has {len(views)} feature views; expected the one that was generated")
    return views[0]
