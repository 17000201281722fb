"""A profile's settings under the names that KServe has for them.

KServe tells its storage initializer in environment variables how to reach a store, and takes them from a Secret's keys
and annotations. Here they are read by the same names wherever they stand: in the environment, in variables with a
prefix of their own, in the directory that a Secret is mounted as, in a Secret's manifest. So what serves KServe serves
a step of a pipeline as well.

The names are those of KServe 0.21: ``kserve_storage.py`` (``get_S3_config``, ``_get_s3_client_kwargs``,
``_update_with_storage_spec``, ``_download_from_uri``) for what the initializer reads, and ``pkg/credentials`` in
``s3/s3_secret.go``, ``s3/utils.go``, ``gcs/gcs_secret.go``, ``https/https_secret.go`` and
``service_account_credentials.go`` for what it is given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shipway.components.common.errors import InputError

__all__ = [
    "GS_KEY",
    "S3_KEY_PAIRS",
    "checked_file",
    "checked_url",
    "is_file",
    "key_text",
    "settings_of",
    "variables_at",
    "variables_of_environment",
]

GS_KEY = "gcloud-application-credentials.json"
"""The key of a Secret, and so the file's name, of credentials for gs."""

S3_KEY_PAIRS = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("awsAccessKeyID", "awsSecretAccessKey"),
    ("accesskey", "secretkey"),
)
"""What Secrets call the two keys of S3: as KServe is usually set up, as it is without a setting, and as Kubeflow
Pipelines calls those of its own MinIO (``mlpipeline-minio-artifact``)."""

_NAMES = {
    "s3": (
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_SESSION_TOKEN",
        "S3_ENDPOINT",
        "S3_USER_VIRTUAL_BUCKET",
        "S3_USE_HTTPS",
        "S3_VERIFY_SSL",
        "awsAnonymousCredential",
        *(name for pair in S3_KEY_PAIRS for name in pair),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"),
    "https": ("headers", "token"),
}
_STORAGE_CONFIG = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "anonymous": "awsAnonymousCredential",
    "ca_bundle": "AWS_CA_BUNDLE",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region": "AWS_DEFAULT_REGION",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "verify_ssl": "S3_VERIFY_SSL",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_CA_MOUNT = "/etc/ssl/custom-certs"


def settings_of(scheme: str, variables: Mapping[str, str], where: str) -> dict[str, Any]:
    """Returns what variables say about the stores of a scheme, by the names of a profile's fields.

    Args:
        scheme: Of the stores' URIs.
        variables: By KServe's names; ``token`` and ``headers`` for the web.
        where: What they were read from, for messages.

    Raises:
        InputError: When a value cannot be, a file is missing, or one key of a pair is.
    """
    if scheme == "s3":
        return _s3_settings(variables, where)
    if scheme == "gs":
        return _gs_settings(variables, where)
    return _web_settings(variables, where) if scheme in ("http", "https") else {}


def variables_of_environment(scheme: str, host: str = "") -> Mapping[str, str]:
    """Returns the environment as KServe's initializer sees it.

    The JSON in STORAGE_CONFIG, a key of KServe's Secret ``storage-config``, goes before the variables, and
    STORAGE_OVERRIDE_CONFIG before both. The headers for a host of the web stand in ``HOST-headers``.

    Args:
        scheme: Of the stores' URIs.
        host: Of the web, without a port.

    Raises:
        InputError: When one of the two is no JSON object.
    """
    if scheme in ("http", "https"):
        return {"headers": os.environ.get(f"{host}-headers", "")}
    if scheme != "s3":
        return os.environ
    keys_of_secrets = {name for pair in S3_KEY_PAIRS[1:] for name in pair}
    variables = {name: text for name, text in os.environ.items() if name not in keys_of_secrets}
    config = {**_json_variable("STORAGE_CONFIG"), **_json_variable("STORAGE_OVERRIDE_CONFIG")}
    if config.get("type") == "s3":
        variables |= {name: str(config[key]) for key, name in _STORAGE_CONFIG.items() if key in config}
    return variables


def variables_at(scheme: str, source: str, where: str) -> dict[str, str]:
    """Returns what a place that ``credentials`` names holds.

    Args:
        scheme: Of the stores' URIs: ``s3``, ``gs``, ``http`` or ``https``.
        source: A directory with a file for each key of a Secret; the one file that gs and the web need; or ``env:``
            and what the variables' names begin with.
        where: Which setting names it, for messages.

    Returns:
        By KServe's names, but for AWS_CA_BUNDLE, which tells where KServe mounts certificates and not where they are
        here.

    Raises:
        InputError: When there is nothing there, or a file in it cannot be read or holds no single line.
    """
    names = _NAMES["https" if scheme == "http" else scheme]
    if source.startswith("env:"):
        spelt = {name: source[4:] + (name.upper() if name.islower() else name) for name in names}
        return {name: os.environ[variable] for name, variable in spelt.items() if variable in os.environ}
    path = Path(source)
    if is_file(path) and scheme != "s3":
        return {"GOOGLE_APPLICATION_CREDENTIALS": source} if scheme == "gs" else {"token": key_text(path)}
    if not os.path.isdir(path):  # noqa: PTH112
        raise InputError(
            f"{where}: there is no directory {source}; mount the Secret there, or write the path of another directory"
            " that has a file for each of its keys"
        )
    if scheme == "gs":
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(path / GS_KEY)} if is_file(path / GS_KEY) else {}
    return {name: key_text(path / name) for name in names if is_file(path / name)}


