"""How to reach a store: endpoint, credentials, certificates, proxy.

:func:`profile_for` asks three sources, and the first that knows anything about a URI is the only one asked:

1. A file of profiles, because only a file can tell two stores of one scheme apart: MinIO here, AWS there.
2. The environment, by the names that KServe's storage initializer is given, because that is what a container has.
3. Nobody: the client library then looks where it always does (``~/.aws``, Workload Identity, a role of the machine).

They are never mixed, so that one store's keys are not sent to another store's endpoint.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shipway.components.common.errors import InputError, UnsafeName
from shipway.components.common.storage.uris import SCHEMES, StorageUri, parse_uri
from shipway.components.common.storage.variables import (
    checked_file,
    checked_url,
    is_file,
    settings_of,
    variables_at,
    variables_of_environment,
)

__all__ = ["Profile", "profile_for"]

_FILE_VARIABLE = "SHIPWAY_STORAGE_PROFILES"
_LONGEST_STALL_SECONDS = 86_400
_STYLES = ("auto", "path", "virtual")
_SOURCE = re.compile(r"env:\w*|(/|~/|\.{1,2}/).*")
_SECRET_WORDS = re.compile(r"secret|password|passwd|token|access_?key", re.IGNORECASE)
# Client libraries heed these where they are given no endpoint.
_ENDPOINT_VARIABLES = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}
# What ``credentials`` must give, by scheme: a field, and the names of a Secret's keys.
_NEEDED = {
    "s3": ("access_key", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "gs": ("credentials_file", "gcloud-application-credentials.json (of variables: GOOGLE_APPLICATION_CREDENTIALS)"),
    "http": ("bearer_token", "token"),
    "https": ("bearer_token", "token"),
}


@dataclasses.dataclass(frozen=True)
class Profile:
    """What it takes to reach the stores below one URI.

    Attributes:
        endpoint_url: Where the store answers, such as ``https://minio.example:9000``; "" for the cloud's own. For gs
            an emulator's.
        region: S3's region; "" for the client's default.
        addressing_style: ``auto``, ``path`` or ``virtual``; of S3.
        access_key: Of S3.
        secret_key: Of S3.
        session_token: Of S3.
        credentials: Where keys or token were read from: a Secret's directory, a file, or ``env:`` and a prefix of
            variables; "" where the client library looks by itself.
        credentials_file: A service account's or an external account's JSON for gs; "" for what the environment offers:
            Workload Identity, ``GOOGLE_APPLICATION_CREDENTIALS``.
        anonymous: Whether to send no credentials at all.
        bearer_token: Of ``https://``.
        ca_bundle: File of certificates to trust instead of the usual ones.
        verify_tls: Whether certificates are checked.
        proxy: URL of an HTTP proxy; "" for what the environment says.
        kms_key: The key that new objects are encrypted with: a CMEK's resource name, or an S3 KMS key id.
        project: Project that gs requests are billed to, for requester-pays buckets.
        unconditional_publish: Whether to publish to a store that ignores conditional writes, where of two who publish
            at the same time the later one wins.
        stall_seconds: How long a connection may be silent, in seconds, up to a day; 30 is more than stores take to
            answer and less than people wait.
    """

    endpoint_url: str = ""
    region: str = ""
    addressing_style: str = "auto"
    access_key: str = dataclasses.field(default="", repr=False)
    secret_key: str = dataclasses.field(default="", repr=False)
    session_token: str = dataclasses.field(default="", repr=False)
    credentials: str = ""
    credentials_file: str = ""
    anonymous: bool = False
    bearer_token: str = dataclasses.field(default="", repr=False)
    ca_bundle: str = ""
    verify_tls: bool = True
    proxy: str = dataclasses.field(default="", repr=False)
    kms_key: str = ""
    project: str = ""
    unconditional_publish: bool = False
    stall_seconds: float = 30.0


_SECRETS = ("access_key", "secret_key", "session_token", "bearer_token")
_SETTINGS = {field.name: field.default for field in dataclasses.fields(Profile) if field.name not in _SECRETS}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What the file of profiles says about the URIs below a prefix."""

    prefix: tuple[str, ...]
    where: str
    settings: Mapping[str, Any]


