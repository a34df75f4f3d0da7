"""Decide what to do next for one experiment. Pure: no clock, no network.

Level-triggered: every decision follows from what stands in the cluster and in the status, never
from what happened in which order. The children carry what their seed has cost so far; the status
says which seeds are done with. Nothing else has to survive a restart.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, Literal

from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.status import ExperimentStatus, SeedStatus
from supreme_core.api.v1alpha1 import FailurePolicy
from supreme_operator.deciding.endings import Ending, ending, never_starts
from supreme_operator.deciding.facts import (
    Answer,
    Attempt,
    Child,
    ChildState,
    Experiment,
    Pod,
    Published,
    Trouble,
)
from supreme_operator.deciding.indexes import expanded
from supreme_operator.deciding.times import time_of
from supreme_operator.deciding.waiting import (
    Reason,
    alarms,
    inquiry_due,
    obstacle,
    pod_alarms,
    stuck,
    stuck_pod,
)
from supreme_operator.results.protocol import Verdict

INVALID_SPEC: Final = "InvalidSpec"
"""Reason of what was refused."""

CREATED_AT_ONCE: Final = 20
"""Children for one look: writes are limited, and no status is written while they are made."""

PREEMPTED: Final = "Preempted"
PREEMPTED_MESSAGE: Final = "its queue took its place from it, and its controller gave it up"

INQUIRED_AT_ONCE: Final = 10
"""Children for one look, between which others have their turn."""

SeedPhase = Literal["Pending", "Queued", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds before something is tried again: doubled each time, up to the most.

    silence_seconds: how long nothing may change of a child that waits before it is inquired.
    """

    retry_seconds: float = 10
    disruption_seconds: float = 5
    most_seconds: float = 600
    silence_seconds: float = 120

    @property
    def silence(self) -> timedelta:
        return timedelta(seconds=self.silence_seconds)


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Observations that earlier actions of this process made; a restart makes them again by acting.

    verdicts: by seed and attempt.  creation: why the last child could not be created.  deletion:
    why a child could not be deleted.
    store: why the store could not be used.  answers: what events said of a child, by its uid.
    met: uids of children of which the status tells what this process has seen of them.
    """

    verdicts: Mapping[tuple[int, int], Verdict] = field(default_factory=dict)
    publication: Published | None = None
    creation: Trouble | None = None
    deletion: Trouble | None = None
    store: Trouble | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    progress: Mapping[int, str] = field(default_factory=dict)
    met: Collection[str] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One look at an experiment.

    refusal: why the rest of what is asked for cannot be done, where the order is only a part of it.
    stray: pods that run although their child is gone.  template: of the child that would be made
    now, see `Child.template`.
    """

    experiment: Experiment
    order: ExperimentOrder
    status: ExperimentStatus
    children: Sequence[Child]
    refusal: str = ""
    stray: Sequence[Pod] = ()
    template: str = ""
    knowledge: Knowledge = Knowledge()

    @cached_property
    def work(self) -> str:
        """The digest of what each seed is to compute."""
        return work_digest(self.order.work)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where one seed stands.

    cost: what its attempts cost so far, by the latest of them.  child: the latest, if it is there.
    occupies: it takes one of `parallelism` places.  following: the attempt that may be made, from
    `ready_at` on.  obstacle: what keeps its pods from starting or ending.  is_outdated: its child
    has not started, and would be made otherwise now.
    """

    phase: SeedPhase
    cost: Attempt
    child: Child | None = None
    reason: str = ""
    message: str = ""
    occupies: bool = False
    is_unread: bool = False
    following: Attempt | None = None
    ready_at: datetime | None = None
    obstacle: Reason | None = None
    waiting_since: datetime | None = None
    is_outdated: bool = False

    @property
    def is_done(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def wants_child(self) -> bool:
        """True if the seed's child, which has not finished, is to go on."""
        return not self.is_done and not self.is_outdated


