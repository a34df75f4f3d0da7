"""Writer of the children of an experiment: makes and deletes them as it was decided.

Idempotent, because names of children follow from the seed and the attempt.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from supreme_core.errors import SpecError
from supreme_operator.children import BACKENDS, choose
from supreme_operator.children.backend import ChildOrder
from supreme_operator.children.order import order_config_map
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import (
    AlreadyExists,
    Cluster,
    ClusterError,
    Forbidden,
    NotFound,
    Refused,
    Unavailable,
)
from supreme_operator.cluster.resources import CONFIG_MAPS, SERVICES, Resource
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.admission import shared_order
from supreme_operator.deciding.decide import Decision
from supreme_operator.deciding.facts import Attempt, Child, Experiment, Trouble
from supreme_operator.deciding.parts import CurrentPart
from supreme_operator.deciding.standing import Seen, Standing
from supreme_operator.deciding.waiting import is_webhooks, refusal
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.reconcile.memory import Memory

log = logging.getLogger(__name__)

UNANSWERED: Final = timedelta(seconds=5)
"""Time for which nothing can be created, because the server or a webhook of it is away, before
the status says so; the queue tries again by itself."""


@dataclass(kw_only=True)
class ChildWriter:
    """Writer of children.  served: kinds of them that the API server knows.

    has_user: whether pods run as a user and group of ours, see `ChildOrder`.
    """

    cluster: Cluster
    cache: Cache
    metrics: Metrics
    queue: WorkQueue[Key]
    has_user: bool
    served: set[str] = field(default_factory=lambda: {"Job", "IndexedJob"})

    def template(self, memory: Memory, experiment: Experiment, part: CurrentPart) -> str:
        """Digest of what a child would be made of now, computed once for each generation; "" where
        none can be made yet."""
        if not part.is_known:
            return ""
        kind = choose(experiment.spec, self.served)
        made_of = (experiment.generation, kind, part.work)
        if memory.template is None or memory.template[0] != made_of:
            try:
                _, order = self._order(experiment, part)
                digest = BACKENDS[kind].template(experiment.owner, experiment.spec, order)
            except SpecError:  # an order that no ConfigMap holds; said when a child is to be made
                digest = ""
            memory.template = made_of, digest
        return memory.template[1]

    async def delete_all(
        self, memory: Memory, seen: Seen, decision: Decision
    ) -> ClusterError | None:
        """Return the first error: a child that cannot be deleted holds up no other."""
        failed: list[ClusterError] = []
        for child in decision.delete:
            try:
                await self._delete(child, seen.experiment)
            except ClusterError as error:
                failed.append(error)
        lasting = next(filter(_lasts, failed), None)
        trouble = None
        if lasting:
            trouble = Trouble(
                reason="ChildNotDeleted",
                message=str(lasting),
                retry_at=self.cluster.clock.now(),
            )
        memory.observations = replace(memory.observations, deletion=trouble)
        return failed[0] if failed else None

    async def create_all(self, memory: Memory, seen: Seen, decision: Decision) -> None:
        before = {each.cost.seed: each for each in decision.standings}
        for attempt in decision.create:
            try:
                trouble = await self._create(memory, seen, attempt, before[attempt.seed])
            except Unavailable as error:
                self._unanswered(memory, error)
                raise
            memory.unanswered_since = None
            if trouble or memory.observations.creation:
                memory.observations = replace(memory.observations, creation=trouble)
                owner = seen.experiment.owner
                self.queue.add(Key(owner.namespace, owner.name))
            if trouble:
                return
            memory.pauses.pop("creation", None)

    async def _delete(self, child: Child, experiment: Experiment) -> None:
        resource = BACKENDS[child.kind].resource
        namespace = experiment.owner.namespace
        await self.cluster.delete(resource, namespace, child.name, uid=child.uid)
        log.info(
            "child deleted",
            extra={
                "namespace": namespace,
                "experiment": experiment.owner.name,
                "child": child.name,
            },
        )

    def _order(
        self, experiment: Experiment, part: CurrentPart
    ) -> tuple[dict[str, Any], ChildOrder]:
        """The ConfigMap of what all children are told, and what each is told of it."""
        made = order_config_map(experiment.owner, shared_order(experiment, part.order))
        return made, ChildOrder(made["metadata"]["name"], part.work, self.has_user)

    def _unanswered(self, memory: Memory, error: Unavailable) -> None:
        """Have it said once it has lasted."""
        now = self.cluster.clock.now()
        memory.unanswered_since = memory.unanswered_since or now
        if now >= memory.unanswered_since + UNANSWERED:
            reason = "WebhookUnavailable" if is_webhooks(str(error)) else "CreationUnanswered"
            trouble = Trouble(reason=reason, message=str(error), retry_at=now)
            memory.observations = replace(memory.observations, creation=trouble)

    async def _create(
        self, memory: Memory, seen: Seen, attempt: Attempt, before: Standing
    ) -> Trouble | None:
        """Create a child and what it needs; a Trouble says why it cannot be for now.

        before: where the seed stood until now.
        """
        experiment = seen.experiment
        backend = BACKENDS[choose(experiment.spec, self.served)]
        try:
            config_map, order = self._order(experiment, seen.part)
            await self._ensure(memory, CONFIG_MAPS, config_map)
            if service := backend.service(experiment.owner):
                await self._ensure(memory, SERVICES, service)
            manifest = backend.render(experiment.owner, experiment.spec, attempt, order)
            made = await self._ensure(memory, backend.resource, manifest)
            if made and not backend.is_attempt(made.body, experiment.owner, attempt):
                # Else it would be made again at once, and again, at the rate of all writes.
                raise ChildConflict(
                    f"{backend.resource.title} {manifest['metadata']['name']} is there, and its"
                    " labels or annotations are not what the operator wrote; delete it"
                )
        except ChildConflict as error:
            return self._trouble(memory, "ChildConflict", error)
        except NotFound as error:
            if known := refusal(str(error)):
                return self._trouble(memory, known, error)
            message = f"the API server knows no {backend.resource.title}"
            return self._trouble(memory, "BackendUnavailable", message)
        except (Forbidden, Refused, SpecError) as error:
            reason = refusal(str(error)) or "ChildRefused"
            return self._trouble(memory, reason, error)
        if made:
            self.cache.of_kind(backend.resource.plural).put(made.body)
            # Its event brings no news any more.
            self.queue.add(Key(experiment.owner.namespace, experiment.owner.name))
        if made and made.is_new:
            self.metrics.created(
                experiment.owner.namespace,
                backend.name,
                retried=before.reason if attempt.retries > before.cost.retries else None,
                disrupted=before.reason if attempt.disruptions > before.cost.disruptions else None,
            )
            log.info(
                "child created",
                extra={
                    "namespace": experiment.owner.namespace,
                    "experiment": experiment.owner.name,
                    "child": manifest["metadata"]["name"],
                    "seed": attempt.seed,
                    "attempt": attempt.number,
                },
            )
        return None

    def _trouble(self, memory: Memory, reason: str, why: object) -> Trouble:
        return memory.trouble("creation", reason, why, self.cluster.clock.now())

    async def _ensure(
        self, memory: Memory, resource: Resource, manifest: dict[str, Any]
    ) -> "EnsuredObject | None":
        """Have an object there; one of its name must be ours. None where it was made before."""
        metadata = manifest["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        title = f"{resource.plural}/{name}"
        if title in memory.ensured:
            return None
        try:
            made = EnsuredObject(
                await self.cluster.create(resource, namespace, manifest), is_new=True
            )
        except AlreadyExists:
            try:
                found = await self.cluster.get(resource, namespace, name)
            except NotFound as error:  # it has gone in between: its name is free
                raise Unavailable(f"{error}, although it was there just now") from None
            owners = found["metadata"].get("ownerReferences") or ()
            if not any(each.get("controller") and each["uid"] == memory.uid for each in owners):
                message = f"{resource.title} {name} is there and belongs to something else"
                raise ChildConflict(message) from None
            made = EnsuredObject(found, is_new=False)
        if resource in (CONFIG_MAPS, SERVICES):
            memory.ensured.add(title)
        return made


def _lasts(error: ClusterError) -> bool:
    """Return whether trying again at once is of no use."""
    return not isinstance(error, Unavailable) or is_webhooks(str(error))


@dataclass(frozen=True)
class EnsuredObject:
    """An object that is there as it should be.  is_new: this process has made it just now."""

    body: Mapping[str, Any]
    is_new: bool


class ChildConflict(Exception):
    """An object that is not ours has the name that ours must have."""
