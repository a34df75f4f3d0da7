"""The part of an experiment that is computed now: its trials, or the experiment itself. Pure.

Settings that were chosen stay. The store has them, and the status says by their digest that they
are there; a process that has not read them yet makes no child, and judges no result. So it is with
a round of trials that follows from those before it.
"""

from dataclasses import dataclass, replace

from supreme_core.api.orders import ExperimentOrder, TuningOrder, work_digest
from supreme_core.api.status import ExperimentStatus
from supreme_core.tuning.rounds import order_of_round, trials_of_first_round
from supreme_operator.results.protocol import ChosenSettings, NextRound


@dataclass(frozen=True, kw_only=True)
class CurrentPart:
    """order: of the seeds that are computed now.  work: digest of what each of them computes.
    first: place of the first of them among all tuning seeds, or all seeds.
    round: number of the round of trials, from 1; 0 for what is no tuning.

    is_known: False where the settings were chosen, or the trials of the round found, by a process
    before this one, and are not read yet; then the order lacks them, and the digest is that of the
    status.
    """

    order: ExperimentOrder
    work: str
    first: int = 0
    round: int = 0
    is_known: bool = True

    @property
    def is_tuning(self) -> bool:
        return self.round > 0


def part_of(
    order: ExperimentOrder,
    status: ExperimentStatus,
    chosen: ChosenSettings | None,
    following: NextRound | None = None,
) -> CurrentPart:
    """The part of an experiment that comes next.

    chosen, following: the settings and the round of trials that this process has read.
    """
    tuning = order.tuning
    if tuning is None:
        return CurrentPart(order=order, work=work_digest(order.work))
    tuned = tuned_methods(order)
    if chosen and tuned <= set(chosen.methods):
        selected = [each for each in chosen.selected if each.method in tuned]
        work = order.work.model_copy(update={"selected": selected})
        final = order.model_copy(update={"work": work})
        return CurrentPart(order=final, work=work_digest(work))
    if status.work_digest and tuned <= chosen_methods(status):
        return CurrentPart(order=order, work=status.work_digest, is_known=False)
    if following and tuned == set(following.methods):
        return _round(order, tuning, following)
    begun = status.tuning.round if status.tuning else None
    if begun is None or begun == 1:
        trials = trials_of_first_round(order)
        return _round(order, tuning, NextRound(number=1, methods=[*tuned], trials=trials))
    part = _round(order, tuning, NextRound(number=begun, methods=[*tuned], trials=[]))
    return replace(part, work=status.work_digest or part.work, is_known=False)


def _round(order: ExperimentOrder, tuning: TuningOrder, found: NextRound) -> CurrentPart:
    part = order_of_round(order, found.number, found.trials)
    return CurrentPart(
        order=part,
        work=work_digest(part.work),
        first=tuning.seeds.index(part.seeds[0]),
        round=found.number,
    )


def tuned_methods(order: ExperimentOrder) -> set[str]:
    """Titles of the methods that are searched."""
    return {each.title for each in order.tuning.work.methods} if order.tuning else set()


def chosen_methods(status: ExperimentStatus) -> set[str]:
    """Titles of the methods whose settings are chosen."""
    return set(status.tuning.methods) if status.tuning else set()