@dataclass(frozen=True)
class Outcome:
    """Where the whole experiment stands."""

    kind: Literal["going", "suspended", "aggregating", "complete", "refused", "failed"]
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Actions to take, in this order, after the status that follows from them is written."""

    standings: Sequence[Standing]
    outcome: Outcome
    delete: Sequence[Child] = ()
    create: Sequence[Attempt] = ()
    verify: Sequence[Child] = ()
    inquire: Sequence[Child] = ()
    publish: frozenset[int] | None = None
    delete_experiment: bool = False
    wake_at: datetime | None = None


def decide(seen: Seen, *, now: datetime, patience: Patience) -> Decision:
    standings = _standings(seen, now=now, patience=patience)
    outcome = _outcome(seen, standings, now)
    unread = [each.child for each in standings if each.is_unread and each.child]
    done = frozenset(each.cost.seed for each in standings if each.phase == "Succeeded")
    store_is_due = not seen.knowledge.store or seen.knowledge.store.retry_at <= now
    wants_summary = outcome.kind == "aggregating" or (
        outcome.kind == "failed" and not any(each.occupies for each in standings)
    )
    publish = None
    if wants_summary and done and store_is_due and not is_published(seen, done) and not unread:
        publish = done
    return Decision(
        standings=standings,
        outcome=outcome,
        delete=list(_deletions(seen, standings, outcome, now)),
        create=list(_creations(seen, standings, outcome, now)),
        verify=unread if store_is_due else (),
        inquire=list(_inquiries(seen, standings, now, patience)),
        publish=publish,
        delete_experiment=_has_outlived(seen, outcome, now),
        wake_at=min(
            (
                *_alarms(seen, standings, outcome, now),
                *_alarms_of_waiting(seen, standings, now, patience),
            ),
            default=None,
        ),
    )


def is_published(seen: Seen, done: frozenset[int]) -> bool:
    """Return whether a summary of all these seeds is written, by this process or by one before it.

    It may have others too: a seed can be given up although an attempt of it left a result.
    """
    digest = seen.work
    fresh = seen.knowledge.publication
    if fresh and fresh.work_digest == digest and done <= fresh.seeds:
        return True
    told, status = seen.status.results, seen.status
    if told is None or status.work_digest != digest or told.seeds < len(done):
        return False
    return any(
        (each.type, each.status) == ("ResultsAggregated", "True") for each in status.conditions
    )


def _standings(seen: Seen, *, now: datetime, patience: Patience) -> list[Standing]:
    seeds, digest = seen.order.seeds, seen.work
    known = seen.status.work_digest == digest  # else the status counts seeds of other work
    completed = expanded(seen.status.completed_indexes if known else "", below=len(seeds))
    given_up = expanded(seen.status.failed_indexes if known else "", below=len(seeds))
    # In the order of attempts, so that the last one of a seed stays.
    latest: dict[int, Child] = {}
    for each in sorted(seen.children, key=lambda child: child.attempt.number):
        latest[each.attempt.seed] = each
    # A pod that outlives its child may still write into the store: the next attempt waits for it.
    stopping: dict[int, list[Pod]] = {}
    for pod in seen.stray:
        if not pod.is_finished:
            stopping.setdefault(pod.seed, []).append(pod)
    before = {each.seed: each for each in seen.status.seed_statuses}
    judge = _Judge(seen, now, patience)
    found = []
    for index, seed in enumerate(seeds):
        told, child = before.get(seed), latest.get(seed)
        cost = _cost(seed, index, told if known else None, child)
        # Before the child, which says nothing any more: it may fail late, or be gone.
        if index in completed:
            found.append(Standing(phase="Succeeded", cost=cost, child=child))
        elif index in given_up:
            reason, message = (told.reason, told.message) if told else (None, None)
            found.append(
                Standing(
                    phase="Failed",
                    cost=cost,
                    child=child,
                    reason=reason or "Failed",
                    message=message or "",
                )
            )
        elif child:
            found.append(judge.child(cost, child, told))
        elif seed in stopping:
            held = (stuck_pod(pod, now, patience.silence) for pod in stopping[seed])
            found.append(_stopping(cost, None, next(filter(None, held), None)))
        else:
            # A number is not used again for other work, whose log lies under it.
            number = told.attempt + 1 if told and not known else cost.number
            found.append(
                Standing(phase="Pending", cost=cost, following=replace(cost, number=number))
            )
    return found


def _cost(seed: int, index: int, told: SeedStatus | None, child: Child | None) -> Attempt:
    """Cost of the latest attempt. Without a child the status knows of it; of an attempt after
    the child's it knows only that it was meant to be made."""
    cost = replace(child.attempt, index=index) if child else Attempt(seed=seed, index=index)
    if told and (child is None or told.attempt == cost.number):
        return replace(
            cost,
            number=told.attempt,
            retries=max(cost.retries, told.retries),
            disruptions=max(cost.disruptions, told.disruptions),
        )
    return cost


