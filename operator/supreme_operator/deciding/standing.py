"""Decide where each seed of an experiment stands. Pure: no clock, no network."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.status import ExperimentStatus, SeedStatus
from supreme_core.api.v1alpha1 import FailurePolicy
from supreme_operator.deciding.backoff import BackoffPolicy
from supreme_operator.deciding.endings import (
    POD_LOST,
    Ending,
    ending,
    has_result,
    is_computed,
    never_starts,
    words_of_loss,
)
from supreme_operator.deciding.facts import (
    Attempt,
    Child,
    ChildState,
    EventAnswer,
    Experiment,
    Pod,
    Trouble,
)
from supreme_operator.deciding.indexes import expanded
from supreme_operator.deciding.parts import CurrentPart
from supreme_operator.deciding.times import time_of
from supreme_operator.deciding.waiting import (
    LONGEST_PAUSE,
    Reason,
    blocking_reason,
    inquiry_due,
    stuck,
    stuck_pod,
)
from supreme_operator.results.protocol import ChosenSettings, NextRound, Published, ResultCheck

PREEMPTED: Final = "Preempted"
"""The disruption of a child that its queue suspended, which goes on later as the same object."""

PREEMPTED_MESSAGE: Final = "its queue took its place from it, and its controller gave it up"

SeedPhase = Literal["Pending", "Queued", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Observations from earlier actions of this process; a restart makes them again by acting.

    result_checks: by seed and attempt.  creation: why the last child could not be created.
    deletion: why a child could not be deleted.  store: why the store could not be used.
    chosen: the settings that the trials have chosen.  round: of the trials, the last that is known.
    answers: what events said of a child, by its uid.
    met: uids of children of which the status tells what this process has seen of them.
    """

    result_checks: Mapping[tuple[int, int], ResultCheck] = field(default_factory=dict)
    chosen: ChosenSettings | None = None
    round: NextRound | None = None
    publication: Published | None = None
    creation: Trouble | None = None
    deletion: Trouble | None = None
    store: Trouble | None = None
    answers: Mapping[str, EventAnswer] = field(default_factory=dict)
    progress: Mapping[int, str] = field(default_factory=dict)
    met: Collection[str] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One look at an experiment.

    order: of the whole experiment, its trials included, without the settings that they choose.
    part: the trials, or the experiment itself: whichever is computed now.
    refusal: why the rest of what is asked for cannot be done, where the order is only a part of it.
    orphaned: pods that run although their child is gone.  template: of the child that would be made
    now, see `Child.template`.
    """

    experiment: Experiment
    order: ExperimentOrder
    part: CurrentPart
    status: ExperimentStatus
    children: Sequence[Child]
    refusal: str = ""
    orphaned: Sequence[Pod] = ()
    template: str = ""
    observations: Observations = Observations()

    @property
    def work(self) -> str:
        """The digest of what each seed is to compute."""
        return self.part.work


@dataclass(frozen=True, kw_only=True)
class Standing:
    """State of one seed.

    cost: what its attempts cost so far, by the latest of them.  child: the latest, if it is there.
    occupies: it takes one of `parallelism` places.  following: the attempt that may be made, from
    `ready_at` on.  blocking_reason: what keeps its pods from starting or ending.  is_outdated: its
    child has not started, and would be made otherwise now.
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
    blocking_reason: Reason | None = None
    waiting_since: datetime | None = None
    is_outdated: bool = False

    @property
    def is_done(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def wants_child(self) -> bool:
        """True if the seed's child, which has not finished, is to go on."""
        return not self.is_done and not self.is_outdated


def standings_of(seen: Seen, *, now: datetime, backoff: BackoffPolicy) -> list[Standing]:
    seeds, digest = seen.part.order.seeds, seen.work
    end = seen.part.first + len(seeds)
    known = seen.status.work_digest == digest  # else the status counts seeds of other work
    completed = expanded(seen.status.completed_indexes if known else "", below=end)
    failed = expanded(seen.status.failed_indexes if known else "", below=end)
    # In the order of attempts, so that the last one of a seed stays.
    latest: dict[int, Child] = {}
    for each in sorted(seen.children, key=lambda child: child.attempt.number):
        latest[each.attempt.seed] = each
    # A pod that outlives its child may still write into the store: the next attempt waits for it.
    stopping: dict[int, list[Pod]] = {}
    for pod in seen.orphaned:
        if not pod.is_finished:
            stopping.setdefault(pod.seed, []).append(pod)
    before = {each.seed: each for each in seen.status.seed_statuses}
    evaluator = _Evaluator(seen, now, backoff)
    found = []
    for index, seed in enumerate(seeds, start=seen.part.first):
        recorded, child = before.get(seed), latest.get(seed)
        first = Attempt(seed=seed, index=index, is_tuning=seen.part.is_tuning)
        cost = _cost(first, recorded if known else None, child)
        # Before the child, which says nothing any more: it may fail late, or be gone.
        if index in completed:
            found.append(Standing(phase="Succeeded", cost=cost, child=child))
        elif index in failed:
            reason, message = (recorded.reason, recorded.message) if recorded else (None, None)
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
            found.append(evaluator.child(cost, child, recorded))
        elif seed in stopping:
            held = (stuck_pod(pod, now, backoff.silence) for pod in stopping[seed])
            found.append(_stopping(cost, None, next(filter(None, held), None)))
        else:
            # A number is not used again for other work, whose log lies under it.
            number = recorded.attempt + 1 if recorded and not known else cost.number
            found.append(
                Standing(phase="Pending", cost=cost, following=replace(cost, number=number))
            )
    return found


def _cost(first: Attempt, recorded: SeedStatus | None, child: Child | None) -> Attempt:
    """Cost of the latest attempt. Without a child the status knows of it; of an attempt after
    the child's it knows only that it was meant to be made.

    first: the attempt of a seed that has cost nothing yet.
    """
    cost = child.attempt if child else first
    if cost.index != first.index:
        cost = replace(cost, index=first.index)
    # The controller of a child that is deleted counts those that end with it.
    lost = child.lost_pods if child and not child.is_deleted else 0
    if lost:
        cost = replace(cost, disruptions=cost.disruptions + lost, lost_pods=lost)
    if recorded and (child is None or recorded.attempt == cost.number):
        known = _known_losses(child, recorded) if child else 0
        return replace(
            cost,
            number=recorded.attempt,
            retries=max(cost.retries, recorded.retries),
            disruptions=max(cost.disruptions, recorded.disruptions + max(0, lost - known)),
            # A Job that ends badly may tell of fewer.
            lost_pods=max(lost, known),
        )
    return cost


def _known_losses(child: Child, recorded: SeedStatus) -> int:
    """Number of the child's lost pods that the disruptions in the status have in them.

    A definition of experiments that is older than this operator keeps no such number. It would be
    counted at every look; but there is always a reason beside it.
    """
    if recorded.lost_pods or not recorded.reason or not _preemptions(child, recorded):
        return recorded.lost_pods
    return child.lost_pods


@dataclass(frozen=True)
class _Evaluator:
    """Evaluates where a seed stands whose latest child is there."""

    seen: Seen
    now: datetime
    backoff: BackoffPolicy

    @property
    def policy(self) -> FailurePolicy:
        return self.seen.experiment.spec.failure_policy

    def child(self, cost: Attempt, child: Child, recorded: SeedStatus | None) -> Standing:
        if child.state.is_finished and child.work != self.seen.work:
            return Standing(phase="Pending", cost=cost, child=child, following=_anew(cost))
        is_failed = child.state == ChildState.FAILED
        nodes = self.seen.experiment.spec.execution.nodes
        if child.state == ChildState.SUCCEEDED or (is_failed and is_computed(child, nodes)):
            return self._succeeded(cost, child)
        if is_failed and not _failed_by_deletion(child):
            return self._failed(cost, child, recorded)
        if child.is_deleted:
            return _stopping(cost, child, stuck(child, self.now, self.backoff.silence))
        if self._needs_no_more(child):
            return self._succeeded(cost, child)
        return self._unfinished(cost, child, recorded)

    def _needs_no_more(self, child: Child) -> bool:
        """Return whether a child has left its result, and lacks pods that may never come: it would
        keep its seed, and the experiment, from their end."""
        if not has_result(child) or any(pod.started_at for pod in _unfinished_pods(child)):
            return False
        key = child.attempt.seed, child.attempt.number
        check = self.seen.observations.result_checks.get(key)
        quiet_since = max(pod.changed_at or child.created_at for pod in child.pods)
        is_well = check is None or check.state == "valid"
        return is_well and self.now >= quiet_since + self.backoff.silence

    def _succeeded(self, cost: Attempt, child: Child) -> Standing:
        check = self.seen.observations.result_checks.get((cost.seed, child.attempt.number))
        match check.state if check else None:
            case None:
                return Standing(
                    phase="Running", cost=cost, child=child, reason="ResultPending", is_unread=True
                )
            case "valid":
                return Standing(phase="Succeeded", cost=cost, child=child)
            case "missing":
                message = "its pods succeeded, but it left no result.json"
                return self._retried(cost, child, "ResultMissing", message)
            case "incomplete":
                return self._retried(cost, child, "TrialsLost", check.message if check else "")
        return _permanently_failed(cost, child, "ResultInvalid", check.message if check else "")

    def _failed(self, cost: Attempt, child: Child, recorded: SeedStatus | None) -> Standing:
        end = ending(child)
        if end.kind == "permanent":
            return _permanently_failed(cost, child, end.reason, end.message)
        if recorded and _has_paid_for_preemption(child, recorded):
            paid = max(cost.disruptions, recorded.disruptions)
            following = cost.next(retries=cost.retries, disruptions=paid)
            return self._waiting(cost, child, following, 0.0, PREEMPTED, PREEMPTED_MESSAGE)
        # Where it is suspended, its queue took its place while nobody looked.
        if child.is_suspended or end.kind == "disrupted":
            return self._disrupted(cost, child, end)
        return self._retried(cost, child, end.reason, end.message)

    def _retried(self, cost: Attempt, child: Child, reason: str, message: str) -> Standing:
        if cost.retries >= self.policy.max_retries_per_seed:
            return _permanently_failed(cost, child, reason, message)
        wait = self.backoff.after_failures(cost.retries)
        following = cost.next(retries=cost.retries + 1, disruptions=cost.disruptions)
        return self._waiting(cost, child, following, wait, reason, message)

    def _disrupted(self, cost: Attempt, child: Child, end: Ending) -> Standing:
        if cost.disruptions >= self.policy.max_disruptions_per_seed:
            message = f"the last: {end.reason}: {end.message}"
            return _permanently_failed(cost, child, "TooManyDisruptions", message)
        # Of an end that nothing tells, its pods may still tell something.
        before = cost.disruptions if end.is_told else cost.disruptions + 1
        wait = self.backoff.after_disruptions(before)
        following = cost.next(retries=cost.retries, disruptions=cost.disruptions + 1)
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

    def _unfinished(self, cost: Attempt, child: Child, recorded: SeedStatus | None) -> Standing:
        spec = self.seen.experiment.spec
        block = self._blocking_reason(child, recorded)
        if self._is_outdated(child, recorded, block):
            return Standing(
                phase="Queued",
                cost=cost,
                child=child,
                reason="TemplateChanged",
                message="it has not started, and is made anew as the experiment says now",
                occupies=True,
                blocking_reason=block,
                is_outdated=True,
            )
        if never_starts(child):
            reason, message = block or ("ImagePullFailed", "")
            return _permanently_failed(cost, child, reason, message, occupies=True)
        is_running = child.state == ChildState.RUNNING
        since, deadline = self._waiting_since(child, recorded), spec.scheduling_deadline_seconds
        pause = timedelta(0)
        if child.lost_pods:
            since = _since_loss(child, since)
            pause = timedelta(0) if any(_unfinished_pods(child)) else LONGEST_PAUSE
        is_late = deadline and self.now >= since + timedelta(seconds=deadline) + pause
        # Where its queue has just stopped it, it may have run until then.
        may_be_late = child.waits_since is not None and not is_running
        needed = 1 if child.survives else spec.execution.nodes
        if is_late and may_be_late and not _is_scheduled(child, needed):
            message = f"its pods were not scheduled within {deadline} s"
            return _permanently_failed(
                cost, child, "SchedulingDeadlineExceeded", message, occupies=True
            )
        is_suspended = child.state == ChildState.SUSPENDED
        is_known = recorded is not None and recorded.attempt == child.attempt.number
        if is_suspended and recorded and is_known and recorded.phase == "Running":
            # A queue has taken its place from it; it goes on as the same object later.
            cost = replace(cost, disruptions=cost.disruptions + 1)
        loss = _loss(child, recorded) if cost.lost_pods else ""
        if (is_suspended or loss) and cost.disruptions > self.policy.max_disruptions_per_seed:
            last = f"the last: {POD_LOST}: {loss}"
            message = "its queue preempted it too often" if is_suspended else last
            return _permanently_failed(cost, child, "TooManyDisruptions", message, occupies=True)
        reason, message = block or (POD_LOST if loss else "", loss)
        return Standing(
            phase="Running" if is_running else "Queued",
            cost=cost,
            child=child,
            reason=reason,
            message=message,
            occupies=True,
            blocking_reason=block,
            waiting_since=None if is_running else since,
        )

    def _waiting_since(self, child: Child, recorded: SeedStatus | None) -> datetime:
        """Time at which it last began to wait for its pods: when it was made, or did not run any
        more. A queue that admits it and suspends it again before it has run changes nothing."""
        since = child.waits_since or self.now
        if recorded is None or recorded.attempt != child.attempt.number:
            return since
        if recorded.phase == "Running":
            return self.now
        known = time_of(recorded.waiting_since or None)
        if known is None or (child.uid not in self.seen.observations.met and since > known):
            # It may have run while no operator looked.
            return since
        return known

    def _blocking_reason(self, child: Child, recorded: SeedStatus | None) -> Reason | None:
        answer, silence = self.seen.observations.answers.get(child.uid), self.backoff.silence
        due = inquiry_due(child, answer, silence)
        is_unasked = due is not None and due <= self.now and answer is None
        was_queued = (
            recorded and recorded.phase == "Queued" and recorded.attempt == child.attempt.number
        )
        if is_unasked and recorded and was_queued and recorded.reason:
            # The process before this one had asked; the answer to this one is still to come.
            return recorded.reason, recorded.message or ""
        queue = self.seen.experiment.spec.execution.scheduling.queue_name
        return blocking_reason(child, answer, now=self.now, silence=silence, queue=queue)

    def _is_outdated(self, child: Child, recorded: SeedStatus | None, block: Reason | None) -> bool:
        """An older operator's child does not say what it is made of; it is made anew where its
        image cannot be pulled."""
        pods = (*child.pods, child.lost_pod)
        if any(pod and pod.started_at for pod in pods) or self._has_run(child, recorded):
            return False
        if child.state == ChildState.RUNNING or not self.seen.template:
            return False
        if child.template:
            return child.template != self.seen.template
        return block is not None and block[0] == "ImagePullFailed"

    def _has_run(self, child: Child, recorded: SeedStatus | None) -> bool:
        """Return whether a queue has suspended a child after it had begun."""
        if recorded is None or recorded.attempt != child.attempt.number:
            return False
        return recorded.phase == "Running" or _preemptions(child, recorded) > 0


def _preemptions(child: Child, recorded: SeedStatus) -> int:
    """Disruptions of an attempt that are not pods that it has lost."""
    lost = recorded.lost_pods if recorded.attempt == child.attempt.number else child.lost_pods
    return recorded.disruptions - child.attempt.disruptions - lost


def _loss(child: Child, recorded: SeedStatus | None) -> str:
    """Words on the last pod that was lost, also where a process before this one has seen it."""
    is_known = recorded and recorded.reason == POD_LOST and recorded.lost_pods == child.lost_pods
    if child.lost_pod is None and recorded and recorded.message and is_known:
        return recorded.message
    return words_of_loss(child)


def _has_paid_for_preemption(child: Child, recorded: SeedStatus) -> bool:
    """Return whether a failed child is one whose preemption the status has counted, and that did
    not run since: its controller takes the end of its pods for a failure."""
    is_waiting = recorded.phase == "Queued" and recorded.attempt == child.attempt.number
    is_known = recorded.reason == PREEMPTED  # also where the next attempt is only meant to be made
    return (is_waiting or is_known) and _preemptions(child, recorded) > 0


def _failed_by_deletion(child: Child) -> bool:
    """Return whether the controller takes for a failure that its pods were told to go with it."""
    if not child.gone_by:
        return False
    return child.finished_at is None or child.finished_at >= child.gone_by


def _anew(cost: Attempt) -> Attempt:
    """The attempt after one that answered other work, which costs nothing."""
    return cost.next(retries=0, disruptions=0)


def _stopping(cost: Attempt, child: Child | None, held: Reason | None) -> Standing:
    return Standing(
        phase="Pending",
        cost=cost,
        child=child,
        reason=held[0] if held else "Stopping",
        message=held[1] if held else "",
        occupies=True,
        blocking_reason=held,
    )


def _permanently_failed(
    cost: Attempt, child: Child, reason: str, message: str, *, occupies: bool = False
) -> Standing:
    return Standing(
        phase="Failed", cost=cost, child=child, reason=reason, message=message, occupies=occupies
    )


def _since_loss(child: Child, since: datetime) -> datetime:
    """Time at which a child that has lost all its pods began to wait: with the last loss, or when
    one was made again, before which its controller pauses."""
    lost = child.lost_pod.changed_at if child.lost_pod else None
    made = (pod.created_at for pod in _unfinished_pods(child))
    return max(time for time in (since, lost, *made) if time)


def _unfinished_pods(child: Child) -> Iterator[Pod]:
    return (pod for pod in child.pods if not pod.is_finished)


def _is_scheduled(child: Child, nodes: int) -> bool:
    return sum(pod.is_scheduled for pod in child.pods) >= nodes
