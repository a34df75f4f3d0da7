"""Decide what to do next for one experiment. Pure: no clock, no network.

Level-triggered: every decision follows from what stands in the cluster and in the status, never
from what happened in which order. The children carry what their seed has cost so far; the status
says which seeds are done with. Nothing else has to survive a restart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from supreme_core.api.status import ExperimentStatus
from supreme_core.errors import number_of
from supreme_operator.deciding.backoff import BackoffPolicy
from supreme_operator.deciding.facts import Attempt, Child, ChildState, EventAnswer
from supreme_operator.deciding.standing import Seen, Standing, standings_of
from supreme_operator.deciding.times import time_of
from supreme_operator.deciding.waiting import alarms, inquiry_due, pod_alarms

INVALID_SPEC: Final = "InvalidSpec"
"""Reason of what was refused."""

CREATED_AT_ONCE: Final = 20
"""Children for one look: writes are limited, and no status is written while they are made."""

INQUIRED_AT_ONCE: Final = 10
"""Children for one look, between which others have their turn."""


@dataclass(frozen=True)
class ExperimentOutcome:
    """State of the whole experiment.

    kind: choosing, where all trials have ended; reading, where only the settings that were chosen
    before, or the trials that follow from others, tell whether there is more to compute.
    """

    kind: Literal[
        "going",
        "suspended",
        "choosing",
        "reading",
        "aggregating",
        "complete",
        "refused",
        "failed",
    ]
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Actions to take, in this order, after the status that follows from them is written.

    settings: chosen by the trials, or those read that were chosen; None where neither is to be
    done.
    """

    standings: Sequence[Standing]
    outcome: ExperimentOutcome
    delete: Sequence[Child] = ()
    create: Sequence[Attempt] = ()
    verify: Sequence[Child] = ()
    inquire: Sequence[Child] = ()
    settings: Literal["choose", "read"] | None = None
    publish: frozenset[int] | None = None
    delete_experiment: bool = False
    requeue_at: datetime | None = None


def decide(seen: Seen, *, now: datetime, backoff: BackoffPolicy) -> Decision:
    standings = standings_of(seen, now=now, backoff=backoff)
    outcome = _outcome(seen, standings, now)
    unread = [each.child for each in standings if each.is_unread and each.child]
    done = frozenset(each.cost.seed for each in standings if each.phase == "Succeeded")
    store_is_due = not seen.observations.store or seen.observations.store.retry_at <= now
    wants_summary = outcome.kind == "aggregating" or (
        outcome.kind == "failed" and not any(each.occupies for each in standings)
    )
    publish = None
    if wants_summary and done and store_is_due and not is_published(seen, done) and not unread:
        publish = done
    is_known, is_tuning = seen.part.is_known, seen.part.is_tuning
    settings: Literal["choose", "read"] | None = None
    if outcome.kind == "choosing" and not unread:
        settings = "choose"
    elif not is_known and (outcome.kind in ("going", "reading", "aggregating") or publish):
        settings = "read"
    return Decision(
        standings=standings,
        outcome=outcome,
        delete=list(_deletions(seen, standings, outcome, now)),
        create=list(_creations(seen, standings, outcome, now)),
        verify=unread if store_is_due and is_known else (),
        inquire=list(_inquiries(seen, standings, now, backoff)),
        settings=settings if store_is_due else None,
        publish=publish if is_known and not is_tuning else None,
        delete_experiment=_has_outlived(seen, outcome, now),
        requeue_at=min(
            (
                time
                for time in (
                    *_alarms(seen, standings, outcome, now),
                    *_alarms_of_waiting(seen, standings, backoff),
                )
                if time > now  # what was due before is part of this decision
            ),
            default=None,
        ),
    )


def is_published(seen: Seen, done: frozenset[int]) -> bool:
    """Return whether a summary of all these seeds is written, by this process or by one before it.

    It may have others too: a seed can have failed for good although an attempt of it left a result.
    """
    digest = seen.work
    fresh = seen.observations.publication
    if fresh and fresh.work_digest == digest and done <= fresh.seeds:
        return True
    told, status = seen.status.results, seen.status
    if told is None or status.work_digest != digest or told.seeds < len(done):
        return False
    return any(
        (each.type, each.status) == ("ResultsAggregated", "True") for each in status.conditions
    )