@dataclass(frozen=True)
class _Judge:
    """Where a seed stands whose latest child is there."""

    seen: Seen
    now: datetime
    patience: Patience

    @property
    def policy(self) -> FailurePolicy:
        return self.seen.experiment.spec.failure_policy

    def child(self, cost: Attempt, child: Child, told: SeedStatus | None) -> Standing:
        if child.state.is_finished and child.work != self.seen.work:
            return Standing(phase="Pending", cost=cost, child=child, following=_anew(cost))
        if child.state == ChildState.SUCCEEDED:
            return self._succeeded(cost, child)
        if child.state == ChildState.FAILED and not _failed_by_deletion(child):
            return self._failed(cost, child, told)
        if child.is_deleted:
            return _stopping(cost, child, stuck(child, self.now, self.patience.silence))
        return self._unfinished(cost, child, told)

    def _succeeded(self, cost: Attempt, child: Child) -> Standing:
        verdict = self.seen.knowledge.verdicts.get((cost.seed, child.attempt.number))
        match verdict.state if verdict else None:
            case None:
                return Standing(
                    phase="Running", cost=cost, child=child, reason="ResultPending", is_unread=True
                )
            case "valid":
                return Standing(phase="Succeeded", cost=cost, child=child)
            case "missing":
                message = "its pods succeeded, but it left no result.json"
                return self._retried(cost, child, "ResultMissing", message)
        return _given_up(cost, child, "ResultInvalid", verdict.message if verdict else "")

    def _failed(self, cost: Attempt, child: Child, told: SeedStatus | None) -> Standing:
        end = ending(child)
        if end.kind == "permanent":
            return _given_up(cost, child, end.reason, end.message)
        if told and _has_paid_for_preemption(child, told):
            following = replace(cost, number=cost.number + 1, disruptions=told.disruptions)
            return self._waiting(cost, child, following, 0.0, PREEMPTED, PREEMPTED_MESSAGE)
        # Where it is suspended, its queue took its place while nobody looked.
        if child.is_suspended or end.kind == "disrupted":
            return self._disrupted(cost, child, end)
        return self._retried(cost, child, end.reason, end.message)

    def _retried(self, cost: Attempt, child: Child, reason: str, message: str) -> Standing:
        if cost.retries >= self.policy.max_retries_per_seed:
            return _given_up(cost, child, reason, message)
        wait = _backoff(self.patience.retry_seconds, cost.retries, self.patience)
        following = replace(cost, number=cost.number + 1, retries=cost.retries + 1)
        return self._waiting(cost, child, following, wait, reason, message)

    def _disrupted(self, cost: Attempt, child: Child, end: Ending) -> Standing:
        if cost.disruptions >= self.policy.max_disruptions_per_seed:
            message = f"the last: {end.reason}: {end.message}"
            return _given_up(cost, child, "TooManyDisruptions", message)
        # The first costs no time: a drained node's pods are wanted elsewhere at once. Of one that
        # nothing tells, its pods may still tell something.
        times = cost.disruptions if end.is_told else cost.disruptions + 1
        wait = (
            _backoff(self.patience.disruption_seconds, times - 1, self.patience) if times else 0.0
        )
        following = replace(cost, number=cost.number + 1, disruptions=cost.disruptions + 1)
        return self._waiting(cost, child, following, wait, end.reason, end.message)

    def _waiting(
        self,
        cost: Attempt,
        child: Child,
        following: Attempt,
        seconds: float,
        reason: str,
        message: str,
    ) -> Standing:
        return Standing(
            phase="Pending",
            cost=cost,
            child=child,
            reason=reason,
            message=message,
            following=following,
            ready_at=(child.finished_at or child.created_at) + timedelta(seconds=seconds),
        )

    def _unfinished(self, cost: Attempt, child: Child, told: SeedStatus | None) -> Standing:
        spec = self.seen.experiment.spec
        block = self._obstacle(child, told)
        if self._is_outdated(child, told, block):
            return Standing(
                phase="Queued",
                cost=cost,
                child=child,
                reason="TemplateChanged",
                message="it has not started, and is made anew as the experiment says now",
                occupies=True,
                obstacle=block,
                is_outdated=True,
            )
        if never_starts(child):
            reason, message = block or ("ImagePullFailed", "")
            return _given_up(cost, child, reason, message, occupies=True)
        is_running = child.state == ChildState.RUNNING
        since, deadline = self._waiting_since(child, told), spec.scheduling_deadline_seconds
        is_late = deadline and self.now >= since + timedelta(seconds=deadline)
        # Where its queue has just stopped it, it may have run until then.
        may_be_late = child.waits_since is not None and not is_running
        if is_late and may_be_late and not _is_scheduled(child, spec.execution.nodes):
            message = f"its pods were not scheduled within {deadline} s"
            return _given_up(cost, child, "SchedulingDeadlineExceeded", message, occupies=True)
        if child.state == ChildState.SUSPENDED:
            # A queue has taken its place from it; it goes on as the same object later.
            if told and told.phase == "Running" and told.attempt == child.attempt.number:
                cost = replace(cost, disruptions=cost.disruptions + 1)
            if cost.disruptions > self.policy.max_disruptions_per_seed:
                message = "its queue preempted it too often"
                return _given_up(cost, child, "TooManyDisruptions", message, occupies=True)
        return Standing(
            phase="Running" if is_running else "Queued",
            cost=cost,
            child=child,
            reason=block[0] if block else "",
            message=block[1] if block else "",
            occupies=True,
            obstacle=block,
            waiting_since=None if is_running else since,
        )

    def _waiting_since(self, child: Child, told: SeedStatus | None) -> datetime:
        """When it last began to wait for its pods: when it was made, or did not run any more. A
        queue that lets it go and holds it back again before it has run changes nothing."""
        since = child.waits_since or self.now
        if told is None or told.attempt != child.attempt.number:
            return since
        if told.phase == "Running":
            return self.now
        known = time_of(told.waiting_since or None)
        if known is None or (child.uid not in self.seen.knowledge.met and since > known):
            # It may have run while no operator looked.
            return since
        return known

    def _obstacle(self, child: Child, told: SeedStatus | None) -> Reason | None:
        answer, silence = self.seen.knowledge.answers.get(child.uid), self.patience.silence
        due = inquiry_due(child, answer, silence)
        is_unasked = due is not None and due <= self.now and answer is None
        was_queued = told and told.phase == "Queued" and told.attempt == child.attempt.number
        if is_unasked and told and was_queued and told.reason:
            # The process before this one had asked; the answer to this one is still to come.
            return told.reason, told.message or ""
        return obstacle(child, answer, now=self.now, patience=silence)

    def _is_outdated(self, child: Child, told: SeedStatus | None, block: Reason | None) -> bool:
        """An older operator's child does not say what it is made of; it is made anew where its
        image cannot be pulled."""
        if any(pod.started_at for pod in child.pods) or self._has_run(child, told):
            return False
        if child.state == ChildState.RUNNING or not self.seen.template:
            return False
        if child.template:
            return child.template != self.seen.template
        return block is not None and block[0] == "ImagePullFailed"

    def _has_run(self, child: Child, told: SeedStatus | None) -> bool:
        """Return whether a queue has suspended a child after it had begun."""
        if told is None or told.attempt != child.attempt.number:
            return False
        return told.phase == "Running" or told.disruptions > child.attempt.disruptions


