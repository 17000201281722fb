"""Where a study is: a directory of this machine, and where that is asked for a copy in a store."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.components.common.errors import InputError, StorageError
from shipway.components.common.state import state_directory
from shipway.components.common.storage import open_store
from shipway.components.common.storage.uris import parse_uri
from shipway.components.common.training.checkpoints import Checkpoints

__all__ = ["JOURNAL_FILE", "Copies", "StudyPlace"]

JOURNAL_FILE = "journal.log"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyPlace:
    """Where a study is.

    Attributes:
        directory: The directory.
        uri: The URI in ``gs://`` or ``s3://`` below which its copies and its trials' checkpoints are, or "".
    """

    directory: Path
    uri: str = ""

    @classmethod
    def of(cls, study_uri: str, identity: Mapping[str, Any]) -> StudyPlace:
        """Returns where a study is.

        Args:
            study_uri: As in the settings.
            identity: What makes it this study.

        Raises:
            InputError: When nothing can be written there.
        """
        parsed = parse_uri(study_uri) if study_uri else None
        if parsed and parsed.scheme in ("http", "https"):
            raise InputError(f"study_uri is {study_uri}, where nothing can be written; name a directory or a bucket")
        if parsed and parsed.scheme in ("file", "pvc"):
            return cls(parsed.directory / parsed.key)
        uri = str(parsed) if parsed else ""
        digest = hashlib.sha256(json.dumps([uri, identity], sort_keys=True).encode()).hexdigest()
        return cls(state_directory() / "studies" / digest[:32], uri)

    def trial(self, number: int) -> Path:
        """Returns the directory of a trial."""
        return self.directory / "trials" / str(number)

    def checkpoints(self, number: int) -> str:
        """Returns where a trial's checkpoints are."""
        return f"{self.uri}/trial-{number}" if self.uri else str(self.trial(number) / "checkpoints")

    def delete_checkpoints(self, number: int) -> None:
        """Deletes what an ended trial has left in the store: a pruned or failed one its checkpoints."""
        if self.uri:
            try:
                store, key = open_store(self.checkpoints(number))
                for info in list(store.list(key)):
                    store.delete(info.key)
            except StorageError as error:
                logger.warning("checkpoints of trial %d stay: %s", number, error)


class Copies:
    """The copies in a store of a study's journal and of the models that it keeps."""

    def __init__(self, place: StudyPlace, identity: Mapping[str, Any]) -> None:
        """Prepares them; without a URI there are none."""
        self._directory = place.directory
        self._copies = Checkpoints(f"{place.uri}/study", identity) if place.uri else None

    def fetch(self) -> None:
        """Puts the newest copy into the directory, unless what is there is as far.

        Raises:
            InputError: When another study's copies are there.
            StorageError: When they cannot be read.
        """
        if self._copies:
            try:
                self._copies.latest(self._take)
            except InputError as error:
                raise InputError(str(error).replace("checkpoint_uri", "study_uri")) from error

    def save(self, ended: int) -> None:
        """Saves a copy; a failure is a warning, for the study is worth more than a copy of it.

        Args:
            ended: How many trials have ended.
        """
        if self._copies:
            try:
                self._copies.save(ended, self._write, wait=True)
            except StorageError as error:
                logger.warning("%s; the study goes on and is copied again after the next trial", error)

    def _take(self, copy: Path) -> None:
        here = self._directory / JOURNAL_FILE
        if here.exists() and here.stat().st_size >= (copy / JOURNAL_FILE).stat().st_size:
            return
        logger.info("the study goes on from its copy")
        shutil.rmtree(self._directory / "trials", ignore_errors=True)
        shutil.copytree(copy, self._directory, dirs_exist_ok=True)

    def _write(self, copy: Path) -> None:
        shutil.copy(self._directory / JOURNAL_FILE, copy)
        for model in (self._directory / "trials").glob("*/model"):
            shutil.copytree(model, copy / "trials" / model.parent.name / "model")
