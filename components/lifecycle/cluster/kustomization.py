"""What a cluster needs before it can train, as plain YAML for whoever runs it.

``python -m shipway.components.lifecycle.cluster.kustomization manifests/training`` writes the directory anew; a test
compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from shipway.components.lifecycle.cluster.manifests import GROUP, LABELS, training_runtime
from shipway.components.lifecycle.cluster.pods import SERVICE_ACCOUNT

__all__ = ["SUBMITTER", "access", "write_manifests"]

SUBMITTER = "shipway-train-submitter"
"""Who submits TrainJobs: the ServiceAccount of the pipeline's step, or a subject to add to the RoleBinding."""

_IMAGES = {"pytorch": "shipway/pytorch:0.1.0", "tensorflow": "shipway/tensorflow:0.1.0"}
_HEADER = "# Made by shipway.components.lifecycle.cluster.kustomization; change it there, or in an overlay.\n"


def access() -> list[dict[str, Any]]:
    """Returns who trains, who submits, and all that the latter may do."""
    rules = [
        {"apiGroups": [GROUP], "resources": ["trainjobs"], "verbs": ["create", "delete", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SUBMITTER}
    return [
        {**_object("v1", "ServiceAccount", SERVICE_ACCOUNT), "automountServiceAccountToken": False},
        _object("v1", "ServiceAccount", SUBMITTER),
        {**_object("rbac.authorization.k8s.io/v1", "Role", SUBMITTER), "rules": rules},
        {
            **_object("rbac.authorization.k8s.io/v1", "RoleBinding", SUBMITTER),
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": SUBMITTER}],
        },
    ]


def write_manifests(directory: str | Path) -> list[Path]:
    """Writes the directory: the TrainingRuntimes, the access, and the kustomization that names them.

    Args:
        directory: Made where it is missing; files of these names in it are replaced.

    Returns:
        The files.
    """
    documents: dict[str, list[dict[str, Any]]] = {"access.yaml": access()}
    for framework, image in _IMAGES.items():
        documents[f"runtime-{framework}.yaml"] = [training_runtime(framework, image)]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [*documents],
    }
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    for name, objects in {"kustomization.yaml": [kustomization], **documents}.items():
        text = yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=120)
        (root / name).write_text(_HEADER + text, encoding="utf-8")
    return [root / "kustomization.yaml", *(root / name for name in documents)]


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML calls it so
        return True


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": dict(LABELS)}}


if __name__ == "__main__":
    write_manifests(sys.argv[1])