def _has_paid_for_preemption(child: Child, told: SeedStatus) -> bool:
    """Return whether a failed child is one whose preemption the status has counted, and that did
    not run since: its controller takes the end of its pods for a failure."""
    is_waiting = told.phase == "Queued" and told.attempt == child.attempt.number
    is_known = told.reason == PREEMPTED  # also where the next attempt is only meant to be made
    return (is_waiting or is_known) and told.disruptions > child.attempt.disruptions


def _failed_by_deletion(child: Child) -> bool:
    """Return whether the controller takes for a failure that its pods were told to go with it."""
    if not child.gone_by:
        return False
    return child.finished_at is None or child.finished_at >= child.gone_by


def _anew(cost: Attempt) -> Attempt:
    """The attempt after one that answered other work, which costs nothing."""
    return Attempt(seed=cost.seed, index=cost.index, number=cost.number + 1)


def _stopping(cost: Attempt, child: Child | None, held: Reason | None) -> Standing:
    return Standing(
        phase="Pending",
        cost=cost,
        child=child,
        reason=held[0] if held else "Stopping",
        message=held[1] if held else "",
        occupies=True,
        obstacle=held,
    )


def _given_up(
    cost: Attempt, child: Child, reason: str, message: str, *, occupies: bool = False
) -> Standing:
    return Standing(
        phase="Failed", cost=cost, child=child, reason=reason, message=message, occupies=occupies
    )


