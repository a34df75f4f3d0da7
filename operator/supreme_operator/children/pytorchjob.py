"""A child as a PyTorchJob of Kubeflow's training operator, version 1.

Workers only: a Master would bring an init container that restricted Pod Security refuses. They
meet by c10d, all or none. Its own retries are off, because it counts them otherwise than we do.
"""

from collections.abc import Mapping
from typing import Any, Final

from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_operator.children.backend import (
    Backend,
    ChildOrder,
    identity,
    true_condition,
    waits_since,
)
from supreme_operator.children.pod import pod_template
from supreme_operator.cluster.resources import PYTORCHJOBS, Body, KubeObject
from supreme_operator.deciding.facts import Attempt, Child, ChildState, Owner
from supreme_operator.deciding.times import time_of


def observe(body: Body) -> Child | None:
    spec: Mapping[str, Any] = body.get("spec") or {}
    asked = (spec.get("pytorchReplicaSpecs") or {}).get("Worker") or {}
    known = identity(body, "PyTorchJob", asked.get("template") or {})
    if known is None:
        return None
    is_suspended = bool((spec.get("runPolicy") or {}).get("suspend"))
    if done := true_condition(body, "Succeeded"):
        finished = time_of(done.get("lastTransitionTime"))
        return Child(**known, state=ChildState.SUCCEEDED, finished_at=finished)
    if failed := true_condition(body, "Failed"):
        return Child(
            **known,
            state=ChildState.FAILED,
            finished_at=time_of(failed.get("lastTransitionTime")),
            reason=failed.get("reason") or "",
            message=failed.get("message") or "",
            is_suspended=is_suspended,
        )
    since = waits_since(body, is_suspended=is_suspended)
    if is_suspended:
        return Child(**known, state=ChildState.SUSPENDED, is_suspended=True, waits_since=since)
    status: Mapping[str, Any] = body.get("status") or {}
    there = (status.get("replicaStatuses") or {}).get("Worker") or {}
    is_running = (there.get("active") or 0) + (there.get("succeeded") or 0) >= (
        asked.get("replicas") or 1
    )
    state = ChildState.RUNNING if is_running else ChildState.WAITING
    return Child(**known, state=state, waits_since=since)


def _spec(owner: Owner, spec: ExperimentSpec, attempt: Attempt, order: ChildOrder) -> KubeObject:
    nodes = spec.execution.nodes
    return {
        "nprocPerNode": str(spec.execution.processes),
        "runPolicy": {"cleanPodPolicy": "Running"},
        "elasticPolicy": {
            "minReplicas": nodes,
            "maxReplicas": nodes,
            "rdzvBackend": "c10d",
            "maxRestarts": 0,
        },
        "pytorchReplicaSpecs": {
            "Worker": {
                "replicas": nodes,
                "restartPolicy": "Never",
                "template": pod_template(owner, spec, attempt, order, environment={}),
            }
        },
    }


PYTORCHJOB: Final = Backend(
    name="PyTorchJob",
    resource=PYTORCHJOBS,
    api_version="kubeflow.org/v1",
    kind="PyTorchJob",
    spec=_spec,
    observe=observe,
)
