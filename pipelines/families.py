"""The families: an image on a cluster, a virtual environment on this machine, one lock for both."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import platform
import sys
from pathlib import Path

from shipway.components.common.errors import InputError

__all__ = ["EXECUTOR", "FAMILIES", "Family", "family_of_image", "package_directory"]

EXECUTOR = "kfp==2.17.0"
"""What runs a component's body; installed without its dependencies into every environment."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of components.

    Attributes:
        name: Also the last part of its image's name: ``shipway/<name>``.
        package: The package that holds its code and its lock.
        code: The packages whose change may change what its steps do.
    """

    name: str
    package: str
    code: tuple[str, ...]

    @property
    def lock(self) -> Path:
        """The pinned requirements of this platform's environment."""
        return package_directory(self.package) / "requirements-host.txt"

    @property
    def overrides(self) -> Path:
        """What replaces requirements of the lock's packages; not every family has any."""
        return self.lock.with_name("overrides.txt")

    @property
    def lock_digest(self) -> str:
        """Digest of the lock and of what else decides which files an installation gets."""
        digest = hashlib.sha256(self.lock.read_bytes())
        if self.overrides.is_file():
            digest.update(self.overrides.read_bytes())
        digest.update(f"{EXECUTOR} {sys.implementation.cache_tag} {platform.machine()} {sys.base_prefix}".encode())
        return digest.hexdigest()

    @property
    def interpreter_variable(self) -> str:
        """The environment variable that tells a step this family's interpreter."""
        return f"SHIPWAY_PYTHON_{self.name.upper()}"


def _component_family(name: str, *more: str) -> Family:
    package = f"shipway.components.{name}"
    return Family(name, package, ("shipway.components.common", package, *more))


FAMILIES = {
    family.name: family
    for family in (
        _component_family("data"),
        _component_family("tensorflow", "shipway.serving.engines", "shipway.serving.tfserving"),
        _component_family("pytorch"),
        _component_family("lifecycle", "shipway.serving"),
        _component_family("features"),
        Family("serving", "shipway.serving", ("shipway.components.common", "shipway.serving")),
        Family("routing", "shipway.serving.routing", ("shipway.components.common", "shipway.serving")),
        Family("torchserve", "shipway.serving.torchserve", ("shipway.components.common", "shipway.serving")),
    )
}


def package_directory(package: str) -> Path:
    """Returns the directory that a package's files lie in."""
    return Path(importlib.import_module(package).__path__[0]).resolve()


def family_of_image(image: str) -> Family:
    """Returns the family that an image name belongs to.

    >>> family_of_image("registry.example/team/shipway/data:0.1.0").name
    'data'

    Raises:
        InputError: When it is no image of Shipway's.
    """
    name = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]
    if "shipway/" not in image or name not in FAMILIES:
        raise InputError(
            f"no environment for the image {image!r}: on this machine steps run in the environments of Shipway's"
            f" images ({', '.join(f'shipway/{family}' for family in FAMILIES)})"
        )
    return FAMILIES[name]