def _outcome(seen: Seen, standings: Sequence[Standing], now: datetime) -> ExperimentOutcome:
    spec = seen.experiment.spec
    failed = [each for each in standings if each.phase == "Failed"]
    done = frozenset(each.cost.seed for each in standings if each.phase == "Succeeded")
    most = spec.failure_policy.max_failed_seeds
    if failed and seen.part.is_tuning:
        last = failed[-1]
        message = (
            f"no settings can be chosen without tuning seed {last.cost.seed}: {last.reason}:"
            f" {last.message}"
        )
        return ExperimentOutcome("failed", "TuningFailed", message)
    if len(failed) > most:
        last = failed[-1]
        why = f"seed {last.cost.seed}: {last.reason}: {last.message}"
        message = f"{number_of(len(failed), 'seed')} failed, {most} may; {why}"
        return ExperimentOutcome("failed", "FailureBudgetExceeded", message)
    if all(each.is_done for each in standings):
        if seen.part.is_tuning:
            return _with_trials(seen)
        if _may_ask_for_more(seen):
            return ExperimentOutcome("reading")
        if not done:
            return ExperimentOutcome("failed", "AllSeedsFailed", "no seed has a result")
        if not is_published(seen, done):
            return ExperimentOutcome("aggregating")
        if seen.refusal:
            return ExperimentOutcome("refused", INVALID_SPEC, seen.refusal)
        if failed:
            message = f"{len(done)} of {len(standings)} seeds have a result"
            return ExperimentOutcome("complete", "PartiallySucceeded", message)
        message = (
            f"all {len(done)} seeds have a result" if len(done) > 1 else "the seed has a result"
        )
        return ExperimentOutcome("complete", "SeedsSucceeded", message)
    deadline = _deadline(seen, now)
    if deadline and (held_since(standings, now) or now) >= deadline:
        message = f"it took longer than {spec.active_deadline_seconds} s"
        return ExperimentOutcome("failed", "DeadlineExceeded", message)
    if spec.suspend:
        return ExperimentOutcome("suspended")
    if all(each.is_done or each.is_unread for each in standings):
        return _with_trials(seen) if seen.part.is_tuning else ExperimentOutcome("aggregating")
    return ExperimentOutcome("going")


def _with_trials(seen: Seen) -> ExperimentOutcome:
    """State of an experiment whose trials have ended, as far as is known."""
    return ExperimentOutcome("choosing" if seen.part.is_known else "reading")


def _may_ask_for_more(seen: Seen) -> bool:
    """Return whether what is to be computed may be more than the status knows of, which only the
    settings that were chosen can tell."""
    is_news = seen.status.observed_generation != seen.experiment.generation
    return not seen.part.is_known and is_news


def held_since(standings: Sequence[Standing], now: datetime) -> datetime | None:
    """Time since which every child waits for its queue, so that no deadline of the experiment
    counts; None where one does not, or there is none."""
    children = [each.child for each in standings if each.occupies]
    since = [
        child.waits_since or now
        for child in children
        if child and child.state == ChildState.SUSPENDED
    ]
    return max(since) if since and len(since) == len(children) else None


def held_seconds(status: ExperimentStatus, now: datetime) -> float:
    """Time for which every child has waited for its queue, up to now."""
    since = time_of(status.held_since or None)
    return status.held_seconds + (max(0.0, (now - since).total_seconds()) if since else 0.0)


def _deadline(seen: Seen, now: datetime) -> datetime | None:
    """Time at which the whole experiment must be done; counted anew when it goes on after a
    rest."""
    seconds = seen.experiment.spec.active_deadline_seconds
    started = time_of(seen.status.start_time or None)
    if not seconds or not started:
        return None
    return started + timedelta(seconds=seconds + held_seconds(seen.status, now))


def _deletions(
    seen: Seen, standings: Sequence[Standing], outcome: ExperimentOutcome, now: datetime
) -> Iterator[Child]:
    """Children that must not run on, and finished ones that were kept for long enough."""
    by_seed = {each.cost.seed: each for each in standings}
    stop_all = outcome.kind in ("failed", "suspended")
    elsewhere = [child.uid for child in _children_elsewhere(seen)]
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
        elif not stop_all and child.uid in elsewhere:
            continue
        elif stop_all or standing is None or not is_latest or not standing.wants_child:
            yield child


