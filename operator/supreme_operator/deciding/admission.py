"""Admit an experiment that can be done as it is written, and say what exactly is to be done. Pure.

The API server has checked the schema; here come the names and parameters of components, which only
the catalogue knows, and what a cluster needs beyond what `supreme run` needs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.orders import ExperimentOrder, SharedOrder
from supreme_core.api.status import ExperimentStatus
from supreme_core.api.v1alpha1 import ExperimentSpec, UnlearningExperiment
from supreme_core.checking.cluster_spec import check_cluster_spec
from supreme_core.errors import SpecError
from supreme_core.plan import plan
from supreme_core.registry.catalog import Catalog
from supreme_operator.deciding.facts import Experiment, Owner
from supreme_operator.deciding.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """An experiment that can be computed.

    refusal: why the rest of what it asks for cannot be done, where this is only what was accepted.
    """

    experiment: Experiment
    order: ExperimentOrder
    refusal: str = ""


@dataclass(frozen=True)
class NotAccepted:
    """An experiment that cannot be done.

    methods: titles of those that were accepted before; None where that is not known.
    """

    reason: str
    methods: Sequence[str] | None


def admit(
    body: Mapping[str, Any],
    catalog: Catalog,
    *,
    defaults: Mapping[str, Mapping[str, Any]],
    policy: Policy | None = None,
) -> Admitted:
    """Read a resource as the API server gives it; SpecError says what cannot be done.

    defaults: fields of spec.execution and spec.storage that are taken where the experiment leaves
    them out, from the operator's settings.  policy: what is allowed; None allows everything.
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
    pods = pod_digest(read.spec)
    violations = list(policy.violations(read.spec, owner.namespace)) if policy else []
    if violations and not _was_accepted(body, pods):
        raise SpecError("\n".join(violations))
    experiment = Experiment(
        owner=owner,
        spec=read.spec,
        pod_digest=pods,
        violations=violations,
        generation=metadata.get("generation", 0),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
    )
    return Admitted(experiment=experiment, order=order)


def pod_digest(spec: ExperimentSpec) -> str:
    """Digest of what the experiment itself sets on its pods, as far as an installation may forbid
    it."""
    template, scheduling = spec.execution.template, spec.execution.scheduling
    said = {
        "labels": template.labels,
        "annotations": template.annotations,
        "env": template.env,
        "volumes": template.volumes,
        "volumeMounts": template.volume_mounts,
        "priorityClassName": scheduling.priority_class_name,
    }
    try:
        return digest(said)
    except ValueError as error:
        raise SpecError(f"spec.execution.template: {error}") from None


def _was_accepted(body: Mapping[str, Any], pods: str) -> bool:
    """Return whether these pods were accepted before the installation forbade something of them.

    A version that did not note the digest has accepted the generation that its condition names.
    """
    status = status_in(body)
    if status.pod_digest is not None:
        return status.pod_digest == pods
    accepted = next((each for each in status.conditions if each.type == "Accepted"), None)
    return (
        accepted is not None
        and accepted.status == "True"
        and accepted.observed_generation == body["metadata"].get("generation", 0)
    )


def admit_accepted(
    body: Mapping[str, Any],
    catalog: Catalog,
    *,
    defaults: Mapping[str, Mapping[str, Any]],
    policy: Policy | None = None,
    methods: Collection[str],
    refusal: str,
) -> Admitted | None:
    """Admit the accepted part of an experiment that cannot be done as a whole, so that a method
    that is added by a wrong name holds up no other; None where nothing was, or what is wrong is not
    added.

    methods: titles of the accepted ones.
    """
    spec = body["spec"]
    kept = [each for each in spec["methods"] if (each.get("label") or each["name"]) in methods]
    if not kept or len(kept) == len(spec["methods"]):
        return None
    part = {**body, "spec": {**spec, "methods": kept}}
    try:
        rest = admit(part, catalog, defaults=defaults, policy=policy)
    except SpecError:
        return None
    return replace(rest, refusal=refusal)


def status_in(body: Mapping[str, Any]) -> ExperimentStatus:
    """The status that stands in the resource, without what only a newer version knows; an empty one
    where what this version knows is not as it writes it."""
    status = body.get("status") or {}
    try:
        return ExperimentStatus.model_validate(status, extra="ignore", by_alias=True, by_name=False)
    except ValidationError:
        return ExperimentStatus()


def shared_order(experiment: Experiment, order: ExperimentOrder) -> SharedOrder:
    """Order to the pods of all seeds."""
    location = experiment.spec.storage
    spec = experiment.spec
    shares_stages = spec.execution.shares_stages(spec.training)
    return order.shared(
        shares_stages=shares_stages,
        forms_teams=shares_stages and spec.execution.forms_teams(spec.training),
        store=location.uri or "",
        endpoint=location.endpoint,
        region=location.region,
    )


def is_ours(body: Mapping[str, Any], manager: str) -> bool:
    """Return whether this operator handles the resource: no other does, and it is not being
    deleted."""
    managed_by = (body.get("spec") or {}).get("managedBy")
    return managed_by in (None, "", manager) and "deletionTimestamp" not in body["metadata"]
