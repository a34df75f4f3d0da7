"""One experiment at a time: look, decide, write the status, act.

The order matters for crashes. The status is written first, against the version that was looked at:
who acts has seen everything that was written before, so of two operators one only looks on. What
is done after it is idempotent, because names of children follow from the seed and the attempt.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from supreme_core.api.orders import ExperimentOrder, SharedOrder, work_digest
from supreme_core.api.status import ExperimentStatus
from supreme_core.errors import SpecError, StorageError, one_line
from supreme_core.registry.catalog import Catalog
from supreme_operator.children import BACKENDS, choose
from supreme_operator.children.backend import ChildOrder
from supreme_operator.children.order import order_config_map, read_order
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import (
    AlreadyExists,
    Cluster,
    ClusterError,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    Unavailable,
)
from supreme_operator.cluster.credentials import Credentials
from supreme_operator.cluster.inquiries import inquire
from supreme_operator.cluster.resources import CONFIG_MAPS, EVENTS, EXPERIMENTS, SERVICES, Resource
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding import accepted, events, status
from supreme_operator.deciding.admission import (
    Admitted,
    NotAccepted,
    admit,
    admit_accepted,
    is_ours,
    shared_order,
    status_in,
)
from supreme_operator.deciding.backoff import BackoffPolicy, backoff_seconds
from supreme_operator.deciding.counter_deltas import CounterDeltas, counter_deltas
from supreme_operator.deciding.decide import CREATED_AT_ONCE, Decision, decide
from supreme_operator.deciding.endings import claim
from supreme_operator.deciding.facts import Attempt, Child, Experiment, Trouble
from supreme_operator.deciding.policy import Policy
from supreme_operator.deciding.standing import Observations, Seen, Standing
from supreme_operator.deciding.waiting import is_webhooks, refusal
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.results.background import ReadResults
from supreme_operator.results.location import StoreNotAllowed
from supreme_operator.results.reader import Collector, WorkerFailed

log = logging.getLogger(__name__)

MANAGER: Final = "supreme.dev/operator"
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSES: Final = {"creation": 30.0, "store": 300.0}
"""Seconds between two tries of what outside troubles forbid, doubled from the first on. To see
whether a quota is free again takes one write, to read results a process."""

UNANSWERED: Final = timedelta(seconds=5)
"""Time for which nothing can be created, because the server or a webhook of it is away, before
the status says so; the queue tries again by itself."""

STORE_TROUBLES: Final = {Forbidden: "RBACDenied", StoreNotAllowed: "StoreNotAllowed"}
"""Reasons of conditions where results cannot be read; of all other errors ResultsUnavailable."""

Running = tuple[Key, ExperimentOrder, Experiment, list[tuple[int, int]]]
"""An experiment with the (seed, attempt) of its running children."""


@dataclass
class Memory:
    """State of this process on one experiment, beside the cluster's; lost without harm."""

    uid: str
    results: ReadResults
    observations: Observations = field(default_factory=Observations)
    admitted: tuple[int, Admitted | NotAccepted] | None = None
    ensured: set[str] = field(default_factory=set)
    written_at: datetime | None = None
    pauses: dict[str, int] = field(default_factory=dict)
    unanswered_since: datetime | None = None
    template: tuple[tuple[int, str], str] | None = None

    def pause(self, about: str) -> float:
        """Seconds until the next try, longer each time."""
        times = self.pauses[about] = self.pauses.get(about, 0) + 1
        return backoff_seconds(FIRST_PAUSE, times - 1, longest=LONGEST_PAUSES[about])


