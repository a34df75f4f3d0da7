"""The part of an experiment that is computed now: its trials, or the experiment itself. Pure.

Settings that were chosen stay. The store has them, and the status says by their digest that they
are there; a process that has not read them yet makes no child, and judges no result.
"""

from dataclasses import dataclass

from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.status import ExperimentStatus
from supreme_operator.results.protocol import ChosenSettings


@dataclass(frozen=True, kw_only=True)
class CurrentPart:
    """order: of the seeds that are computed now.  work: digest of what each of them computes.

    is_known: False where the settings were chosen by a process before this one, and are not read
    yet; then the order lacks them, and the digest is that of the status.
    """

    order: ExperimentOrder
    work: str
    is_tuning: bool = False
    is_known: bool = True


def part_of(
    order: ExperimentOrder, status: ExperimentStatus, chosen: ChosenSettings | None
) -> CurrentPart:
    """The part of an experiment that comes next.  chosen: what this process has read."""
    if order.tuning is None:
        return CurrentPart(order=order, work=work_digest(order.work))
    tuned = tuned_methods(order)
    if chosen and tuned <= set(chosen.methods):
        selected = [each for each in chosen.selected if each.method in tuned]
        work = order.work.model_copy(update={"selected": selected})
        final = order.model_copy(update={"work": work})
        return CurrentPart(order=final, work=work_digest(work))
    if status.work_digest and tuned <= chosen_methods(status):
        return CurrentPart(order=order, work=status.work_digest, is_known=False)
    trials = order.trials
    assert trials is not None
    return CurrentPart(order=trials, work=work_digest(trials.work), is_tuning=True)


def tuned_methods(order: ExperimentOrder) -> set[str]:
    """Titles of the methods that are searched."""
    return {each.title for each in order.tuning.work.methods} if order.tuning else set()


def chosen_methods(status: ExperimentStatus) -> set[str]:
    """Titles of the methods whose settings are chosen."""
    return set(status.tuning.methods) if status.tuning else set()
