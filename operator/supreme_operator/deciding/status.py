"""The status that follows from a decision. Pure.

Conditions are for machines, the phase is for people. The whole stays under 256 kB: of many seeds,
those that are failed, running, or have cost something are listed one by one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from supreme_core.api import names
from supreme_core.api.status import (
    Condition,
    ExperimentStatus,
    Phase,
    ResultsReference,
    SeedStatus,
    SummaryRow,
    TuningStatus,
)
from supreme_core.errors import number_of, one_line
from supreme_core.tuning.rounds import number_of_rounds
from supreme_operator.deciding.admission import NotAccepted
from supreme_operator.deciding.decide import (
    INVALID_SPEC,
    Decision,
    ExperimentOutcome,
    held_seconds,
    held_since,
)
from supreme_operator.deciding.indexes import compressed
from supreme_operator.deciding.standing import Seen, Standing
from supreme_operator.deciding.times import written

MAX_SEED_STATUSES: Final = 200
SEED_MESSAGE: Final = 128
REASON: Final = 63
"""A pod's may be longer: OutOf and the name of a resource."""
DONE_OF_TOTAL: Final = re.compile(r"([0-9]+)/([0-9]+)")

SAID_UNREAD: Final = ("Accepted", "SettingsChosen")
"""Conditions that are told anew while the settings that were chosen are not read yet."""

Truth = Literal["True", "False", "Unknown"]


class Said(NamedTuple):
    """A condition without its times."""

    status: Truth
    reason: str
    message: str = ""


def status_of(seen: Seen, decision: Decision, *, now: datetime) -> ExperimentStatus:
    before, standings, outcome = seen.status, decision.standings, decision.outcome
    count = _Counts(standings, decision)
    said = dict(_said(seen, decision, count))
    generation, is_known = seen.experiment.generation, seen.part.is_known
    if outcome.kind == "reading":
        # What a generation asks for is not known before the chosen settings are.
        said = {type_: each for type_, each in said.items() if type_ in SAID_UNREAD}
        conditions = _conditions(before, said, generation, now, others=True)
        return before.model_copy(update={"conditions": conditions})
    conditions = _conditions(before, said, generation, now)
    rows, results = _summary(seen)
    start_time = _start_time(before, outcome, count, now)
    held = _held_since(before, decision, now) if start_time else None
    progress = _progress(seen, standings)
    phase = _phase(seen, outcome, count)
    reason, message = _headline(seen, decision, count)
    return ExperimentStatus(
        observed_generation=generation if is_known else before.observed_generation,
        phase=phase,
        reason=reason,
        message=one_line(message) or None,
        start_time=start_time,
        held_since=held,
        held_seconds=_held_seconds(before, start_time, held, now),
        completion_time=_completion_time(before, outcome, now),
        conditions=conditions,
        work_digest=seen.work,
        pod_digest=seen.experiment.pod_digest,
        accepted_methods=[method.title for method in seen.experiment.spec.methods],
        seeds=len(seen.order.seeds),
        completed_indexes=compressed(_indexes(standings, "Succeeded")),
        failed_indexes=compressed(_indexes(standings, "Failed")),
        pending=count.pending,
        queued=count.queued,
        active=count.active,
        succeeded=count.succeeded,
        failed=count.failed,
        progress=f"{count.succeeded}/{len(standings)}",
        done=_share(standings, progress),
        selector=f"{names.UID_LABEL}={seen.experiment.owner.uid}",
        seed_statuses=_seed_statuses(seen, decision, progress),
        tuning=_tuning(seen, count),
        summary=list(rows),
        results=results,
    )


def invalid(
    before: ExperimentStatus, refused: NotAccepted, *, generation: int, now: datetime
) -> ExperimentStatus:
    """The status of an experiment that cannot be done as it is written. What runs, runs on."""
    said = {"Accepted": Said("False", INVALID_SPEC, refused.reason)}
    return before.model_copy(
        update={
            "observed_generation": generation,
            "phase": "Failed",
            "reason": INVALID_SPEC,
            "message": one_line(refused.reason),
            "accepted_methods": refused.methods and list(refused.methods),
            "conditions": _conditions(before, said, generation, now, others=True),
        }
    )


class _Counts:
    """Counts of seeds; those that are about to be created count as queued."""

    def __init__(self, standings: Sequence[Standing], decision: Decision) -> None:
        starting = {attempt.seed for attempt in decision.create}
        phases = ["Queued" if each.cost.seed in starting else each.phase for each in standings]
        self.pending = phases.count("Pending")
        self.queued = phases.count("Queued")
        self.running = phases.count("Running")
        self.active = self.queued + self.running
        self.succeeded = phases.count("Succeeded")
        self.failed = phases.count("Failed")
        self.seeds = len(phases)