@dataclass(kw_only=True)
class Reconciler:
    """defaults: of spec.execution and spec.storage, see `admit`.  served: kinds of children that
    the API server knows."""

    cluster: Cluster
    cache: Cache
    collector: Collector
    credentials: Credentials
    catalog: Catalog
    metrics: Metrics
    queue: WorkQueue[Key]
    backoff: BackoffPolicy
    status_interval: float
    has_user: bool = True
    defaults: Mapping[str, Mapping[str, Any]]
    policy: Policy
    served: set[str] = field(default_factory=lambda: {"Job", "IndexedJob"})
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _memories: dict[Key, Memory] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """Bring an experiment one step on; returns the seconds after which to look again."""
        body = self.cache.experiment(key)
        if body is None or not is_ours(body, MANAGER):
            self._forget(key)
            return None
        memory = self._memory(key, body["metadata"]["uid"])
        admitted = await self._admit(key, memory, body)
        now = self.clock()
        if isinstance(admitted, NotAccepted):
            generation = body["metadata"].get("generation", 0)
            before = status_in(body)
            refused = status.invalid(before, admitted, generation=generation, now=now)
            await self._write(body, before, refused, CounterDeltas())
            return None  # only a change of the resource can help, and that comes as an event
        seen = self._look(key, admitted, memory, body)
        decision = decide(seen, now=now, backoff=self.backoff)
        self._read_results(memory, seen, decision)
        wait = await self._act(memory, seen, decision, body, now)
        alarm = (decision.requeue_at - now).total_seconds() if decision.requeue_at else None
        return min((each for each in (wait, alarm) if each is not None), default=None)

    def refresh(self) -> None:
        """Do not trust what was made earlier to be there still."""
        for memory in self._memories.values():
            memory.ensured.clear()

    def running(self) -> list[Running]:
        """Experiments that have any, for their progress."""
        found = []
        for key, memory in self._memories.items():
            if memory.admitted and isinstance(admitted := memory.admitted[1], Admitted):
                children, _ = self.cache.children_of(key, memory.uid)
                pairs = [
                    (child.attempt.seed, child.attempt.number)
                    for child in children
                    if child.state == "Running"
                ]
                if pairs:
                    found.append((key, admitted.order, admitted.experiment, pairs))
        return found

    def told_progress(self, key: Key, progress: Mapping[int, str]) -> None:
        memory = self._memories.get(key)
        if memory and dict(memory.observations.progress) != dict(progress):
            memory.observations = replace(memory.observations, progress=dict(progress))
            self.queue.add(key)

    async def close(self) -> None:
        await asyncio.gather(*(memory.results.close() for memory in self._memories.values()))

    def _memory(self, key: Key, uid: str) -> Memory:
        known = self._memories.get(key)
        if known is None or known.uid != uid:
            self._forget(key)
            known = self._memories[key] = Memory(uid, self._results_of(key))
        return known

    def _forget(self, key: Key) -> None:
        self.cache.forget(key)
        memory = self._memories.pop(key, None)
        if memory:
            memory.results.cancel()

    def _results_of(self, key: Key) -> ReadResults:
        return ReadResults(
            collector=self.collector,
            measured=self.metrics.aggregating,
            ended=partial(self._results_read, key),
        )

    async def _admit(
        self, key: Key, memory: Memory, body: Mapping[str, Any]
    ) -> Admitted | NotAccepted:
        """Read the spec, once for each generation."""
        generation = body["metadata"].get("generation", 0)
        if memory.admitted is None or memory.admitted[0] != generation:
            children, _ = self.cache.children_of(key, memory.uid)
            memory.admitted = generation, await self._judge(key, body, children)
        return memory.admitted[1]

    async def _judge(
        self, key: Key, body: Mapping[str, Any], children: Sequence[Child]
    ) -> Admitted | NotAccepted:
        """Judge whether it can be done and still is what was accepted, whatever the status says."""
        methods, orders = status_in(body).accepted_methods, list[SharedOrder]()
        try:
            found = admit(body, self.catalog, defaults=self.defaults, policy=self.policy)
        except SpecError as error:
            orders = await self._orders(key, children)
            methods = methods or accepted.methods_of(orders) or None
            rest = admit_accepted(
                body,
                self.catalog,
                defaults=self.defaults,
                policy=self.policy,
                methods=methods or (),
                refusal=str(error),
            )
            if rest is None:
                return NotAccepted(str(error), methods)
            found = rest
        if not accepted.is_the_same(found.order, children):  # reading orders costs requests
            orders = orders or await self._orders(key, children)
        given = body["spec"].get("storage") or {}
        mistakes = [
            *accepted.other_seeds(found.order, children),
            *(
                line
                for told in orders
                for line in accepted.changes(told, found.order, found.experiment.spec, given)
            ),
        ]
        if mistakes:
            return NotAccepted("\n".join(mistakes), methods or accepted.methods_of(orders) or None)
        return found

    async def _orders(self, key: Key, children: Sequence[Child]) -> list[SharedOrder]:
        """Orders that the newest children were given, as far as they are still there."""
        found = []
        for name in sorted(accepted.orders_of(children)):
            try:
                config_map = await self.cluster.get(CONFIG_MAPS, key.namespace, name)
            except (NotFound, Forbidden) as error:
                log.warning(
                    "what was accepted cannot be compared: %s",
                    error,
                    extra={"namespace": key.namespace, "experiment": key.name},
                )
                continue
            if told := read_order(config_map):
                found.append(told)
        return found

    def _look(self, key: Key, admitted: Admitted, memory: Memory, body: Mapping[str, Any]) -> Seen:
        children, orphaned = self.cache.children_of(key, memory.uid)
        return Seen(
            experiment=admitted.experiment,
            order=admitted.order,
            status=status_in(body),
            children=children,
            refusal=admitted.refusal,
            orphaned=orphaned,
            template=self._template(memory, admitted) if children else "",
            observations=replace(
                memory.observations,
                result_checks=memory.results.checks,
                publication=memory.results.published,
            ),
        )

    def _template(self, memory: Memory, admitted: Admitted) -> str:
        """Digest of what a child would be made of now, computed once for each generation."""
        experiment = admitted.experiment
        kind = choose(experiment.spec, self.served)
        made_of = (experiment.generation, kind)
        if memory.template is None or memory.template[0] != made_of:
            try:
                work = work_digest(admitted.order.work)
                _, told = self._order(experiment, admitted.order, work)
                digest = BACKENDS[kind].template(experiment.owner, experiment.spec, told)
            except SpecError:  # an order that no ConfigMap holds; said when a child is to be made
                digest = ""
            memory.template = made_of, digest
        return memory.template[1]

    async def _act(
        self,
        memory: Memory,
        seen: Seen,
        decision: Decision,
        body: Mapping[str, Any],
        now: datetime,
    ) -> float | None:
        """Write and do what was decided; returns the seconds until the rest, if not all was."""
        after = status.status_of(seen, decision, now=now)
        acts = bool(decision.create or decision.delete or decision.delete_experiment)
        # The status goes first: where this process ends in between, the next one knows which
        # attempt was meant to be made, and what it was to cost.
        if after != seen.status:
            wait = self._wait_to_write(memory, seen.status, after, now)
            if wait and not acts:
                return wait
            counted = counter_deltas(seen.status, after, decision.standings)
            if not await self._write(body, seen.status, after, counted):
                return 0.0  # somebody changed the resource: decide anew before anything is done
            memory.written_at = now
        # No write has shown that the cache is not behind, and what is deleted does not come back.
        elif acts and not await self._is_current(body):
            return 0.0
        met = {child.uid for child in seen.children if child.waits_since}
        memory.observations = replace(memory.observations, met=met)
        await self._inquire(memory, seen, decision.inquire)
        undeleted = await self._delete_all(memory, seen, decision)
        await self._create_all(memory, seen, decision)
        if decision.delete_experiment:
            owner = seen.experiment.owner
            await self.cluster.delete(EXPERIMENTS, owner.namespace, owner.name, uid=owner.uid)
        if undeleted:  # raised last: a child that cannot be deleted holds up no other
            raise undeleted
        return 0.0 if len(decision.create) == CREATED_AT_ONCE else None

    def _wait_to_write(
        self, memory: Memory, before: ExperimentStatus, after: ExperimentStatus, now: datetime
    ) -> float:
        """Seconds until a status that only counts may be written again; 0 for one that tells."""
        if memory.written_at is None or before.phase != after.phase:
            return 0.0
        facts = [
            [(each.type, each.status, each.reason) for each in s.conditions]
            for s in (before, after)
        ]
        if facts[0] != facts[1]:
            return 0.0
        due = memory.written_at + timedelta(seconds=self.status_interval)
        return max(0.0, (due - now).total_seconds())

    async def _write(
        self,
        body: Mapping[str, Any],
        before: ExperimentStatus,
        after: ExperimentStatus,
        counted: CounterDeltas,
    ) -> bool:
        """Write a status and tell of it; False where the resource has changed meanwhile."""
        if before == after:
            return True
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            written = await self.cluster.write_status(EXPERIMENTS, dict(body), after.to_document())
        except Conflict:
            await self._reread(namespace, name)
            return False
        except NotFound:
            self.cache.experiments.remove(body)
            return False
        self.cache.experiments.put(written)
        self.metrics.wrote(namespace, counted)
        for each in events.transitions(before, after):
            log.info(
                "%s: %s",
                each.reason,
                each.message,
                extra={"namespace": namespace, "experiment": name},
            )
            with suppress(ClusterError):  # a courtesy
                event = events.event(each, body, self.clock())
                await self.cluster.create(EVENTS, namespace, event)
        return True

    async def _is_current(self, body: Mapping[str, Any]) -> bool:
        """Return whether the resource is still what was looked at, where no write has shown
        that."""
        metadata = body["metadata"]
        found = await self._reread(metadata["namespace"], metadata["name"])
        return (
            found is not None
            and found["metadata"]["resourceVersion"] == metadata["resourceVersion"]
        )

    async def _reread(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        try:
            found = await self.cluster.get(EXPERIMENTS, namespace, name)
        except NotFound:
            known = self.cache.experiment(Key(namespace, name))
            if known:
                self.cache.experiments.remove(known)
            return None
        self.cache.experiments.put(found)
        return found

    async def _inquire(self, memory: Memory, seen: Seen, children: Sequence[Child]) -> None:
        """Ask events why children wait. What was said of others that are there stays known."""
        if not children:
            return
        there = {child.uid for child in seen.children if not child.state.is_finished}
        known = {uid: each for uid, each in memory.observations.answers.items() if uid in there}
        owner = seen.experiment.owner
        for child in children:
            known[child.uid] = await inquire(self.cluster, child, owner.namespace, self.clock())
        memory.observations = replace(memory.observations, answers=known)
        self.queue.add(Key(owner.namespace, owner.name))

    async def _delete_all(
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
            told = str(lasting)
            trouble = Trouble(reason="ChildNotDeleted", message=told, retry_at=self.clock())
        memory.observations = replace(memory.observations, deletion=trouble)
        return failed[0] if failed else None

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

    async def _create_all(self, memory: Memory, seen: Seen, decision: Decision) -> None:
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

    def _order(
        self, experiment: Experiment, order: ExperimentOrder, work: str
    ) -> tuple[dict[str, Any], ChildOrder]:
        """The ConfigMap of what all children are told, and what each is told of it."""
        made = order_config_map(experiment.owner, shared_order(experiment, order))
        return made, ChildOrder(made["metadata"]["name"], work, self.has_user)

    def _unanswered(self, memory: Memory, error: Unavailable) -> None:
        """Have it said once it has lasted."""
        now = self.clock()
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
            config_map, told = self._order(experiment, seen.order, seen.work)
            await self._ensure(memory, CONFIG_MAPS, config_map)
            if service := backend.service(experiment.owner):
                await self._ensure(memory, SERVICES, service)
            manifest = backend.render(experiment.owner, experiment.spec, attempt, told)
            made = await self._ensure(memory, backend.resource, manifest)
        except ChildConflict as error:
            return self._trouble(memory, "creation", "ChildConflict", error)
        except NotFound as error:
            if known := refusal(str(error)):
                return self._trouble(memory, "creation", known, error)
            message = f"the API server knows no {backend.resource.title}"
            return self._trouble(memory, "creation", "BackendUnavailable", message)
        except (Forbidden, Refused, SpecError) as error:
            reason = refusal(str(error)) or "ChildRefused"
            return self._trouble(memory, "creation", reason, error)
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

    def _trouble(self, memory: Memory, about: str, reason: str, why: object) -> Trouble:
        retry_at = self.clock() + timedelta(seconds=memory.pause(about))
        return Trouble(reason=reason, message=one_line(why), retry_at=retry_at)

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
            found = await self.cluster.get(resource, namespace, name)
            owners = found["metadata"].get("ownerReferences") or ()
            if not any(each.get("controller") and each["uid"] == memory.uid for each in owners):
                message = f"{resource.title} {name} is there and belongs to something else"
                raise ChildConflict(message) from None
            made = EnsuredObject(found, is_new=False)
        if resource in (CONFIG_MAPS, SERVICES):
            memory.ensured.add(title)
        return made

    def _read_results(self, memory: Memory, seen: Seen, decision: Decision) -> None:
        locate = partial(self.credentials.location, seen.experiment)
        if decision.verify:
            memory.results.verify(seen.order, locate, map(claim, decision.verify))
        elif decision.publish is not None:
            memory.results.publish(seen.order, locate, decision.publish)

    def _results_read(self, key: Key, error: Exception | None) -> None:
        """Note how a task of reading results has ended, and have the experiment looked at."""
        memory = self._memories.get(key)
        if memory is None:  # the experiment is gone
            return
        trouble = None
        if error is None:
            memory.pauses.pop("store", None)
        else:
            named = {"namespace": key.namespace, "experiment": key.name}
            if not isinstance(error, (StorageError, WorkerFailed, ClusterError)):
                # Of our own making; nobody else would hear of it, nor look at the key again.
                log.error("reading results failed", exc_info=error, extra=named)
            self.metrics.not_aggregated(error)
            reason = STORE_TROUBLES.get(type(error), "ResultsUnavailable")
            trouble = self._trouble(memory, "store", reason, error)
            log.warning("results cannot be read: %s", trouble.message, extra=named)
        memory.observations = replace(memory.observations, store=trouble)
        self.queue.add(key)


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
