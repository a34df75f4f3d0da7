"""A child of several pods without anything but Kubernetes: an Indexed Job, in which torchrun meets
at the pod of index 0 through a headless Service.

Where the pods share out stages they do not meet, and the Job goes on without one that it loses.
"""

from typing import Final

from supreme_core.api import names
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_operator.children.backend import Backend, ChildOrder, name_of, shared_metadata
from supreme_operator.children.job import job_spec, observe_job
from supreme_operator.children.pod import pod_template
from supreme_operator.cluster.resources import JOBS, KubeObject
from supreme_operator.deciding.facts import Attempt, Owner

PORT: Final = 29400


def service(owner: Owner) -> KubeObject:
    """One for all children of an experiment: it gives each pod its name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": shared_metadata(owner, _service_name(owner)),
        "spec": {
            "clusterIP": "None",
            # Pods look for one another before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": {names.UID_LABEL: owner.uid},
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }


def _spec(owner: Owner, spec: ExperimentSpec, attempt: Attempt, order: ChildOrder) -> KubeObject:
    nodes, name = spec.execution.nodes, name_of(owner, attempt)
    meeting = {
        "PET_NNODES": str(nodes),
        "PET_NPROC_PER_NODE": str(spec.execution.processes),
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"{name}-0.{_service_name(owner)}:{PORT}",
        "PET_RDZV_ID": name,
    }
    template = pod_template(owner, spec, attempt, order, environment=meeting)
    template["spec"]["subdomain"] = _service_name(owner)
    losses = _losses(spec, attempt)
    return {**job_spec(template, pods=nodes, losses=losses), "completionMode": "Indexed"}


def _losses(spec: ExperimentSpec, attempt: Attempt) -> int:
    """Pods that may be lost while the others go on: as many as the seed has disruptions left, where
    its processes need not be together."""
    if spec.execution.nodes == 1 or not spec.execution.shares_stages(spec.training):
        return 0
    return max(0, spec.failure_policy.max_disruptions_per_seed - attempt.disruptions)


def _service_name(owner: Owner) -> str:
    return names.family_name(owner.name, owner.uid)


INDEXED_JOB: Final = Backend(
    name="IndexedJob",
    resource=JOBS,
    api_version="batch/v1",
    kind="Job",
    spec=_spec,
    observe=lambda body: observe_job(body, "IndexedJob"),
    service=service,
)