def _said(seen: Seen, decision: Decision, count: _Counts) -> Iterator[tuple[str, Said]]:
    outcome = decision.outcome
    yield "Accepted", _accepted(seen)
    are = "is" if count.seeds == 1 else "are"
    seeds = number_of(count.seeds, "tuning seed" if seen.part.is_tuning else "seed")
    done = f"{count.succeeded} of {seeds} {are} done"
    if outcome.kind == "suspended":
        yield "Suspended", Said("True", "Suspended", "spec.suspend is true")
    elif _was(seen.status, "Suspended"):
        yield "Suspended", Said("False", "Resumed")
    yield "Progressing", _progressing(outcome, done, count, seen.experiment.spec.parallelism)
    if block := _blocking_reason(seen, decision):
        yield "ChildrenScheduled", Said("False", *block)
    elif count.active:
        yield "ChildrenScheduled", Said("True", "SeedsScheduled")
    if seen.order.tuning:
        yield "SettingsChosen", _chosen(seen, outcome, done)
    yield "ResultsAggregated", _aggregated(seen, outcome)
    yield from _ended(seen.status, outcome)


def _accepted(seen: Seen) -> Said:
    if seen.refusal:
        return Said("False", INVALID_SPEC, seen.refusal)
    violations = seen.experiment.violations
    if not violations:
        return Said("True", "SpecAccepted")
    message = f"it was accepted before, and goes on as it is: {'; '.join(violations)}"
    return Said("True", "AcceptedBefore", message)


def _progressing(outcome: ExperimentOutcome, done: str, count: _Counts, parallelism: int) -> Said:
    match outcome.kind:
        case "suspended":
            return Said("False", "Suspended", done)
        case "complete" | "refused" | "failed":
            return Said("False", outcome.reason, done)
        case "choosing":
            return Said("True", "SettingsPending", done)
        case "aggregating":
            return Said("True", "ResultsPending", done)
    if count.active:
        return Said(
            "True", "SeedsRunning", f"{done}, {count.running} running, {count.queued} queued"
        )
    held = "; spec.parallelism is 0" if parallelism == 0 else ""
    return Said("True", "SeedsWaiting", f"{done}, {count.pending} waiting{held}")


def _blocking_reason(seen: Seen, decision: Decision) -> tuple[str, str] | None:
    """Reason that keeps a seed from being computed: of several, that of the first seed."""
    if seen.observations.deletion and decision.delete:
        return seen.observations.deletion.reason, seen.observations.deletion.message
    is_held = any(each.following for each in decision.standings)
    if seen.observations.creation and decision.outcome.kind == "going" and is_held:
        return seen.observations.creation.reason, seen.observations.creation.message
    found = [each for each in decision.standings if each.blocking_reason]
    if not found:
        return None
    reason, message = found[0].blocking_reason or ("", "")
    more = f" ({number_of(len(found) - 1, 'more seed')} waiting)" if len(found) > 1 else ""
    return reason, f"seed {found[0].cost.seed}: {message}{more}"


def _chosen(seen: Seen, outcome: ExperimentOutcome, done: str) -> Said:
    """Condition on the choice among the trials."""
    trouble = seen.observations.store
    if seen.part.is_tuning:
        if outcome.kind == "failed":
            return Said("False", outcome.reason, outcome.message)
        if trouble and outcome.kind == "choosing":
            return Said("False", trouble.reason, trouble.message)
        rounds = _tuning_status(seen).rounds
        which = f"round {seen.part.round} of {rounds}, " if rounds > 1 else ""
        return Said("False", "TrialsPending", f"trials come first: {which}{done}")
    if trouble and not seen.part.is_known:
        return Said("Unknown", trouble.reason, trouble.message)
    known = _tuning_status(seen)
    failed = ""
    if known.not_tunable:
        failed = f"; in {known.not_tunable} every trial has failed, so the given ones stay"
    searches = number_of(known.searches, "search", "searches")
    message = f"in {known.changed} of {searches} others than those given{failed}"
    return Said("True", "SettingsChosen", message)


