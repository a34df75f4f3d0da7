"""Whether an experiment can be done as it is written, and what exactly is to be done. Pure.

The API server has checked the schema; here come the names and parameters of components, which only
the catalogue knows, and what a cluster needs beyond what `supreme run` needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from supreme_core.api.model import parse
from supreme_core.api.run import ExperimentOrder, SharedOrder
from supreme_core.api.v1alpha1 import ExperimentStatus, UnlearningExperiment
from supreme_core.catalog import Catalog
from supreme_core.cluster_spec import check_cluster_spec
from supreme_core.errors import SpecError
from supreme_core.plan import plan
from supreme_operator.observed import Experiment, Owner


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """An experiment that can be computed."""

    experiment: Experiment
    order: ExperimentOrder


def admit(
    body: Mapping[str, Any], catalog: Catalog, *, defaults: Mapping[str, Mapping[str, Any]]
) -> Admitted:
    """Read a resource as the API server gives it; SpecError says what cannot be done.

    defaults: fields of spec.execution and spec.storage that are taken where the experiment leaves
    them out, from the operator's settings.
    """
    metadata, spec = body["metadata"], dict(body.get("spec") or {})
    for section, values in defaults.items():
        spec[section] = {**values, **(spec.get(section) or {})}
    document = {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "metadata": {"name": metadata["name"]},
        "spec": spec,
    }
    read = parse(UnlearningExperiment, document)
    check_cluster_spec(read.spec)
    owner = Owner(metadata["namespace"], metadata["name"], metadata["uid"])
    order = plan(read, catalog, namespace=owner.namespace, uid=owner.uid)
    experiment = Experiment(
        owner=owner,
        spec=read.spec,
        generation=metadata.get("generation", 0),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
    )
    return Admitted(experiment=experiment, order=order)


def status_in(body: Mapping[str, Any]) -> ExperimentStatus:
    """The status that stands in the resource; an empty one where another version wrote it."""
    try:
        return parse(ExperimentStatus, body.get("status") or {})
    except SpecError:
        return ExperimentStatus()


def shared_order(experiment: Experiment, order: ExperimentOrder) -> SharedOrder:
    """What the pods of all seeds are told."""
    location = experiment.spec.storage
    return order.shared(
        store=location.uri or "", endpoint=location.endpoint, region=location.region
    )


def is_ours(body: Mapping[str, Any], manager: str) -> bool:
    """Whether this operator handles the resource: no other does, and it is not being deleted."""
    managed_by = (body.get("spec") or {}).get("managedBy")
    return managed_by in (None, "", manager) and "deletionTimestamp" not in body["metadata"]