def key_text(path: Path) -> str:
    """Returns the one line of a file, without what ends it.

    Raises:
        InputError: When it cannot be read, is empty, or holds more than a line.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fault = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise InputError(f"{path} cannot be read: {fault}; mount the Secret anew, for this user") from None
    if not text or (path.name != "headers" and not text.isprintable()):
        raise InputError(f"{path} must hold one line of text, and {'more is' if text else 'nothing is'} in it")
    return text


def checked_url(text: str, what: str, password: bool = False) -> str:
    """Returns a URL without a slash behind it; the text itself is never in a message, for it may hold a password.

    Args:
        text: The URL.
        what: Where it was read from, for messages.
        password: Whether user and password may be in it.

    Raises:
        InputError: When it is none of ``http://`` or ``https://``, or has more in it than it may.
    """
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not text.strip().isprintable():
        raise InputError(f"{what} is no usable address; write it as https://host or http://host:9000")
    if "@" in parts.netloc and not password:
        raise InputError(f"{what} has a user or a password in it; take them out of the address")
    return text.strip().rstrip("/")


def is_file(path: str | Path) -> bool:
    """Returns whether there is a file that this user may see; ``Path.is_file`` raises where it may not look."""
    return os.path.isfile(path)  # noqa: PTH113


def checked_file(path: str | Path, what: str) -> str:
    """Returns the path of a file that exists.

    Raises:
        InputError: When there is none.
    """
    if not is_file(path):
        raise InputError(f"{what} names {path}, which is no file here; mount it, or write the path that it has")
    return str(path)


def _s3_settings(variables: Mapping[str, str], where: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    name = next((name for name in _ENDPOINTS if variables.get(name)), "")
    if name:
        address = variables[name]
        if name == "S3_ENDPOINT" and "://" not in address:
            address = f"{'https' if _flag(variables, 'S3_USE_HTTPS', True, where) else 'http'}://{address}"
        settings["endpoint_url"] = checked_url(address, f"{where}: {name}")
    region = variables.get("AWS_DEFAULT_REGION") or variables.get("AWS_REGION")
    if region:
        settings["region"] = region
    if _flag(variables, "S3_USER_VIRTUAL_BUCKET", False, where):
        settings["addressing_style"] = "virtual"
    if not _flag(variables, "S3_VERIFY_SSL", True, where):
        settings["verify_tls"] = False
    elif variables.get("AWS_CA_BUNDLE"):
        settings["ca_bundle"] = checked_file(variables["AWS_CA_BUNDLE"], f"{where}: AWS_CA_BUNDLE")
    elif variables.get("CA_BUNDLE_CONFIGMAP_NAME"):
        mount = variables.get("CA_BUNDLE_VOLUME_MOUNT_POINT") or _CA_MOUNT
        settings["ca_bundle"] = checked_file(Path(mount, "cabundle.crt"), f"{where}: CA_BUNDLE_VOLUME_MOUNT_POINT")
    if _flag(variables, "awsAnonymousCredential", False, where):
        return {**settings, "anonymous": True}
    return {**settings, **_s3_keys(variables, where)}


def _s3_keys(variables: Mapping[str, str], where: str) -> dict[str, str]:
    for access, secret in S3_KEY_PAIRS:
        found = [name for name in (access, secret) if variables.get(name)]
        if len(found) == 1:
            missing = secret if found == [access] else access
            raise InputError(f"{where} has {found[0]} and no {missing}; S3 needs both, or neither")
        if found:
            token = variables.get("AWS_SESSION_TOKEN", "")
            keys = {"access_key": variables[access], "secret_key": variables[secret]}
            return {**keys, "session_token": token} if token else keys
    return {}


def _gs_settings(variables: Mapping[str, str], where: str) -> dict[str, Any]:
    emulator = variables.get("STORAGE_EMULATOR_HOST")
    if emulator:
        address = emulator if "://" in emulator else f"http://{emulator}"
        return {"endpoint_url": checked_url(address, f"{where}: STORAGE_EMULATOR_HOST"), "anonymous": True}
    name = variables.get("GOOGLE_APPLICATION_CREDENTIALS")
    return {"credentials_file": checked_file(name, f"{where}: GOOGLE_APPLICATION_CREDENTIALS")} if name else {}


def _web_settings(variables: Mapping[str, str], where: str) -> dict[str, Any]:
    if variables.get("token"):
        return {"bearer_token": variables["token"]}
    if not variables.get("headers"):
        return {}
    headers = _json_object(variables["headers"], f"{where}: headers")
    kind, _, token = str(headers.get("Authorization", "")).partition(" ")
    if set(headers) != {"Authorization"} or kind.lower() != "bearer" or not token.strip():
        raise InputError(f'{where}: of headers only {{"Authorization": "Bearer …"}} is understood')
    return {"bearer_token": token.strip()}


def _flag(variables: Mapping[str, str], name: str, default: bool, where: str) -> bool:
    text = variables.get(name, "").strip().lower()
    if text and text not in _WORDS:
        raise InputError(f"{where}: {name} is neither true nor false; write 1 or 0, or true or false")
    return _WORDS.get(text, default)


def _json_variable(name: str) -> dict[str, Any]:
    text = os.environ.get(name, "")
    return _json_object(text, f"the environment: {name}") if text else {}


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f'{what} is no JSON object; write it as {{"name": "text"}}')
    return found