def _aggregated(seen: Seen, outcome: ExperimentOutcome) -> Said:
    trouble, fresh = seen.observations.store, seen.observations.publication
    if trouble and outcome.kind != "complete":
        return Said("False", trouble.reason, trouble.message)
    if fresh and fresh.work_digest == seen.work:
        message = f"the summary has {number_of(len(fresh.seeds), 'seed')}"
        return Said("True", "AggregationSucceeded", message)
    is_over = outcome.kind in ("complete", "refused", "failed")
    if is_over and _was(seen.status, "ResultsAggregated"):
        previous = _condition(seen.status, "ResultsAggregated")
        if previous:
            return Said(previous.status, previous.reason, previous.message)
    return Said("False", "ResultsPending", "the summary is written when all seeds are done")


def _ended(before: ExperimentStatus, outcome: ExperimentOutcome) -> Iterator[tuple[str, Said]]:
    for kind, type_ in (("complete", "Complete"), ("failed", "Failed")):
        if outcome.kind == kind:
            yield type_, Said("True", outcome.reason, outcome.message)
        elif _was(before, type_):
            yield type_, Said("False", "Reopened", "there is more to compute than there was")


def _was(before: ExperimentStatus, type_: str) -> bool:
    return _condition(before, type_) is not None


def _condition(before: ExperimentStatus, type_: str) -> Condition | None:
    return next((each for each in before.conditions if each.type == type_), None)


def _conditions(
    before: ExperimentStatus,
    said: dict[str, Said],
    generation: int,
    now: datetime,
    *,
    others: bool = False,
) -> list[Condition]:
    """Conditions whose times change only with their status. others: keep those not said now."""
    made = []
    for type_, (status, reason, message) in said.items():
        previous = _condition(before, type_)
        unchanged = previous is not None and previous.status == status
        made.append(
            Condition(
                type=type_,
                status=status,
                reason=reason,
                message=one_line(message),
                observed_generation=generation,
                last_transition_time=previous.last_transition_time
                if previous and unchanged
                else written(now),
            )
        )
    kept = [each for each in before.conditions if others and each.type not in said]
    return [*made, *kept]


def _phase(seen: Seen, outcome: ExperimentOutcome, count: _Counts) -> Phase:
    match outcome.kind:
        case "complete":
            return "PartiallySucceeded" if count.failed else "Succeeded"
        case "refused" | "failed":
            return "Failed"
        case "suspended":
            return "Suspended"
        case "choosing":
            return "Tuning"
        case "aggregating":
            return "Aggregating"
    if count.running:
        return "Tuning" if seen.part.is_tuning else "Running"
    return "Queued" if count.queued else "Pending"


def _headline(seen: Seen, decision: Decision, count: _Counts) -> tuple[str | None, str]:
    outcome = decision.outcome
    if outcome.reason:
        return outcome.reason, outcome.message
    if seen.refusal:
        return INVALID_SPEC, seen.refusal
    found = next((each for each in decision.standings if each.blocking_reason), None)
    if found and found.blocking_reason and not count.running:
        return found.blocking_reason[0], found.blocking_reason[1]
    return None, ""


def _start_time(
    before: ExperimentStatus, outcome: ExperimentOutcome, count: _Counts, now: datetime
) -> str | None:
    """Time at which it began to compute; anew after a suspension, and when a finished one
    goes on."""
    if outcome.kind == "suspended":
        return None
    went_on = outcome.kind == "going" and before.completion_time is not None
    if before.start_time and not went_on:
        return before.start_time
    return written(now) if count.active else None


def _held_since(before: ExperimentStatus, decision: Decision, now: datetime) -> str | None:
    since = held_since(decision.standings, now)
    if since is None or decision.outcome.kind not in ("going", "choosing", "aggregating"):
        return None
    return before.held_since or written(since)


def _held_seconds(
    before: ExperimentStatus, start_time: str | None, held: str | None, now: datetime
) -> int:
    """Seconds held since the experiment began; a wait that goes on is counted when it is over."""
    if start_time is None or start_time != before.start_time:
        return 0
    return before.held_seconds if held else int(held_seconds(before, now))


def _completion_time(
    before: ExperimentStatus, outcome: ExperimentOutcome, now: datetime
) -> str | None:
    if outcome.kind in ("complete", "failed"):
        return before.completion_time or written(now)
    # It was over before more was asked for, and nothing has gone on since.
    return before.completion_time if outcome.kind == "refused" else None


def _summary(seen: Seen) -> tuple[Sequence[SummaryRow], ResultsReference | None]:
    """The newest summary; one of less work than is asked for now stays until the next."""
    fresh = seen.observations.publication
    if fresh:
        return fresh.rows, fresh.results
    return seen.status.summary, seen.status.results


def _indexes(standings: Sequence[Standing], phase: str) -> Iterator[int]:
    return (each.cost.index for each in standings if each.phase == phase)


