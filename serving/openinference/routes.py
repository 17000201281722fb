"""What a path is of; each is given as its parts between slashes, the first of which is empty."""

from __future__ import annotations

__all__ = ["is_about", "is_change", "is_inference", "is_predict"]


def is_predict(parts: list[str]) -> bool:
    """Whether it is v1's way to ask a model: ``/v1/models/NAME:predict``."""
    return len(parts) == 4 and parts[1:3] == ["v1", "models"] and parts[3].endswith(":predict")


def is_inference(parts: list[str]) -> bool:
    """Whether it is v2's: ``/v2/models/NAME[/versions/VERSION]/infer``."""
    return parts[1:3] == ["v2", "models"] and parts[-1] == "infer" and (len(parts) == 5 or _has_version(parts, 7))


def is_about(parts: list[str]) -> bool:
    """Whether it describes a model or says whether it is ready."""
    if len(parts) == 4 and parts[2] == "models":
        return parts[1] in ("v1", "v2")
    if parts[1:3] != ["v2", "models"]:
        return False
    return _has_version(parts, 6) or (parts[-1] == "ready" and (len(parts) == 5 or _has_version(parts, 7)))


def _has_version(parts: list[str], length: int) -> bool:
    return len(parts) == length and parts[4] == "versions" and parts[5] != ""


def is_change(parts: list[str]) -> bool:
    """Whether it loads or unloads a model."""
    return len(parts) == 6 and parts[1:4] == ["v2", "repository", "models"] and parts[5] in ("load", "unload")