def _backoff(seconds: float, times: int, patience: Patience) -> float:
    return float(min(patience.most_seconds, seconds * 2 ** min(times, 30)))


def _is_scheduled(child: Child, nodes: int) -> bool:
    return sum(pod.is_scheduled for pod in child.pods) >= nodes


def _outcome(seen: Seen, standings: Sequence[Standing], now: datetime) -> Outcome:
    spec = seen.experiment.spec
    failed = [each for each in standings if each.phase == "Failed"]
    done = frozenset(each.cost.seed for each in standings if each.phase == "Succeeded")
    most = spec.failure_policy.max_failed_seeds
    if len(failed) > most:
        last = failed[-1]
        why = f"seed {last.cost.seed}: {last.reason}: {last.message}"
        message = f"{len(failed)} seeds failed, {most} may; {why}"
        return Outcome("failed", "FailureBudgetExceeded", message)
    if all(each.is_done for each in standings):
        if not done:
            return Outcome("failed", "AllSeedsFailed", "no seed has a result")
        if not is_published(seen, done):
            return Outcome("aggregating")
        if seen.refusal:
            return Outcome("refused", INVALID_SPEC, seen.refusal)
        if failed:
            message = f"{len(done)} of {len(standings)} seeds have a result"
            return Outcome("complete", "PartiallySucceeded", message)
        return Outcome("complete", "SeedsSucceeded", f"all {len(done)} seeds have a result")
    deadline = _deadline(seen, now)
    if deadline and (held_since(standings, now) or now) >= deadline:
        message = f"it took longer than {spec.active_deadline_seconds} s"
        return Outcome("failed", "DeadlineExceeded", message)
    if spec.suspend:
        return Outcome("suspended")
    if all(each.is_done or each.is_unread for each in standings):
        return Outcome("aggregating")
    return Outcome("going")


def held_since(standings: Sequence[Standing], now: datetime) -> datetime | None:
    """Since when every child waits for its queue, so that no deadline of the experiment counts;
    None where one does not, or there is none."""
    children = [each.child for each in standings if each.occupies]
    since = [
        child.waits_since or now
        for child in children
        if child and child.state == ChildState.SUSPENDED
    ]
    return max(since) if since and len(since) == len(children) else None


def held_seconds(status: ExperimentStatus, now: datetime) -> float:
    """For how long every child has waited for its queue, up to now."""
    since = time_of(status.held_since or None)
    return status.held_seconds + (max(0.0, (now - since).total_seconds()) if since else 0.0)


def _deadline(seen: Seen, now: datetime) -> datetime | None:
    """When the whole experiment has to be done; counted anew when it goes on after a rest."""
    seconds = seen.experiment.spec.active_deadline_seconds
    started = time_of(seen.status.start_time or None)
    if not seconds or not started:
        return None
    return started + timedelta(seconds=seconds + held_seconds(seen.status, now))


def _deletions(
    seen: Seen, standings: Sequence[Standing], outcome: Outcome, now: datetime
) -> Iterator[Child]:
    """Children that must not run on, and finished ones that were kept for long enough."""
    by_seed = {each.cost.seed: each for each in standings}
    stop_all = outcome.kind in ("failed", "suspended")
    for child in seen.children:
        standing = by_seed.get(child.attempt.seed)
        if child.is_deleted:
            continue
        is_latest = standing is not None and standing.child is child
        if child.state.is_finished:
            needed = is_latest and standing is not None and not standing.is_done
            kept_until = _kept_until(seen, child)
            if not needed and kept_until and now >= kept_until:
                yield child
        elif stop_all or standing is None or not is_latest or not standing.wants_child:
            yield child