def _progress(seen: Seen, standings: Sequence[Standing]) -> dict[int, str]:
    """`done/total` of unfinished seeds: what their trainers said last, also before a restart and of
    an attempt that is followed by another, which finds these stages in the store."""
    known = seen.status.work_digest == seen.work
    before = {each.seed: each.progress for each in seen.status.seed_statuses if known}
    found = {}
    for each in standings:
        seed = each.cost.seed
        fresh = seen.observations.progress.get(seed) if each.phase == "Running" else None
        if not each.is_done and (told := fresh or before.get(seed)):
            found[seed] = told
    return found


def _share(standings: Sequence[Standing], progress: Mapping[int, str]) -> str:
    """The share of all stages that is done, rounded down: every seed has equally many."""
    done = Fraction(sum(each.phase == "Succeeded" for each in standings))
    for text in progress.values():
        if part := DONE_OF_TOTAL.fullmatch(text):
            done += min(Fraction(1), Fraction(int(part[1]), max(int(part[2]), 1)))
    return f"{int(100 * done / max(len(standings), 1))}%"


def _tuning(seen: Seen, count: _Counts) -> TuningStatus | None:
    """Part of the status on the trials; None where nothing is tuned."""
    if seen.order.tuning is None:
        return None
    known = _tuning_status(seen)
    if not seen.part.is_tuning:
        return known
    succeeded = seen.part.first + count.succeeded
    round_ = seen.part.round if known.rounds > 1 else None
    return known.model_copy(update={"succeeded": succeeded, "round": round_})


def _tuning_status(seen: Seen) -> TuningStatus:
    """Return the choice as this process has read it, else as the status tells it."""
    tuning, chosen = seen.order.tuning, seen.observations.chosen
    assert tuning is not None
    assert tuning.work.tuning is not None
    planned = TuningStatus(
        trials=tuning.work.tuning.trials,
        seeds=len(tuning.seeds),
        rounds=number_of_rounds(tuning),
    )
    if chosen is None:
        before = seen.status.tuning or planned
        facts = ("trials", "seeds", "rounds", "round")
        return before.model_copy(update={fact: getattr(planned, fact) for fact in facts})
    return planned.model_copy(
        update={
            "succeeded": planned.seeds,
            "methods": chosen.methods,
            "searches": chosen.searches,
            "changed": chosen.changed,
            "not_tunable": chosen.not_tunable,
            "selection": chosen.sha256,
        }
    )


def _seed_statuses(seen: Seen, decision: Decision, progress: Mapping[int, str]) -> list[SeedStatus]:
    """Return statuses in the order of the seeds. Of too many, those that say the most.

    Before or behind them stand those of the part of the experiment that is not computed now, as
    they were, since attempts are numbered on when it is computed again.
    """
    standings = decision.standings
    shown = standings
    if len(standings) > MAX_SEED_STATUSES:
        ranked = sorted(standings, key=_interest)
        shown = sorted(ranked[:MAX_SEED_STATUSES], key=lambda each: each.cost.index)
    starting = {attempt.seed: attempt for attempt in decision.create}
    made = []
    for each in shown:
        attempt = starting.get(each.cost.seed, each.cost)
        begins = each.cost.seed in starting
        made.append(
            SeedStatus(
                seed=each.cost.seed,
                phase="Queued" if begins else each.phase,
                attempt=attempt.number,
                retries=attempt.retries,
                disruptions=attempt.disruptions,
                lost_pods=attempt.lost_pods,
                child=None if begins or each.child is None else each.child.name,
                waiting_since=written(each.waiting_since) if each.waiting_since else None,
                reason=one_line(each.reason, REASON) or None,
                message=one_line(each.message, SEED_MESSAGE) or None,
                progress=progress.get(each.cost.seed),
            )
        )
    of_this_part = {*seen.part.order.seeds}
    others = [each for each in seen.status.seed_statuses if each.seed not in of_this_part]
    others = others[: MAX_SEED_STATUSES - len(made)] if seen.order.tuning else []
    return [*made, *others] if seen.part.is_tuning else [*others, *made]


def _interest(standing: Standing) -> tuple[int, int]:
    """Failed seeds first, then those with a history, then those that run."""
    cost = standing.cost.retries + standing.cost.disruptions
    ranks: Iterable[bool] = (
        standing.phase == "Failed",
        cost > 0 and not standing.is_done,
        standing.phase in ("Running", "Queued"),
        cost > 0,
    )
    return next((rank for rank, it_is in enumerate(ranks) if it_is), 9), standing.cost.index
