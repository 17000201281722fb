"""Every error that Shipway raises on purpose.

The tree, with the exit code that a process ends with::

    ShipwayError             1   anything below, or a fault without a class of its own
    ├── InputError           2   the caller's mistake; never retried
    ├── DataRejected         3   a gate said no: anomalies, no blessing
    ├── ConflictError        4   somebody else holds or changed it: a busy port, a moved alias
    ├── DeploymentError      5   an endpoint did not come up or did not answer as it must
    ├── StorageError         6   reading or writing a store failed
    │   ├── ObjectNotFound       there is no such object, bucket or directory
    │   ├── AccessDenied         the credentials are missing, wrong or not enough
    │   ├── IntegrityError       the bytes are not those that a checksum promised
    │   ├── UnsafeName           a name out of a store would leave its directory
    │   ├── CapabilityMissing    the store cannot do what safety needs
    │   ├── PreconditionFailed   4   the object is not (or no longer) the one expected; a ConflictError too
    │   ├── VersionConflictError 4   a published version holds something else; a ConflictError too
    │   └── StorageUnavailable  75   the store did not answer in time; a TransientError too
    ├── EnvironmentFailed    7   a family's environment could not be made
    ├── TransientError      75   trying again may help
    └── Preempted          143   stopped from outside (SIGTERM, SIGINT); run again to resume

A message says what happened, where, and what to do next. A StorageError has the ``uri`` it is about, without
credentials, and says in ``retryable`` whether the same call may succeed a little later.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "CapabilityMissing",
    "ConflictError",
    "DataRejected",
    "DeploymentError",
    "EnvironmentFailed",
    "InputError",
    "IntegrityError",
    "ObjectNotFound",
    "PreconditionFailed",
    "Preempted",
    "ShipwayError",
    "StorageError",
    "StorageUnavailable",
    "TransientError",
    "UnsafeName",
    "VersionConflictError",
    "error_named",
]


class ShipwayError(Exception):
    """The root of the tree; catch it to catch everything that Shipway raises on purpose."""

    exit_code = 1


class InputError(ShipwayError):
    """The caller's mistake: a missing file, a misspelt name, a value out of range."""

    exit_code = 2


class DataRejected(ShipwayError):
    """A gate said no: the data has anomalies, or no model is blessed."""

    exit_code = 3


class ConflictError(ShipwayError):
    """Somebody else holds or changed the thing: a busy port, an alias that moved, a release that exists."""

    exit_code = 4


class DeploymentError(ShipwayError):
    """An endpoint did not come up, or did not answer as it must."""

    exit_code = 5


class EnvironmentFailed(ShipwayError):
    """A family's environment could not be made: no space, no network, no such package."""

    exit_code = 7


class TransientError(ShipwayError):
    """The same call may succeed a little later."""

    exit_code = 75


class Preempted(ShipwayError):
    """Stopped from outside before the end; run again to resume."""

    exit_code = 143


class StorageError(ShipwayError):
    """Reading from or writing to a store failed.

    Attributes:
        uri: What it is about, without credentials; "" where that is not one object.
        retryable: Whether the same call may succeed a little later.
    """

    exit_code = 6
    retryable = False

    def __init__(self, message: str = "", uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri


class ObjectNotFound(StorageError):
    """There is no such object, bucket or directory."""


class AccessDenied(StorageError):
    """The credentials are missing, wrong or not enough."""


class IntegrityError(StorageError):
    """The bytes are not those that a checksum promised; none of them were kept."""

    retryable = True


class UnsafeName(StorageError):
    """A name out of a store would leave the directory that it is written to."""


class CapabilityMissing(StorageError):
    """The store cannot do what safety needs: it ignores conditional writes, or is read-only."""


class PreconditionFailed(StorageError, ConflictError):
    """The object is not, or no longer, the one that the caller expected."""

    exit_code = ConflictError.exit_code


class VersionConflictError(StorageError, ConflictError):
    """A published version holds something else; versions never change."""

    exit_code = ConflictError.exit_code


class StorageUnavailable(StorageError, TransientError):
    """The store did not answer, answered that it is busy, or broke off, in every try that time allowed."""

    exit_code = TransientError.exit_code
    retryable = True


def error_named(name: str) -> type[ShipwayError]:
    """Returns the class of the tree called ``name``; ``ShipwayError`` where there is none."""
    pending: list[type[ShipwayError]] = [ShipwayError]
    while pending:
        cls = pending.pop()
        if cls.__name__ == name:
            return cls
        pending.extend(cls.__subclasses__())
    return ShipwayError