def _kept_until(seen: Seen, child: Child) -> datetime | None:
    seconds = seen.experiment.spec.child_ttl_seconds_after_finished
    if seconds is None:
        return None
    return (child.finished_at or child.created_at) + timedelta(seconds=seconds)


def _creations(
    seen: Seen, standings: Sequence[Standing], outcome: Outcome, now: datetime
) -> Iterator[Attempt]:
    trouble = seen.knowledge.creation
    if outcome.kind != "going" or (trouble and trouble.retry_at > now):
        return
    free = seen.experiment.spec.parallelism - sum(each.occupies for each in standings)
    free = min(free, CREATED_AT_ONCE)
    for each in standings:
        if free <= 0:
            return
        if each.following and (each.ready_at is None or each.ready_at <= now):
            free -= 1
            yield each.following


def _has_outlived(seen: Seen, outcome: Outcome, now: datetime) -> bool:
    end = _end_of_life(seen, outcome)
    return end is not None and now >= end


def _end_of_life(seen: Seen, outcome: Outcome) -> datetime | None:
    seconds, completed = (
        seen.experiment.spec.ttl_seconds_after_finished,
        seen.status.completion_time,
    )
    if seconds is None or not completed or outcome.kind not in ("complete", "failed"):
        return None
    return datetime.fromisoformat(completed) + timedelta(seconds=seconds)


def _alarms(
    seen: Seen, standings: Sequence[Standing], outcome: Outcome, now: datetime
) -> Iterable[datetime]:
    """When time alone will change the decision."""
    spec, knowledge = seen.experiment.spec, seen.knowledge
    if outcome.kind == "going":
        yield from (each.ready_at for each in standings if each.ready_at and each.ready_at > now)
        if spec.scheduling_deadline_seconds:
            wait = timedelta(seconds=spec.scheduling_deadline_seconds)
            due = (each.waiting_since + wait for each in standings if each.waiting_since)
            yield from (time for time in due if time > now)
        if knowledge.creation and any(each.following for each in standings):
            yield knowledge.creation.retry_at
    is_held = held_since(standings, now) is not None
    is_on = outcome.kind in ("going", "aggregating") and not is_held
    if is_on and (deadline := _deadline(seen, now)):
        yield deadline
    if knowledge.store and outcome.kind != "complete":
        yield knowledge.store.retry_at
    if end := _end_of_life(seen, outcome):
        yield end
    kept = [
        until
        for child in seen.children
        if child.state.is_finished and not child.is_deleted and (until := _kept_until(seen, child))
    ]
    yield from (until for until in kept if until > now)


def _inquiries(
    seen: Seen, standings: Sequence[Standing], now: datetime, patience: Patience
) -> Iterator[Child]:
    """Children that wait, and whose events are to be asked now: first whoever waits longest for it.

    A few of many, because the API server goes through all events of the namespace for each.
    """
    waiting = (
        (due, child)
        for child, answer in _waiting(seen, standings)
        if (due := inquiry_due(child, answer, patience.silence)) and due <= now
    )
    ranked = sorted(waiting, key=lambda each: (each[0], each[1].name))
    yield from (child for _, child in ranked[:INQUIRED_AT_ONCE])


def _alarms_of_waiting(
    seen: Seen, standings: Sequence[Standing], now: datetime, patience: Patience
) -> Iterator[datetime]:
    """When there may be more to say of what waits, or does not end."""
    for child, answer in _waiting(seen, standings):
        yield from (time for time in alarms(child, answer, patience.silence) if time > now)
    for pod in seen.stray:
        if not pod.is_finished:
            yield from (time for time in pod_alarms(pod, patience.silence) if time > now)


def _waiting(seen: Seen, standings: Sequence[Standing]) -> Iterator[tuple[Child, Answer | None]]:
    """The unfinished children of seeds that are not done, with what events said of them."""
    for each in standings:
        if each.child and not each.is_done and not each.child.state.is_finished:
            yield each.child, seen.knowledge.answers.get(each.child.uid)
