"""One experiment at a time: look, decide, write the status, act.

The order matters for crashes. The status is written first, against the version that was looked at:
who acts has seen everything that was written before, so of two operators one only looks on. What
is done after it is idempotent, because names of children follow from the seed and the attempt.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.status import ExperimentStatus
from supreme_core.errors import StorageError
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import (
    Cluster,
    ClusterError,
    Conflict,
    Forbidden,
    NotFound,
)
from supreme_operator.cluster.credentials import Credentials
from supreme_operator.cluster.inquiries import inquire
from supreme_operator.cluster.resources import EVENTS, EXPERIMENTS
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding import events, status
from supreme_operator.deciding.admission import (
    Admitted,
    NotAccepted,
    is_ours,
    status_in,
)
from supreme_operator.deciding.backoff import BackoffPolicy
from supreme_operator.deciding.counter_deltas import CounterDeltas, counter_deltas
from supreme_operator.deciding.decide import CREATED_AT_ONCE, Decision, decide
from supreme_operator.deciding.endings import claim
from supreme_operator.deciding.facts import Child, Experiment
from supreme_operator.deciding.parts import part_of
from supreme_operator.deciding.standing import Seen
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.reconcile.admissions import Admissions
from supreme_operator.reconcile.child_writer import ChildWriter
from supreme_operator.reconcile.memory import Memory
from supreme_operator.results.background import ReadResults
from supreme_operator.results.location import StoreNotAllowed
from supreme_operator.results.reader import Collector, WorkerFailed

log = logging.getLogger(__name__)

MANAGER: Final = "supreme.dev/operator"
STORE_TROUBLES: Final = {Forbidden: "RBACDenied", StoreNotAllowed: "StoreNotAllowed"}
"""Reasons of conditions where results cannot be read; of all other errors ResultsUnavailable."""

WHILE_READING: Final = 5
"""Multiple of the status interval after which a status is written that only says that results are
being read: one that has them follows at once, and each write holds up those of others."""

Running = tuple[Key, ExperimentOrder, Experiment, list[tuple[int, int]]]
"""An experiment with the (seed, attempt) of its running children."""


@dataclass(kw_only=True)
class Reconciler:
    """Steps of experiments: the order of looking, deciding, writing and acting."""

    cluster: Cluster
    cache: Cache
    collector: Collector
    credentials: Credentials
    admissions: Admissions
    child_writer: ChildWriter
    metrics: Metrics
    queue: WorkQueue[Key]
    backoff: BackoffPolicy
    status_interval: float
    _memories: dict[Key, Memory] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """Bring an experiment one step on; returns the seconds after which to look again."""
        body = self.cache.experiment(key)
        if body is None or not is_ours(body, MANAGER):
            self._forget(key)
            return None
        memory = self._memory(key, body["metadata"]["uid"])
        admitted = await self._admit(key, memory, body)
        now = self.cluster.clock.now()
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
            memory.admitted = generation, await self.admissions.judge(key, body, children)
        return memory.admitted[1]

    def _look(self, key: Key, admitted: Admitted, memory: Memory, body: Mapping[str, Any]) -> Seen:
        children, orphaned = self.cache.children_of(key, memory.uid)
        before, read = status_in(body), memory.results
        part = part_of(admitted.order, before, read.chosen, read.round)
        return Seen(
            experiment=admitted.experiment,
            order=admitted.order,
            part=part,
            status=before,
            children=children,
            refusal=admitted.refusal,
            orphaned=orphaned,
            template=self.child_writer.template(memory, admitted.experiment, part)
            if children
            else "",
            observations=replace(
                memory.observations,
                result_checks=read.checks,
                chosen=read.chosen,
                round=read.round,
                publication=read.published,
            ),
        )

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
        undeleted = await self.child_writer.delete_all(memory, seen, decision)
        await self.child_writer.create_all(memory, seen, decision)
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
        interval = self.status_interval
        ended = [(s.completed_indexes, s.failed_indexes) for s in (before, after)]
        if memory.results.is_reading and ended[0] == ended[1]:
            interval *= WHILE_READING
        due = memory.written_at + timedelta(seconds=interval)
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
                event = events.event(each, body, self.cluster.clock.now())
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
            known[child.uid] = await inquire(
                self.cluster, child, owner.namespace, self.cluster.clock.now()
            )
        memory.observations = replace(memory.observations, answers=known)
        self.queue.add(Key(owner.namespace, owner.name))

    def _read_results(self, memory: Memory, seen: Seen, decision: Decision) -> None:
        locate = partial(self.credentials.location, seen.experiment)
        if decision.verify:
            memory.results.verify(seen.part.order, locate, map(claim, decision.verify))
        elif decision.settings:
            before = seen.status.tuning.selection if seen.status.tuning else None
            ended = seen.part.round if seen.part.is_known else 0
            memory.results.choose(seen.order, locate, before, ended)
        elif decision.publish is not None:
            memory.results.publish(seen.part.order, locate, decision.publish)

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
            trouble = memory.trouble("store", reason, error, self.cluster.clock.now())
            log.warning("results cannot be read: %s", trouble.message, extra=named)
        memory.observations = replace(memory.observations, store=trouble)
        self.queue.add(key)
