"""The images of the manifests: ``manifests/images.lock``, and the kustomize component that is made of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from shipway.components.common.errors import InputError

__all__ = ["LOCK", "Image", "component_of", "read_lock", "write_lock"]

LOCK = Path(__file__).parents[1] / "manifests" / "images.lock"

_REFERENCE = re.compile(
    r"(?:(?P<host>localhost(?::\d+)?|[\w.-]+(?:\.[\w-]+|:\d+))/)?"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*):(?P<tag>\w[\w.-]{0,127})(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_HEAD = "# The images of the manifests, each by the name that it has there. `make pin-images` adds the digests.\n"
_COMPONENT_HEAD = "# Made of images.lock by `make pin-images`.\n"


@dataclass(frozen=True)
class Image:
    """A reference to an image.

    Attributes:
        host: The registry; empty for the usual one.
        path: Of the repository there.
        tag: Exact.
        digest: ``sha256:…`` of what the tag stood for when it was asked; empty while nobody asked.
    """

    host: str
    path: str
    tag: str
    digest: str = ""

    @classmethod
    def of(cls, text: str) -> Image:
        """Returns the image of ``[HOST/]PATH:TAG[@DIGEST]``.

        Raises:
            InputError: When it is no such reference; the tag must be there, and may not be ``latest``.
        """
        match = _REFERENCE.fullmatch(text)
        if not match or match["tag"] == "latest":
            raise InputError(f"{text!r} is no image with an exact tag; write [HOST/]PATH:TAG")
        return cls(match["host"] or "", match["path"], match["tag"], match["digest"] or "")

    @property
    def name(self) -> str:
        """The reference without tag and digest."""
        return f"{self.host}/{self.path}" if self.host else self.path

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


def read_lock(path: Path = LOCK) -> dict[str, Image]:
    """Returns the images by the names that they have in the manifests.

    Raises:
        InputError: When the file is missing or malformed.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path} must hold lines of NAME: [HOST/]PATH:TAG[@DIGEST]")
    return {str(name): Image.of(str(text)) for name, text in entries.items()}


def write_lock(images: Mapping[str, Image], path: Path = LOCK) -> None:
    """Writes the lock, and beside it the kustomize component ``images`` that is made of it."""
    component = path.with_name("images") / "kustomization.yaml"
    component.parent.mkdir(exist_ok=True)
    _replace(component, component_of(images))
    _replace(path, _HEAD + "".join(f"{name}: {image}\n" for name, image in images.items()))


def component_of(images: Mapping[str, Image]) -> str:
    """Returns the kustomize component that puts the images of a lock into manifests."""
    entries = []
    for name, image in images.items():
        entry = {"name": name} | ({"newName": image.name} if image.name != name else {})
        entries.append(entry | ({"digest": image.digest} if image.digest else {"newTag": image.tag}))
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": entries}
    return _COMPONENT_HEAD + yaml.safe_dump(kustomization, sort_keys=False)


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
