"""Kinds of children: how an attempt at a seed becomes Kubernetes objects, one file for each."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_operator.children.backend import Backend
from supreme_operator.children.indexed_job import INDEXED_JOB
from supreme_operator.children.job import JOB
from supreme_operator.children.pytorchjob import PYTORCHJOB
from supreme_operator.cluster.resources import Body
from supreme_operator.deciding.facts import BackendName, Child

BACKENDS: Final[Mapping[BackendName, Backend]] = {
    backend.name: backend for backend in (JOB, INDEXED_JOB, PYTORCHJOB)
}


def readers() -> dict[str, Callable[[Body], Child | None]]:
    """Readers of children, by the plural of their resource; Jobs are of two kinds."""
    return {
        plural: partial(_read, plural) for plural in {b.resource.plural for b in BACKENDS.values()}
    }


def choose(spec: ExperimentSpec, served: Collection[str]) -> BackendName:
    """The kind of child that an experiment's attempts become.

    served: kinds that the API server knows, of which Auto takes PyTorchJob for ranks on several
    nodes. Processes that share out stages need nobody to bring them together, and an IndexedJob
    goes on without a pod that it has lost.
    """
    execution = spec.execution
    if execution.backend != "Auto":
        return execution.backend
    if execution.nodes == 1:
        return "Job"
    has_ranks = not execution.shares_stages(spec.training)
    return "PyTorchJob" if has_ranks and "PyTorchJob" in served else "IndexedJob"


def _read(plural: str, body: Body) -> Child | None:
    kinds = (backend for backend in BACKENDS.values() if backend.resource.plural == plural)
    return next((child for kind in kinds if (child := kind.observe(body))), None)
