"""Counter increments of the metrics for a status that was written. Pure.

Statuses are written against the version that was looked at, so each transition is written once, by
whichever operator, and what is counted with the write is counted once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from supreme_core.api.status import ExperimentStatus, SeedStatus
from supreme_operator.deciding.facts import Child, ChildState
from supreme_operator.deciding.indexes import expanded
from supreme_operator.deciding.standing import Standing


@dataclass(frozen=True, kw_only=True)
class SeedEnd:
    """A seed that is done with.

    backend: kind of its last child, "" where that is gone.  reason: "" for one that succeeded.
    seconds: between the start and the end of its last attempt; None where that is not known.
    """

    backend: str
    result: Literal["succeeded", "failed"]
    reason: str
    seconds: float | None


@dataclass(frozen=True)
class ExperimentEnd:
    """seconds: since its first child; None where it never had one."""

    result: Literal["succeeded", "partially_succeeded", "failed"]
    reason: str
    seconds: float | None


@dataclass(frozen=True)
class CounterDeltas:
    """seeds: those that are done with now.  waits: seconds for which attempts that now run waited,
    since they were made or preempted.  preemptions: seeds that a queue has stopped.
    lost_pods: those without which their attempt goes on.  end: of the experiment, where this is
    it."""

    seeds: Sequence[SeedEnd] = ()
    waits: Sequence[float] = ()
    preemptions: int = 0
    lost_pods: int = 0
    end: ExperimentEnd | None = None


def counter_deltas(
    before: ExperimentStatus, after: ExperimentStatus, standings: Sequence[Standing]
) -> CounterDeltas:
    recorded = {each.seed: each for each in before.seed_statuses}
    return CounterDeltas(
        seeds=tuple(_seeds(before, after, standings)),
        waits=tuple(_waits(recorded, standings)),
        preemptions=sum(_is_preempted(recorded.get(each.cost.seed), each) for each in standings),
        lost_pods=sum(_lost_pods(recorded.get(each.cost.seed), each) for each in standings),
        end=_end(before, after),
    )


def _seeds(
    before: ExperimentStatus, after: ExperimentStatus, standings: Sequence[Standing]
) -> Iterator[SeedEnd]:
    is_same_work = before.work_digest == after.work_digest
    known = (before.completed_indexes, before.failed_indexes) if is_same_work else ()
    done = {index for text in known for index in expanded(text, below=len(standings))}
    for each in standings:
        if each.is_done and each.cost.index not in done:
            yield SeedEnd(
                backend=each.child.kind if each.child else "",
                result="succeeded" if each.phase == "Succeeded" else "failed",
                reason=each.reason,
                seconds=_run_seconds(each.child) if each.child else None,
            )


def _waits(recorded: Mapping[int, SeedStatus], standings: Sequence[Standing]) -> Iterator[float]:
    for each in standings:
        was = recorded.get(each.cost.seed)
        # Of many seeds the status leaves some out; one that it does not tell of is not counted.
        if not was or was.phase != "Queued" or each.phase != "Running" or each.child is None:
            continue
        since = was.waiting_since and datetime.fromisoformat(was.waiting_since)
        if started := _started_at(each.child):
            yield max(0.0, (started - (since or each.child.created_at)).total_seconds())


def _is_preempted(was: SeedStatus | None, standing: Standing) -> bool:
    child = standing.child
    if was is None or child is None or child.state != ChildState.SUSPENDED:
        return False
    cost = standing.cost
    others = was.disruptions - was.lost_pods
    return was.attempt == cost.number and cost.disruptions - cost.lost_pods > others


def _lost_pods(was: SeedStatus | None, standing: Standing) -> int:
    if was is None or was.attempt != standing.cost.number:
        return 0
    return max(0, standing.cost.lost_pods - was.lost_pods)


def _end(before: ExperimentStatus, after: ExperimentStatus) -> ExperimentEnd | None:
    if before.completion_time or not after.completion_time:
        return None
    seconds = None
    if after.start_time:
        ended, began = map(datetime.fromisoformat, (after.completion_time, after.start_time))
        seconds = (ended - began).total_seconds()
    match after.phase:
        case "Succeeded":
            return ExperimentEnd("succeeded", after.reason or "", seconds)
        case "PartiallySucceeded":
            return ExperimentEnd("partially_succeeded", after.reason or "", seconds)
    return ExperimentEnd("failed", after.reason or "", seconds)


def _run_seconds(child: Child) -> float | None:
    started = _started_at(child)
    if started is None or child.finished_at is None:
        return None
    return max(0.0, (child.finished_at - started).total_seconds())


def _started_at(child: Child) -> datetime | None:
    """Time at which the last of its pods started; None where one has not, or they are gone. A child
    that goes on without one of them has started with the first."""
    times = [pod.started_at for pod in child.pods]
    known = [time for time in times if time]
    if child.survives:
        return min(known, default=None)
    return max(known) if known and len(known) == len(times) else None
