"""Common part of every kind of child: how it is made, found and read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Any

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_operator.cluster.resources import Body, KubeObject, Resource
from supreme_operator.deciding.facts import Attempt, BackendName, Child, Owner
from supreme_operator.deciding.times import newest, time_of


@dataclass(frozen=True)
class ChildOrder:
    """Order to children: name of the ConfigMap with the shared order, digest of the work.

    has_user: whether their pods run as a user and group of ours, or as the platform says.
    """

    config_map: str
    work: str
    has_user: bool = True


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One kind of children.

    spec: the manifest's spec.  service: what all children of an experiment need beside them.
    observe: a child as it stands in the cluster, None where it is not one of this kind.
    """

    name: BackendName
    resource: Resource
    api_version: str
    kind: str
    spec: Callable[[Owner, ExperimentSpec, Attempt, ChildOrder], KubeObject]
    observe: Callable[[Body], Child | None]
    service: Callable[[Owner], KubeObject | None] = lambda owner: None

    def render(
        self, owner: Owner, spec: ExperimentSpec, attempt: Attempt, order: ChildOrder
    ) -> KubeObject:
        """The object to create."""
        made = self._made(owner, spec, attempt, order)
        made["metadata"]["annotations"][names.TEMPLATE_ANNOTATION] = self.template(
            owner, spec, order
        )
        return made

    def is_attempt(self, body: Body, owner: Owner, attempt: Attempt) -> bool:
        """Return whether an object is the child of that attempt, as far as nobody has changed what
        the operator had written on it."""
        labels = body["metadata"].get("labels") or {}
        return labels_of(owner, attempt).items() <= labels.items() and bool(self.observe(body))

    def template(self, owner: Owner, spec: ExperimentSpec, order: ChildOrder) -> str:
        """Names what children are made of, whatever their seed and attempt."""
        made = self._made(owner, spec, Attempt(seed=0, index=0), order)
        return digest({"labels": made["metadata"]["labels"], "spec": made["spec"]})[:16]

    def _made(
        self, owner: Owner, spec: ExperimentSpec, attempt: Attempt, order: ChildOrder
    ) -> KubeObject:
        """Kueue is told on the child alone, and spec.suspend is its own."""
        queue = spec.execution.scheduling
        wanted = {
            "kueue.x-k8s.io/queue-name": queue.queue_name,
            "kueue.x-k8s.io/priority-class": queue.workload_priority_class,
        }
        labels = {
            **spec.execution.template.labels,  # by which clusters count costs, of Jobs too
            **labels_of(owner, attempt),
            **{key: value for key, value in wanted.items() if value},
        }
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {
                "name": name_of(owner, attempt),
                "namespace": owner.namespace,
                "labels": labels,
                "annotations": {
                    names.RETRIES_ANNOTATION: str(attempt.retries),
                    names.DISRUPTIONS_ANNOTATION: str(attempt.disruptions),
                    names.WORK_ANNOTATION: order.work,
                    names.BACKEND_ANNOTATION: self.name,
                },
                "ownerReferences": owner_references(owner),
            },
            "spec": self.spec(owner, spec, attempt, order),
        }


def name_of(owner: Owner, attempt: Attempt) -> str:
    return names.child_name(
        owner.name,
        owner.uid,
        index=attempt.index,
        attempt=attempt.number,
        is_tuning=attempt.is_tuning,
    )


def shared_metadata(owner: Owner, name: str) -> KubeObject:
    """Metadata of objects that all children of an experiment share (ConfigMap, Service)."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {
            names.MANAGED_BY_LABEL: names.OPERATOR,
            names.EXPERIMENT_LABEL: owner.name,
            names.UID_LABEL: owner.uid,
        },
        "ownerReferences": owner_references(owner),
    }


def labels_of(owner: Owner, attempt: Attempt) -> dict[str, str]:
    """Labels of a child and of its pods."""
    return {
        names.MANAGED_BY_LABEL: names.OPERATOR,
        names.EXPERIMENT_LABEL: owner.name,
        names.UID_LABEL: owner.uid,
        names.SEED_LABEL: str(attempt.seed),
        names.INDEX_LABEL: str(attempt.index),
        names.ATTEMPT_LABEL: str(attempt.number),
        **({names.PART_LABEL: names.TUNING_PART} if attempt.is_tuning else {}),
    }


def owner_references(owner: Owner) -> list[KubeObject]:
    """Owner references, with which everything of an experiment goes when it does."""
    return [
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": owner.name,
            "uid": owner.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def identity(body: Body, name: BackendName, template: Body) -> dict[str, Any] | None:
    """The fields of a Child that every kind has, whose pods are made from the template; None where
    it is no child of this kind, or somebody has changed what the operator had written there."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if annotations.get(names.BACKEND_ANNOTATION) != name:
        return None
    seed = number_in(labels, names.SEED_LABEL)
    index = number_in(labels, names.INDEX_LABEL)
    number = number_in(labels, names.ATTEMPT_LABEL)
    retries = number_in(annotations, names.RETRIES_ANNOTATION)
    disruptions = number_in(annotations, names.DISRUPTIONS_ANNOTATION)
    if seed is None or index is None or number is None or retries is None or disruptions is None:
        return None
    return {
        "kind": name,
        "uid": metadata["uid"],
        "name": metadata["name"],
        "owner": controller_of(body),
        "attempt": Attempt(
            seed=seed,
            index=index,
            is_tuning=labels.get(names.PART_LABEL) == names.TUNING_PART,
            number=number,
            retries=retries,
            disruptions=disruptions,
        ),
        "work": annotations.get(names.WORK_ANNOTATION, ""),
        "created_at": time_of(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        "template": annotations.get(names.TEMPLATE_ANNOTATION, ""),
        "changed_at": newest(
            metadata.get("creationTimestamp"),
            status.get("startTime"),
            *(each.get("lastTransitionTime") for each in status.get("conditions") or ()),
        ),
        "gone_by": time_of(metadata.get("deletionTimestamp")),
        "finalizers": metadata.get("finalizers") or (),
        "order": _order_in(template),
    }


def waits_since(body: Body, *, is_suspended: bool) -> datetime | None:
    """See `Child.waits_since`."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    suspended = next((each for each in conditions if each.get("type") == "Suspended"), None)
    if (suspended is not None and suspended.get("status") == "True") != is_suspended:
        return None
    held = suspended.get("lastTransitionTime") if suspended else None
    return newest(body["metadata"].get("creationTimestamp"), held)


def _order_in(template: Body) -> str:
    volumes = (template.get("spec") or {}).get("volumes") or ()
    sources = (
        each.get("configMap") or {} for each in volumes if each.get("name") == names.ORDER_VOLUME
    )
    # All children of an experiment have the same few.
    return next((intern(str(each.get("name", ""))) for each in sources), "")


def number_in(texts: Mapping[str, str], key: str) -> int | None:
    """Number that the operator wrote, if nobody has changed it to something else."""
    text = texts.get(key, "")
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None


def controller_of(body: Body) -> str:
    """uid of the object that controls this one, or ""."""
    references = body["metadata"].get("ownerReferences") or ()
    return next((str(each.get("uid", "")) for each in references if each.get("controller")), "")


def true_condition(body: Body, type_: str) -> Mapping[str, Any] | None:
    """A condition of the object's status that holds."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    for each in conditions:
        if each.get("type") == type_ and each.get("status") == "True":
            found: Mapping[str, Any] = each
            return found
    return None
