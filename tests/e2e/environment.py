"""This Python environment in pods: the folders that it needs, mounted where they are here.

A pod of such volumes runs what the tests run, without an image of several GB being built. They come
through a claim, because an experiment may not mount a node's folders itself.
"""

import os
import sys
from pathlib import Path
from typing import Any

from kubernetes import client

from tests.cluster.processes import eventually

CLAIM = "environment"
ALLOWED = {"allowed_env": "*", "allowed_mount_paths": "/*"}
"""Settings of an operator that lets experiments have it."""


def mounted(api: client.ApiClient, namespace: str) -> dict[str, Any]:
    """Makes the claim, and returns what pods of the namespace need of spec.execution.template:
    volumes, volumeMounts, env."""
    core = client.CoreV1Api(api)
    size = {"storage": "1Gi"}
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    name = _volume(namespace)
    core.create_persistent_volume(
        {
            "metadata": {"name": name},
            "spec": common
            | {
                "capacity": size,
                "hostPath": {"path": "/"},
                "claimRef": {"namespace": namespace, "name": CLAIM},
                "persistentVolumeReclaimPolicy": "Retain",
            },
        }
    )
    core.create_namespaced_persistent_volume_claim(
        namespace,
        {
            "metadata": {"name": CLAIM},
            "spec": common | {"volumeName": name, "resources": {"requests": size}},
        },
    )
    eventually(lambda: _bound(core, namespace))
    return {
        "volumes": [
            {"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}}
        ],
        "volumeMounts": [
            {
                "name": CLAIM,
                "mountPath": str(folder),
                "subPath": str(folder.resolve().relative_to("/")),
                "readOnly": True,
            }
            for folder in _folders()
        ],
        "env": [{"name": name, "value": value} for name, value in _variables().items()],
    }


def forget(api: client.ApiClient, namespace: str) -> None:
    """Removes what outlives the namespace."""
    volume = f"metadata.name={_volume(namespace)}"
    client.CoreV1Api(api).delete_collection_persistent_volume(field_selector=volume)


def _bound(core: client.CoreV1Api, namespace: str) -> bool:
    claim = core.read_namespaced_persistent_volume_claim_status(CLAIM, namespace)
    return claim.status.phase == "Bound"


def _volume(namespace: str) -> str:
    return f"{CLAIM}-{namespace}"


def _folders() -> list[Path]:
    """Return the folders that must be visible, without those that lie in another."""
    found = {Path("/usr"), Path(sys.base_prefix), *(Path(entry).absolute() for entry in sys.path)}
    python = Path(sys.prefix, "bin", "python")
    found.add(python.parents[1])
    while python.is_symlink():
        python = python.parent / python.readlink()
        found.add(python.parents[1])
    found = {folder for folder in found if folder.is_dir()}
    return sorted(folder for folder in found if not found & set(folder.parents))


def _variables() -> dict[str, str]:
    variables = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    passed_on = ("PYTHONPATH", "ONEDNN_MAX_CPU_ISA")
    return variables | {name: os.environ[name] for name in passed_on if name in os.environ}
