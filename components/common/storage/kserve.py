"""What KServe needs to read a model from where a profile reaches it: Secret, ServiceAccount and ``storageUri``.

The names are those of KServe 0.21's ``pkg/credentials``: ``s3/s3_secret.go`` for the annotations, ``s3/utils.go`` for
their values, ``service_account_credentials.go`` for how a pod's ServiceAccount leads to them.

Credentials are in none of the manifests. ``kubectl`` takes them, out of the files that the profile takes them from,
straight into the cluster.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from shipway.components.common.errors import InputError
from shipway.components.common.storage.profiles import Profile, profile_for
from shipway.components.common.storage.uris import parse_uri, shown
from shipway.components.common.storage.variables import GS_KEY, S3_KEY_PAIRS, is_file, key_text, settings_of

__all__ = ["model_uri", "profile_of_secret", "service_account", "storage_secret", "write_kustomization"]

_LOG = logging.getLogger(__name__)
_PREFIX = "serving.kserve.io/s3-"
# By the variable that KServe's controller makes of it.
_ANNOTATIONS = {
    "S3_ENDPOINT": f"{_PREFIX}endpoint",
    "S3_USE_HTTPS": f"{_PREFIX}usehttps",
    "S3_VERIFY_SSL": f"{_PREFIX}verifyssl",
    "AWS_DEFAULT_REGION": f"{_PREFIX}region",
    "S3_USER_VIRTUAL_BUCKET": f"{_PREFIX}usevirtualbucket",
    "awsAnonymousCredential": f"{_PREFIX}useanoncredential",
    "AWS_CA_BUNDLE": f"{_PREFIX}cabundle",
    "AWS_CA_BUNDLE_CONFIGMAP": f"{_PREFIX}cabundle-configmap",
}
_ROLES = {"s3": "eks.amazonaws.com/role-arn", "gs": "iam.gke.io/gcp-service-account"}
_LABELS = {"app.kubernetes.io/managed-by": "shipway"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def model_uri(uri: str) -> str:
    """Returns the ``storageUri`` by which KServe finds a directory, or over ``https://`` one archive.

    Of S3 and gs it ends with a slash: KServe takes it for the beginning of names, and ``m/v1`` would bring ``m/v10``
    as well.

    Raises:
        InputError: When KServe's pods could not read from there.
    """
    parsed = parse_uri(uri)
    if parsed.scheme == "file":
        raise InputError(
            f"{shown(str(parsed))}: a cluster's pods do not see the files of this machine; publish the model to s3://,"
            " gs:// or pvc:// and deploy that"
        )
    if parsed.scheme in ("http", "https"):
        if not parsed.key.partition("?")[0].rpartition("/")[2]:
            raise InputError(f"{shown(str(parsed))}: over {parsed.scheme}:// KServe fetches one archive; name a file")
        return str(parsed)
    if parsed.scheme == "pvc":
        return str(parsed)
    if not parsed.key:
        raise InputError(f"{parsed.root} is a whole bucket; name the model's directory in it")
    return f"{parsed}/"


def storage_secret(name: str, uri: str, namespace: str = "") -> dict[str, Any]:
    """Returns the manifest of the Secret by which KServe reaches a URI, without data.

    Applied on the server's side (``kubectl apply --server-side``) it gives the annotations to a Secret whose data
    comes from elsewhere. Where the profile has certificates of its own, they are named as the ConfigMap ``NAME-ca``,
    key ``cabundle.crt``. :func:`write_kustomization` makes all of it.

    Args:
        name: Of the Secret.
        uri: Of the model, or of its bucket.
        namespace: Of the InferenceService; "" for kubectl's current one.

    Raises:
        InputError: When no Secret of KServe's leads there, or the profile or a name is wrong.
    """
    return _manifest("Secret", name, namespace, _annotations(name, uri), type="Opaque")


def service_account(name: str, uri: str, secret: str = "", role: str = "", namespace: str = "") -> dict[str, Any]:
    """Returns the manifest of the ServiceAccount for an InferenceService's ``predictor.serviceAccountName``.

    Args:
        name: Of the ServiceAccount.
        uri: Of the model, or of its bucket.
        secret: The Secret that it leads to; "" for none.
        role: Who the pods are instead, without any key: the ARN of an AWS role, for S3; the e-mail address of a
            Google service account, for gs.
        namespace: Of the InferenceService; "" for kubectl's current one.

    Raises:
        InputError: As :func:`storage_secret`, and when both a Secret and a role are given.
    """
    if secret and role:
        raise InputError("a ServiceAccount has a role or leads to a Secret; give one of the two")
    annotations = {_ROLES[_scheme(uri)]: role, **_annotations(name, uri)} if role else {}
    rest = {"secrets": [{"name": _checked_name(secret)}]} if secret else {}
    return _manifest("ServiceAccount", name, namespace, annotations, **rest)


def write_kustomization(directory: str | Path, uri: str, name: str, namespace: str = "", role: str = "") -> str:
    """Writes a directory from which kubectl makes Secret, ServiceAccount and, for certificates, a ConfigMap.

    It says which files the credentials are in and has none of them, so it may be kept with other manifests.

    Args:
        directory: Made where it is missing; ``kustomization.yaml`` and ``service-account.yaml`` in it are replaced.
        uri: Of the model, or of its bucket.
        name: Of Secret and ServiceAccount; the ConfigMap's is ``NAME-ca``.
        namespace: Of the InferenceService; "" for kubectl's current one.
        role: As of :func:`service_account`; then there is no Secret.

    Returns:
        The command that applies it. It applies on the server's side, else kubectl would keep a copy of the
        credentials in an annotation of the Secret.

    Raises:
        InputError: As :func:`storage_secret`, and when the profile's credentials are in no files that a Secret can be
            made of.
    """
    directory, profile = Path(directory).absolute(), profile_for(uri)
    content = {} if role else _secret_content(uri, profile)
    account = service_account(name, uri, name if content else "", role, namespace)
    kustomization: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if namespace:
        kustomization["namespace"] = namespace
    kustomization["resources"] = ["service-account.yaml"]
    files = [Path(file.partition("=")[2]) for file in content.get("files", [])]
    if content:
        kustomization["secretGenerator"] = [_generator(name, content, annotations=_annotations(name, uri))]
    if profile.ca_bundle and _scheme(uri) == "s3":
        files.append(Path(profile.ca_bundle).absolute())
        kustomization["configMapGenerator"] = [_generator(f"{name}-ca", {"files": [f"cabundle.crt={files[-1]}"]})]
    directory.mkdir(parents=True, exist_ok=True)
    for file, document in (("kustomization.yaml", kustomization), ("service-account.yaml", account)):
        (directory / file).write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    where = shlex.quote(str(directory))
    if all(path.resolve().is_relative_to(directory.resolve()) for path in files):
        return f"kubectl apply --server-side -k {where}"
    # Kustomize reads files outside its directory only when told so, and `kubectl apply` cannot tell it.
    return f"kubectl kustomize --load-restrictor LoadRestrictionsNone {where} | kubectl apply --server-side -f -"


def profile_of_secret(manifest: Mapping[str, Any], ca_bundle: str = "") -> Profile:
    """Returns the profile that KServe's controller makes of a Secret, or of a ServiceAccount with a role.

    An annotation goes before a key of the data with the name of its variable, as in ``getEnvValue`` of
    ``s3/utils.go``.

    Args:
        manifest: As ``kubectl get -o json`` tells it, with ``data``, ``stringData`` or neither.
        ca_bundle: The file on this machine with the certificates that the Secret speaks of; "" when it does not.

    Raises:
        InputError: When it is no such manifest, or speaks of certificates and ``ca_bundle`` is missing; without any
            value of its data.
    """
    metadata = manifest.get("metadata") or {}
    where = f"the {manifest.get('kind')} {metadata.get('name', '')}".rstrip()
    if manifest.get("kind") not in ("Secret", "ServiceAccount"):
        raise InputError(f"{where} is neither a Secret nor a ServiceAccount; give one, as kubectl get -o json tells it")
    keys = _secret_keys(manifest, where)
    if GS_KEY in keys:
        raise InputError(f"{where} is for gs://, whose credentials are a file: mount it, and set credentials to where")
    if "https-host" in keys:
        return Profile(**settings_of("https", keys, where))
    variables = {**keys, "AWS_CA_BUNDLE_CONFIGMAP": keys.get("AWS_CA_BUNDLE_CONFIGMAP", "")}
    for variable, annotation in _ANNOTATIONS.items():
        if annotation in (metadata.get("annotations") or {}):
            variables[variable] = str(metadata["annotations"][annotation])
    if variables.get("AWS_CA_BUNDLE") or variables["AWS_CA_BUNDLE_CONFIGMAP"]:
        if not ca_bundle:
            raise InputError(f"{where} speaks of certificates; give the file that has them on this machine (ca_bundle)")
        variables["AWS_CA_BUNDLE"] = ca_bundle
    return Profile(**settings_of("s3", variables, where))


def _scheme(uri: str) -> str:
    scheme = parse_uri(uri).scheme
    if scheme in _ROLES:
        return scheme
    reason = (
        "KServe would write its headers, and so the token, into the pod's manifest; publish the model to s3:// or gs://"
        if scheme in ("http", "https")
        else "there is nothing to log in to"
    )
    raise InputError(f"{shown(uri)}: no Secret for {scheme}://: {reason}")


def _annotations(name: str, uri: str) -> dict[str, str]:
    profile = profile_for(uri)
    _warn(uri, profile)
    if _scheme(uri) != "s3":
        return {}
    values: dict[str, str] = {}
    if profile.endpoint_url:
        endpoint = urlsplit(profile.endpoint_url)
        values = {"S3_ENDPOINT": endpoint.netloc + endpoint.path, "S3_USE_HTTPS": str(int(endpoint.scheme == "https"))}
    values["S3_VERIFY_SSL"] = str(int(profile.verify_tls))
    if profile.region:
        values["AWS_DEFAULT_REGION"] = profile.region
    if profile.addressing_style == "virtual":
        values["S3_USER_VIRTUAL_BUCKET"] = "true"
    if profile.anonymous:
        values["awsAnonymousCredential"] = "true"
    if profile.ca_bundle:
        values["AWS_CA_BUNDLE_CONFIGMAP"] = f"{name}-ca"
    return {_ANNOTATIONS[variable]: value for variable, value in values.items()}


def _warn(uri: str, profile: Profile) -> None:
    lost = ["proxy"] if profile.proxy else []
    if _scheme(uri) == "gs":
        lost += ["endpoint_url"] if profile.endpoint_url else []
        lost += ["ca_bundle"] if profile.ca_bundle else []
    if lost:
        _LOG.warning("%s: KServe's Secrets have no place for %s; it goes without", shown(uri), " and ".join(lost))


def _generator(name: str, content: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    return {"name": name, **content, "options": {"disableNameSuffixHash": True, "labels": dict(_LABELS), **options}}


def _secret_content(uri: str, profile: Profile) -> dict[str, list[str]]:
    """Returns what of a secretGenerator makes its data; nothing where KServe needs no Secret."""
    if _scheme(uri) == "gs":
        if profile.anonymous:
            return {}
        files = {GS_KEY: Path(profile.credentials_file)} if profile.credentials_file else {}
    elif profile.anonymous:
        # KServe knows a Secret of S3 by these keys, whatever they hold.
        return {"literals": ["AWS_ACCESS_KEY_ID=anonymous", "AWS_SECRET_ACCESS_KEY=anonymous"]}
    else:
        files = _s3_files(profile.credentials)
    if not files:
        raise InputError(
            f"{shown(uri)}: its profile takes no credentials from files, and a Secret must be made of files; name them"
            " (credentials: /path/of/directory), or give the pods a role"
        )
    if profile.session_token:
        raise InputError(f"{shown(uri)}: KServe takes no session token; use keys without one, or give the pods a role")
    return {"files": [f"{key}={path.absolute()}" for key, path in files.items()]}


def _s3_files(source: str) -> dict[str, Path]:
    for pair in S3_KEY_PAIRS:
        paths = [Path(source, name) for name in pair]
        if source and all(is_file(path) for path in paths):
            for path in paths:
                if path.read_bytes() != key_text(path).encode():
                    raise InputError(
                        f"{path} has blanks or a line's end round the key, which KServe would send; cut them"
                    )
            return dict(zip(S3_KEY_PAIRS[0], paths, strict=True))
    return {}


def _secret_keys(manifest: Mapping[str, Any], where: str) -> dict[str, str]:
    try:
        encoded = (manifest.get("data") or {}).items()
        data = {key: base64.b64decode(text, validate=True).decode() for key, text in encoded}
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
        raise InputError(f"{where}: its data is not text in base64; take it as kubectl get -o json tells it") from None
    return {**data, **(manifest.get("stringData") or {})}


def _manifest(kind: str, name: str, namespace: str, annotations: Mapping[str, str], **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": _checked_name(name)}
    if namespace:
        metadata["namespace"] = _checked_name(namespace)
    metadata["labels"] = dict(_LABELS)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name anything in a cluster; take up to 63 of a-z, 0-9 and -")
    return name