def _children_elsewhere(seen: Seen) -> list[Child]:
    """Unfinished children of the part that is not computed now. They go on: what they compute is
    wanted, also where methods that are added have to be tuned first."""
    if seen.order.tuning is None:
        return []
    here = {*seen.part.order.seeds}
    there = {*seen.order.seeds, *seen.order.tuning.seeds} - here
    return [
        child
        for child in seen.children
        if child.attempt.seed in there and not child.state.is_finished
    ]


def _kept_until(seen: Seen, child: Child) -> datetime | None:
    seconds = seen.experiment.spec.child_ttl_seconds_after_finished
    if seconds is None:
        return None
    return (child.finished_at or child.created_at) + timedelta(seconds=seconds)


def _creations(
    seen: Seen, standings: Sequence[Standing], outcome: ExperimentOutcome, now: datetime
) -> Iterator[Attempt]:
    trouble = seen.observations.creation
    if outcome.kind != "going" or (trouble and trouble.retry_at > now) or not seen.part.is_known:
        return
    occupied = sum(each.occupies for each in standings) + len(_children_elsewhere(seen))
    free = min(seen.experiment.spec.parallelism - occupied, CREATED_AT_ONCE)
    for each in standings:
        if free <= 0:
            return
        if each.following and (each.ready_at is None or each.ready_at <= now):
            free -= 1
            yield each.following


def _has_outlived(seen: Seen, outcome: ExperimentOutcome, now: datetime) -> bool:
    end = _end_of_life(seen, outcome)
    return end is not None and now >= end


def _end_of_life(seen: Seen, outcome: ExperimentOutcome) -> datetime | None:
    seconds, completed = (
        seen.experiment.spec.ttl_seconds_after_finished,
        seen.status.completion_time,
    )
    if seconds is None or not completed or outcome.kind not in ("complete", "failed"):
        return None
    return datetime.fromisoformat(completed) + timedelta(seconds=seconds)


def _alarms(
    seen: Seen, standings: Sequence[Standing], outcome: ExperimentOutcome, now: datetime
) -> Iterable[datetime]:
    """Yield the times at which the decision changes without an event, also those that are past."""
    spec, observations = seen.experiment.spec, seen.observations
    if outcome.kind == "going":
        yield from (each.ready_at for each in standings if each.ready_at)
        if spec.scheduling_deadline_seconds:
            wait = timedelta(seconds=spec.scheduling_deadline_seconds)
            yield from (each.waiting_since + wait for each in standings if each.waiting_since)
        if observations.creation and any(each.following for each in standings):
            yield observations.creation.retry_at
    is_held = held_since(standings, now) is not None
    is_on = outcome.kind in ("going", "choosing", "reading", "aggregating") and not is_held
    if is_on and (deadline := _deadline(seen, now)):
        yield deadline
    if observations.store and outcome.kind != "complete":
        yield observations.store.retry_at
    if end := _end_of_life(seen, outcome):
        yield end
    for child in seen.children:
        if child.state.is_finished and not child.is_deleted and (until := _kept_until(seen, child)):
            yield until


def _inquiries(
    seen: Seen, standings: Sequence[Standing], now: datetime, backoff: BackoffPolicy
) -> Iterator[Child]:
    """Children that wait, and whose events are to be asked now: first whoever waits longest for it.

    A few of many, because the API server goes through all events of the namespace for each.
    """
    waiting = (
        (due, child)
        for child, answer in _waiting(seen, standings)
        if (due := inquiry_due(child, answer, backoff.silence)) and due <= now
    )
    ranked = sorted(waiting, key=lambda each: (each[0], each[1].name))
    yield from (child for _, child in ranked[:INQUIRED_AT_ONCE])


def _alarms_of_waiting(
    seen: Seen, standings: Sequence[Standing], backoff: BackoffPolicy
) -> Iterator[datetime]:
    """Yield the times at which there may be more to say of what waits, or does not end; also those
    that are past."""
    for child, answer in _waiting(seen, standings):
        yield from alarms(child, answer, backoff.silence)
    for pod in seen.orphaned:
        if not pod.is_finished:
            yield from pod_alarms(pod, backoff.silence)


def _waiting(
    seen: Seen, standings: Sequence[Standing]
) -> Iterator[tuple[Child, EventAnswer | None]]:
    """The unfinished children of seeds that are not done, with what events said of them."""
    for each in standings:
        if each.child and not each.is_done and not each.child.state.is_finished:
            yield each.child, seen.observations.answers.get(each.child.uid)