def profile_for(uri: str | Path) -> Profile:
    """Returns the profile of a URI.

    The file of profiles is the one that SHIPWAY_STORAGE_PROFILES names, else ``shipway/storage.yaml`` below
    XDG_CONFIG_HOME or ``~/.config``, where there is one. It maps prefixes of URIs to settings; of those that match by
    whole segments the longest wins, and nothing is taken from the others. It is read again whenever it changes, and
    the files of a Secret at every call, for they are replaced when keys are.

    Raises:
        InputError: When the URI or a setting is wrong or a file is missing; with the file and the setting's name, and
            without its value.
    """
    parsed = parse_uri(uri)
    file = _profiles_file()
    if file:
        status = file.stat()
        parts = _parts(parsed)
        for entry in _entries(file, (status.st_mtime_ns, status.st_size, status.st_ino)):
            if parts[: len(entry.prefix)] == entry.prefix:
                return _profile(entry, parsed.scheme, file.parent)
    variables = variables_of_environment(parsed.scheme, urlsplit(str(parsed)).hostname or "")
    settings = settings_of(parsed.scheme, variables, "the environment")
    known = any(name in settings for name, _ in _NEEDED.values())
    return Profile(**settings, credentials="env:" if known else "")


def _profiles_file() -> Path | None:
    named = os.environ.get(_FILE_VARIABLE)
    if named:
        return Path(checked_file(os.path.expanduser(named), _FILE_VARIABLE))  # noqa: PTH111  (there may be no home)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    path = Path(home, "shipway", "storage.yaml")
    return path if is_file(path) else None


def _parts(uri: StorageUri) -> tuple[str, ...]:
    path = uri.key.partition("?")[0] if uri.scheme in ("http", "https") else uri.key
    return tuple(part for part in (uri.scheme, uri.bucket, *path.split("/")) if part)


@functools.lru_cache(maxsize=8)
def _entries(file: Path, _stamp: tuple[int, int, int]) -> tuple[_Entry, ...]:
    """Returns the file's entries, the longest prefix first; a ``_stamp`` never seen makes it read the file."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: this is no YAML; see docs/storage-profiles.md for an example") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); it must be YAML in UTF-8") from None
    if content is None:
        return ()
    if not isinstance(content, dict):
        raise InputError(f"{file} must map prefixes of URIs, such as s3://models/, to settings")
    found: dict[tuple[str, ...], _Entry] = {}
    for name, settings in content.items():
        entry = _entry(file, name, settings)
        if entry.prefix in found:
            raise InputError(f"{entry.where} stands there twice, with and without a slash or in another case; keep one")
        found[entry.prefix] = entry
    return tuple(sorted(found.values(), key=lambda entry: -len(entry.prefix)))


def _entry(file: Path, name: object, settings: object) -> _Entry:
    scheme, separator, rest = name.partition("://") if isinstance(name, str) else ("", "", "")
    if not separator:
        raise InputError(f"{file}: every name at the left must be the prefix of a URI, such as s3://models/ or gs://")
    scheme = scheme.lower()
    try:
        prefix = _parts(parse_uri(str(name))) if rest.strip("/") or scheme not in SCHEMES else (scheme,)
    except (InputError, UnsafeName) as error:
        raise InputError(f"{file}: {error}") from error
    where = f"{file}, {'://'.join((scheme, '/'.join(prefix[1:])))}"
    if not isinstance(settings, dict):
        raise InputError(f"{where} must have settings below it, such as endpoint_url: https://minio.example:9000")
    for setting, value in settings.items():
        _check(scheme, str(setting), value, where)
    for other in ("anonymous", "credentials_file"):
        if settings.get("credentials") and settings.get(other):
            raise InputError(f"{where}: credentials and {other} cannot both be; keep one of them")
    if settings.get("ca_bundle") and settings.get("verify_tls") is False:
        raise InputError(f"{where}: with verify_tls: false nobody looks at ca_bundle; keep one of them")
    return _Entry(prefix, where, settings)


def _check(scheme: str, name: str, value: object, where: str) -> None:
    if name not in _SETTINGS:
        if name in _SECRETS or _SECRET_WORDS.search(name):
            raise InputError(
                f"{where}: {name} must not stand in this file; put each key into a file of its own, as a mounted Secret"
                " has them, and name the directory (credentials: /mnt/secrets/minio), or name variables that hold them"
                " (credentials: env:MINIO_)"
            )
        close = difflib.get_close_matches(name, _SETTINGS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"{where}: there is no setting {name!r}; {hint}The settings are {', '.join(_SETTINGS)}")
    what = f"{where}: {name}"
    if isinstance(_SETTINGS[name], bool):
        if not isinstance(value, bool):
            raise InputError(f"{what} must be true or false, without quotes")
    elif name == "stall_seconds":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST_STALL_SECONDS:
            raise InputError(
                f"{what} must be a number of seconds above 0 and up to {_LONGEST_STALL_SECONDS:,}; the default is"
                f" {_SETTINGS[name]:g}"
            )
    elif not isinstance(value, str):
        raise InputError(f"{what} must be text; write it in quotes")
    elif name == "addressing_style" and value not in _STYLES:
        raise InputError(f"{what} must be one of {', '.join(_STYLES)}")
    elif name == "credentials" and value and (scheme not in _NEEDED or not _SOURCE.fullmatch(value)):
        takes = (
            "must be env: and a prefix, or a path that starts with /, ~/ or ./" if scheme in _NEEDED else "has no use"
        )
        raise InputError(f"{what} {takes}; keys themselves must not stand there")
    elif name == "endpoint_url" and value:
        checked_url(value, what)
    elif name == "proxy" and value and not re.fullmatch(r"env:\w+", value):
        _check_proxy(value, what)


def _check_proxy(value: str, what: str) -> None:
    if "@" in value:
        raise InputError(
            f"{what} must not hold a password; put the address into a variable and name that: env:MY_PROXY"
        )
    checked_url(value, what)


def _profile(entry: _Entry, scheme: str, base: Path) -> Profile:
    settings = {**entry.settings}
    for name in ("ca_bundle", "credentials_file"):
        if settings.get(name):
            settings[name] = checked_file(_path(base, settings[name]), f"{entry.where}: {name}")
    if settings.get("endpoint_url"):
        settings["endpoint_url"] = settings["endpoint_url"].rstrip("/")
    proxy = settings.get("proxy", "")
    if proxy.startswith("env:"):
        variable = os.environ.get(proxy[4:], "")
        settings["proxy"] = checked_url(variable, f"{entry.where}: proxy: the variable {proxy[4:]}", password=True)
    source = settings.get("credentials", "")
    if not source:
        return _with_endpoint(Profile(**settings), scheme, entry.where)
    where = f"{entry.where}: credentials"
    source = settings["credentials"] = source if source.startswith("env:") else _path(base, source)
    found = settings_of(scheme, variables_at(scheme, source, where), source)
    needed, names = _NEEDED[scheme]
    if needed not in found and not found.get("anonymous"):
        raise InputError(f"{where}: {source} has no {names}; see docs/storage-profiles.md for what belongs there")
    return _with_endpoint(Profile(**{**found, **settings}), scheme, entry.where)


def _with_endpoint(profile: Profile, scheme: str, where: str) -> Profile:
    for variable in _ENDPOINT_VARIABLES.get(scheme, ()):
        if os.environ.get(variable) and not profile.endpoint_url:
            raise InputError(
                f"{where} has no endpoint_url, and with the variable {variable} set requests would go elsewhere; write"
                " endpoint_url there (of AWS https://s3.REGION.amazonaws.com, of Google https://storage.googleapis.com),"
                " or unset the variable"
            )
    return profile


def _path(base: Path, text: str) -> str:
    return os.path.normpath(base / os.path.expanduser(text))  # noqa: PTH111
